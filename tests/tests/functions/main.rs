//! Single functions: the real binaries under a Lambda runtime, and outside of one.

mod authorization;
mod connections;
mod deployments;
mod events;
mod interference;
mod legacy_adoption;
mod malicious_input;
mod migrations;
mod naughty_strings;
mod network_faults;
mod no_disk_writes;
mod passwords;
mod pooler;
mod purge;
mod rate_limits;
mod round_trips;
mod schema_verification;
mod soak;
mod start;
mod telemetry;
