//! Deletes expired sessions and expired rows of the rate limits. A schedule invokes it, with any event.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use shared::accounts;
use shared::auth::rate_limit;
use shared::database::{self, Database};

/// How much of the function's time is left for the current batch and for the answer.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(15);

/// What was deleted.
#[derive(Serialize)]
struct Purged {
    #[serde(flatten)]
    sessions: accounts::Purged,
    attempts: i64,
}

async fn purge_sessions(
    database: &'static Database,
    time_left: Duration,
) -> Result<Purged, database::Error> {
    let end = Instant::now() + time_left.saturating_sub(SHUTDOWN_MARGIN);
    let left = || end.saturating_duration_since(Instant::now());
    // Each is tried, whatever becomes of the other.
    let sessions = accounts::purge_sessions(database, left()).await;
    let attempts = rate_limit::purge(database, left()).await;
    Ok(Purged {
        sessions: sessions?,
        attempts: attempts?,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_job(purge_sessions).await
}
