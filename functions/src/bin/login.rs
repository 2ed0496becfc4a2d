//! `POST /api/auth/login`, and its alias `POST /api/auth/token`: opens a session for who knows the password.

use std::process::ExitCode;
use std::time::SystemTime;

use shared::auth::session;
use shared::users::{self, Credentials};
use shared::{App, Error, Reply, Request};

async fn login(request: Request, app: &'static App) -> Result<Reply, Error> {
    let credentials = Credentials::read(&request.body()?)?;
    let (account, rehash) = users::authenticate(&app.database, credentials).await?;
    let token = app.tokens.issue(
        account.id,
        &account.email,
        &account.username,
        SystemTime::now(),
    )?;
    session::open(&app.database, account.id, &token, rehash.as_ref()).await?;
    Reply::ok(&token.access_token)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(login).await
}
