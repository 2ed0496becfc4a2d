//! `POST /api/auth/register`: creates an account and opens its first session.

use std::process::ExitCode;
use std::time::SystemTime;

use shared::accounts::{self, NewUser};
use shared::{App, Error, Reply, Request};

async fn register(request: Request, app: &'static App) -> Result<Reply, Error> {
    let user = NewUser::from_body(&request.body()?)?;
    let requester = app.requester(&request);
    let now = SystemTime::now();
    let registered = accounts::register(&app.database, &app.tokens, &requester, &user, now).await?;
    Reply::created(&registered)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(register).await
}
