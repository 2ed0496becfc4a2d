//! `POST /api/auth/refresh`: a new token for someone who has one of a login. The old one stays valid until it expires.

use std::process::ExitCode;
use std::time::SystemTime;

use shared::auth::Tokens;
use shared::{App, Error, Reply, Request, accounts};

async fn refresh(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate(&request).await?;
    let names = Tokens::names(request.bearer_token()?);
    let (max_days, now) = (app.session_max_days, SystemTime::now());
    let token =
        accounts::refresh(&app.database, &app.tokens, &caller, names, max_days, now).await?;
    Reply::ok(&token)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(refresh).await
}
