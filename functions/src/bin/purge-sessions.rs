//! Deletes the sessions that have expired. A schedule sets it to work, with any event.

use std::process::ExitCode;
use std::time::Duration;

use shared::auth::session::{self, Purged};
use shared::database::{self, Database};

/// What is left of the function's time for the batch at work, and for the answer.
const RESERVE: Duration = Duration::from_secs(15);

async fn purge_sessions(
    database: &'static Database,
    time_left: Duration,
) -> Result<Purged, database::Error> {
    session::purge(database, time_left.saturating_sub(RESERVE)).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_job(purge_sessions).await
}
