//! `POST /api/auth/password`: changes the caller's password, and ends their other sessions.

use std::process::ExitCode;

use shared::users::{self, PasswordChange};
use shared::{App, Error, Reply, Request};

async fn change_password(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.caller(&request)?;
    let change = app.admit(&caller, PasswordChange::read(&body)).await?;
    users::change_password(&app.database, &app.stranger(&request), &caller, change).await?;
    Reply::message("Password changed")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(change_password).await
}
