//! `POST /api/auth/tokens`: creates a personal token, for scripts and automations, for a caller who knows the password.

use std::process::ExitCode;

use shared::accounts::{self, NewToken};
use shared::{App, Error, Reply, Request};

async fn create_token(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.authenticate(&request).await?;
    let token = NewToken::from_body(&body);
    let token = app.report_dead_session_first(&caller, token).await?;
    let requester = app.requester(&request);
    let created = accounts::create_token(&app.database, &requester, &caller, token).await?;
    Reply::created(&created)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(create_token).await
}
