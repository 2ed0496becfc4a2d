//! Single functions: the real binaries under a Lambda runtime, and outside of one.

mod authorization;
mod concurrent_writes;
mod connections;
mod deployments;
mod events;
mod interference;
mod legacy_adoption;
mod malicious_input;
mod migrations;
mod missing_objects;
mod naughty_strings;
mod network_faults;
mod no_disk_writes;
mod passwords;
mod pooler;
mod purge;
mod rate_limits;
mod read_only;
mod round_trips;
mod schema_verification;
mod soak;
mod start;
mod stored_values;
mod strange_events;
mod telemetry;
mod trusted_proxies;
