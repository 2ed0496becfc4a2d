//! `DELETE /api/auth/sessions/{id}`: ends one of the caller's logins or personal tokens.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, accounts};

async fn end_session(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate(&request).await?;
    let id = request.path_id("id");
    let id = app.report_dead_session_first(&caller, id).await?;
    accounts::end_session(&app.database, &caller, id).await?;
    Reply::message("Session ended")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(end_session).await
}
