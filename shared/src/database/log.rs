//! What the log says of the database that a process works on.

use std::time::Duration;

use tracing::{info, warn};

use super::url::DatabaseUrl;
use crate::telemetry::milliseconds;

/// Warns of parameters of `DATABASE_URL` that are ignored.
pub fn log_ignored_parameters(url: &DatabaseUrl) {
    if !url.ignored_parameters().is_empty() {
        warn!(
            parameters = url.ignored_parameters().join(" "),
            "parameters of DATABASE_URL that are ignored"
        );
    }
}

/// Logs the first connection of this process: where it leads, how long it took, and what it found.
pub(super) fn log_connected(
    url: &DatabaseUrl,
    tls_version: &str,
    time: Duration,
    schema_version: i32,
) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        function_version = std::env::var("AWS_LAMBDA_FUNCTION_VERSION").ok(),
        host = url.host(),
        database = url.database(),
        role = url.role(),
        route = %url.route(),
        tls_version,
        connect_ms = milliseconds(time),
        schema_version,
        "connected"
    );
}
