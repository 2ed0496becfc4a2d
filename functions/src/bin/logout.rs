//! `POST /api/auth/logout`: ends the caller's session, at once and for good.

use std::process::ExitCode;

use shared::auth::session;
use shared::{App, Error, Reply, Request};

async fn logout(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.caller(&request)?;
    session::revoke(&app.database, &caller).await?;
    Reply::message("Logout successful")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(logout).await
}
