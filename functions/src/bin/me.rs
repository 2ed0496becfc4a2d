//! `GET /api/auth/me`: the caller's own account.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, users};

async fn me(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.caller(&request)?;
    let user = users::me(&app.database, &caller).await?;
    Reply::ok(&user)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(me).await
}
