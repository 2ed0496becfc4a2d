//! `DELETE /api/{user_id}/tasks/{id}`: deletes one of the caller's tasks.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::http::request::collect_violations;
use shared::tasks::{self, Change};
use shared::{App, Error, Reply, Request};

async fn delete_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate_with_scope(&request, Scope::Tasks).await?;
    let input = collect_violations(request.own_task_id(&caller), request.if_match());
    let (id, expected) = app.report_dead_session_first(&caller, input).await?;
    let limits = app.account_limits;
    tasks::change(
        &app.database,
        &caller,
        id,
        &expected,
        Change::Delete,
        limits,
    )
    .await?;
    Reply::message("Task deleted successfully")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(delete_task).await
}
