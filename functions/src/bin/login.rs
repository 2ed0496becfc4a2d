//! `POST /api/auth/login`, and its alias `POST /api/auth/token`: opens a session for who knows the password.

use std::process::ExitCode;
use std::time::SystemTime;

use shared::auth::session;
use shared::users::{self, Credentials};
use shared::{App, Error, Reply, Request};

async fn login(request: Request, app: &'static App) -> Result<Reply, Error> {
    let credentials = Credentials::read(&request.body()?)?;
    let stranger = app.stranger(&request);
    // Once more where the password's hash was replaced meanwhile: by another login, or by another password.
    for _ in 0..2 {
        let (account, verified) =
            users::authenticate(&app.database, &stranger, &credentials).await?;
        let token = app.tokens.issue(
            account.id,
            &account.email,
            &account.username,
            SystemTime::now(),
        )?;
        if session::open(&app.database, &stranger, account.id, &token, &verified).await? {
            return Reply::ok(&token.access_token);
        }
    }
    Err(Error::WrongCredentials)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(login).await
}
