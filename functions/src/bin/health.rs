//! `GET /health`: says that the function runs, without touching the database and so without waking it.
//! `GET /health?deep=1`: says whether the database answers and its schema is one that this build can work with.

use std::process::ExitCode;

use serde_json::json;
use shared::database::schema;
use shared::{App, Error, Reply, Request};

async fn health(request: Request, app: &'static App) -> Result<Reply, Error> {
    if request.query("deep") != Some("1") {
        return Reply::ok(&json!({"status": "ok"}));
    }
    let schema_version = schema::check(&app.database).await?;
    Reply::ok(&json!({"status": "ok", "database": "ok", "schema_version": schema_version}))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_lazily(health).await
}
