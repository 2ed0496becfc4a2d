//! `GET /api/auth/me`: the caller's own account.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::{App, Error, Reply, Request, accounts};

async fn me(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app
        .authenticate_with_scope(&request, Scope::TasksRead)
        .await?;
    let user = accounts::get(&app.database, &caller).await?;
    Reply::ok(&user)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(me).await
}
