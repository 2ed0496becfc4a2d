//! `DELETE /api/auth/sessions`: ends all other logins of the caller; with `kind=token` all personal tokens, with `kind=all`
//! both.

use std::process::ExitCode;

use shared::accounts::{self, OtherSessions};
use shared::{App, Error, Reply, Request};

async fn end_sessions(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate(&request).await?;
    let which = OtherSessions::from_query(request.query());
    let which = app.report_dead_session_first(&caller, which).await?;
    accounts::end_sessions(&app.database, &caller, which).await?;
    Reply::message("Other sessions ended")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(end_sessions).await
}
