//! Single functions: the real binaries under a Lambda runtime, and outside of one.

mod access;
mod adoption;
mod budget;
mod connections;
mod deployments;
mod events;
mod faults;
mod files;
mod hostile;
mod migrations;
mod naughty;
mod passwords;
mod pooler;
mod purge;
mod soak;
mod start;
mod telemetry;
mod throttle;
mod verification;
