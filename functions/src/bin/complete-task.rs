//! `PATCH /api/{user_id}/tasks/{id}/complete`: marks one of the caller's tasks as completed, or as open again. A body is
//! ignored.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::http::request::collect_violations;
use shared::tasks::{self, Change};
use shared::{App, Error, Reply, Request};

async fn complete_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate_with_scope(&request, Scope::Tasks).await?;
    let input = collect_violations(request.own_task_id(&caller), request.if_match());
    let (id, expected) = app.report_dead_session_first(&caller, input).await?;
    let limits = app.account_limits;
    let task = tasks::change(
        &app.database,
        &caller,
        id,
        &expected,
        Change::Toggle,
        limits,
    )
    .await?;
    Ok(Reply::ok_unless(&task.content, Error::TaskTooLarge)?.with_etag(&task.etag))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(complete_task).await
}
