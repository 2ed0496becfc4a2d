//! `DELETE /api/auth/me`: deletes the caller's account, and all that is theirs with it.

use std::process::ExitCode;

use shared::users::{self, Farewell};
use shared::{App, Error, Reply, Request};

async fn delete_account(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.caller(&request)?;
    let farewell = app.admit(&caller, Farewell::read(&body)).await?;
    users::delete(&app.database, &app.stranger(&request), &caller, farewell).await?;
    Reply::message("Account deleted")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(delete_account).await
}
