//! `POST /api/{user_id}/tasks`: creates a task of the caller's. A repetition with the same `Idempotency-Key` returns it.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::http::error::Action;
use shared::http::request::collect_violations;
use shared::tasks::{self, CreationKey, NewTask};
use shared::{App, Error, Reply, Request};

async fn create_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.authenticate_with_scope(&request, Scope::Tasks).await?;
    let path = request.require_own_user_id(&caller, Action::CreateTask);
    let key = CreationKey::from_header(request.header_text("idempotency-key"));
    let input = collect_violations(collect_violations(path, key), NewTask::from_body(&body));
    let (((), key), task) = app.report_dead_session_first(&caller, input).await?;
    let created = tasks::create(&app.database, &caller, &task, &key, app.account_limits).await?;
    let reply = Reply::created(&created.task.content)?.with_etag(&created.task.etag);
    Ok(if created.is_replayed {
        reply.with_header("idempotent-replayed", "true")
    } else {
        reply
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(create_task).await
}
