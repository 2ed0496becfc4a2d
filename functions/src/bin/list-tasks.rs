//! `GET /api/{user_id}/tasks`: all of the caller's tasks, ordered by id.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::http::error::Action;
use shared::http::request::collect_violations;
use shared::{App, Error, Reply, Request, tasks};

async fn list_tasks(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app
        .authenticate_with_scope(&request, Scope::TasksRead)
        .await?;
    let path = request.require_own_user_id(&caller, Action::AccessTasks);
    let input = collect_violations(path, request.if_none_match());
    let ((), known) = app.report_dead_session_first(&caller, input).await?;
    let list = tasks::list(&app.database, &caller, &known, Reply::MAX_BYTES).await?;
    let reply = match &list.content {
        Some(tasks) => Reply::ok_unless(tasks, Error::TaskListTooLarge)?,
        None => Reply::not_modified(),
    };
    Ok(reply.with_etag(&list.etag))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(list_tasks).await
}
