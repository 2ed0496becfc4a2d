//! `POST /api/auth/login`, and its alias `POST /api/auth/token`: opens a session for someone who knows the password.

use std::process::ExitCode;
use std::time::SystemTime;

use shared::accounts::{self, Credentials};
use shared::{App, Error, Reply, Request};

async fn login(request: Request, app: &'static App) -> Result<Reply, Error> {
    let credentials = Credentials::from_body(&request.body()?)?;
    let requester = app.requester(&request);
    let now = SystemTime::now();
    let token = accounts::log_in(&app.database, &app.tokens, &requester, &credentials, now).await?;
    Reply::ok(&token)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(login).await
}
