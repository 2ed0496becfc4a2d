//! `GET /api/{user_id}/tasks/{id}`: one of the caller's tasks.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::http::request::collect_violations;
use shared::{App, Error, Reply, Request, tasks};

async fn get_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app
        .authenticate_with_scope(&request, Scope::TasksRead)
        .await?;
    let input = collect_violations(request.own_task_id(&caller), request.if_none_match());
    let (id, known) = app.report_dead_session_first(&caller, input).await?;
    let task = tasks::get(&app.database, &caller, id).await?;
    let reply = if known.contain(&task.etag) {
        Reply::not_modified()
    } else {
        Reply::ok_unless(&task.content, Error::TaskTooLarge)?
    };
    Ok(reply.with_etag(&task.etag))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(get_task).await
}
