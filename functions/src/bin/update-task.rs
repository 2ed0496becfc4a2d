//! `PUT /api/{user_id}/tasks/{id}`: changes the fields of a task that the body names.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::http::request::collect_violations;
use shared::tasks::{self, Change, TaskChanges};
use shared::{App, Error, Reply, Request};

async fn update_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.authenticate_with_scope(&request, Scope::Tasks).await?;
    let path = collect_violations(request.own_task_id(&caller), request.if_match());
    let input = collect_violations(path, TaskChanges::from_body(&body));
    let ((id, expected), changes) = app.report_dead_session_first(&caller, input).await?;
    let change = Change::Update(&changes);
    let limits = app.account_limits;
    let task = tasks::change(&app.database, &caller, id, &expected, change, limits).await?;
    Ok(Reply::ok_unless(&task.content, Error::TaskTooLarge)?.with_etag(&task.etag))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(update_task).await
}
