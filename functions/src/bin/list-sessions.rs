//! `GET /api/auth/sessions`: the caller's active logins and personal tokens, the newest first.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, accounts};

async fn list_sessions(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate(&request).await?;
    let sessions = accounts::list_sessions(&app.database, &caller).await?;
    Reply::ok(&sessions)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(list_sessions).await
}
