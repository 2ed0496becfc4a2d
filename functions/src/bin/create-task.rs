//! `POST /api/{user_id}/tasks`: creates a task of the caller's.

use std::process::ExitCode;

use shared::http::error::Action;
use shared::http::request::collect_violations;
use shared::tasks::{self, NewTask};
use shared::{App, Error, Reply, Request};

async fn create_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.authenticate(&request)?;
    let path = request.require_own_user_id(&caller, Action::CreateTask);
    let input = collect_violations(path, NewTask::from_body(&body));
    let ((), task) = app.report_dead_session_first(&caller, input).await?;
    let task = tasks::create(&app.database, &caller, &task).await?;
    Reply::created(&task)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(create_task).await
}
