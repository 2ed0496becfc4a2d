//! `POST /api/auth/password`: changes the caller's password, and ends the caller's other sessions.

use std::process::ExitCode;

use shared::accounts::{self, PasswordChange};
use shared::{App, Error, Reply, Request};

async fn change_password(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.authenticate(&request).await?;
    let change = PasswordChange::from_body(&body);
    let change = app.report_dead_session_first(&caller, change).await?;
    let requester = app.requester(&request);
    accounts::change_password(&app.database, &requester, &caller, &change).await?;
    Reply::message("Password changed")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(change_password).await
}
