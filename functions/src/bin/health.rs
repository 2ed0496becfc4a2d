//! `GET /health`: the function runs. The database is not used, and therefore not woken.
//! `GET /health?deep=1`: the database answers and accepts writes, its schema is one that this build can work with, and how
//! long that took. This wakes a suspended compute, and takes a connection and one round trip.

use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use shared::{App, Error, Reply, Request};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    /// The commit that was packaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    #[serde(flatten)]
    database: Option<DatabaseHealth>,
}

#[derive(Serialize)]
struct DatabaseHealth {
    schema_version: i32,
    /// Getting a connection; almost zero where the instance has one.
    connect_ms: u128,
    /// One statement and its answer.
    statement_ms: u128,
}

async fn health(request: Request, app: &'static App) -> Result<Reply, Error> {
    let is_deep = request.query().values("deep") == [b"1"];
    let database = if is_deep {
        Some(check_database(app).await?)
    } else {
        None
    };
    Reply::ok(&Health {
        status: "ok",
        // Only in this binary: another commit must not change the code of all functions.
        commit: option_env!("COMMIT").filter(|commit| !commit.is_empty()),
        database,
    })
}

async fn check_database(app: &'static App) -> Result<DatabaseHealth, Error> {
    let started = Instant::now();
    app.database.connect().await?;
    let connected = Instant::now();
    let schema_version = app.database.check_health().await?;
    Ok(DatabaseHealth {
        schema_version,
        connect_ms: (connected - started).as_millis(),
        statement_ms: connected.elapsed().as_millis(),
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_lazily(health).await
}
