//! `POST /api/auth/logout`: ends the caller's session immediately.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, accounts};

async fn logout(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate(&request).await?;
    accounts::log_out(&app.database, &caller).await?;
    Reply::message("Logout successful")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(logout).await
}
