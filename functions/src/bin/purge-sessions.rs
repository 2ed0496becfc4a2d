//! Deletes the sessions, and the counts of failed logins, that have expired. A schedule sets it to work, with any event.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use shared::auth::{session, throttle};
use shared::database::{self, Database};

/// What is left of the function's time for the batch at work, and for the answer.
const RESERVE: Duration = Duration::from_secs(15);

/// What was deleted.
#[derive(Serialize)]
struct Purged {
    #[serde(flatten)]
    sessions: session::Purged,
    attempts: i64,
}

async fn purge_sessions(
    database: &'static Database,
    time_left: Duration,
) -> Result<Purged, database::Error> {
    let end = Instant::now() + time_left.saturating_sub(RESERVE);
    let left = || end.saturating_duration_since(Instant::now());
    Ok(Purged {
        attempts: throttle::purge(database, left()).await?,
        sessions: session::purge(database, left()).await?,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_job(purge_sessions).await
}
