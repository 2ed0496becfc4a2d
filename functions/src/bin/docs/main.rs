//! `GET /`, `GET /openapi.json`, `GET /docs`: a greeting, the OpenAPI document, and a page to read and try it on.

mod document;

use std::process::ExitCode;

use shared::{Error, Reply, Request};

async fn docs(request: Request) -> Result<Reply, Error> {
    match request.last_segment() {
        "openapi.json" => Ok(document::OPENAPI.reply_to(&request)),
        "docs" => Ok(document::PAGE.reply_to(&request)),
        _ => Reply::message("Welcome to the Todo API"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve_without_settings(docs).await
}
