//! `DELETE /api/auth/me`: deletes the caller's account and everything that belongs to it.

use std::process::ExitCode;

use shared::accounts::{self, AccountDeletion};
use shared::{App, Error, Reply, Request};

async fn delete_account(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.authenticate(&request).await?;
    let deletion = AccountDeletion::from_body(&body);
    let deletion = app.report_dead_session_first(&caller, deletion).await?;
    let requester = app.requester(&request);
    accounts::delete(&app.database, &requester, &caller, &deletion).await?;
    Reply::message("Account deleted")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(delete_account).await
}
