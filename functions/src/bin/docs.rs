//! `GET /`: a greeting.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request};

async fn docs(_request: Request, _app: &'static App) -> Result<Reply, Error> {
    Reply::message("Welcome to the Todo API")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_lazily(docs).await
}
