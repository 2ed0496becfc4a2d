//! The database: one pool for each process, made when it is first needed, and one round trip for each statement.

mod client;
mod connect_error;
mod connection;
mod error;
mod log;
mod manager;
mod pool;
mod retry;
pub mod schema_version;
mod session;
mod statement;
mod tls;
mod url;

pub use client::Database;
pub use connect_error::ConnectError;
pub use error::Error;
pub use log::log_ignored_parameters;
pub use retry::retry_with_backoff;
pub use statement::{Parameters, Statement};
pub use tls::Tls;
pub use url::{DatabaseUrl, Route};
