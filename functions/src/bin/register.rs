//! `POST /api/auth/register`: creates an account and logs its owner in.

use std::process::ExitCode;
use std::time::SystemTime;

use serde::Serialize;
use shared::auth::{AccessToken, password};
use shared::users::{self, NewUser, User};
use shared::{App, Error, Reply, Request};

/// The new user, and the token of their first session.
#[derive(Serialize)]
struct Registered {
    #[serde(flatten)]
    user: User,
    #[serde(flatten)]
    access_token: AccessToken,
}

async fn register(request: Request, app: &'static App) -> Result<Reply, Error> {
    let user = NewUser::read(&request.body()?)?;
    let stranger = app.stranger(&request);
    let (id, hashed_password) = tokio::try_join!(
        users::next_id(&app.database, &stranger),
        password::hash(user.password.clone())
    )?;
    let token = app
        .tokens
        .issue(id, &user.email, &user.username, SystemTime::now())?;
    let user = users::register(&app.database, id, &user, &hashed_password, &token).await?;
    Reply::created(&Registered {
        user,
        access_token: token.access_token,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(register).await
}
