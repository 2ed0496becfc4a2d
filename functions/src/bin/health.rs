//! `GET /health`: says that the function runs, without touching the database and so without waking it.
//! `GET /health?deep=1`: says whether the database answers and its schema is one that this build can work with.

use std::process::ExitCode;

use serde::Serialize;
use shared::database::schema;
use shared::{App, Error, Reply, Request};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_version: Option<i32>,
}

async fn health(request: Request, app: &'static App) -> Result<Reply, Error> {
    let schema_version = if request.query("deep") == Some("1") {
        Some(schema::check(&app.database).await?)
    } else {
        None
    };
    Reply::ok(&Health {
        status: "ok",
        schema_version,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_lazily(health).await
}
