//! `PUT /api/{user_id}/tasks/{id}`: changes the fields of a task that the body names.

use std::process::ExitCode;

use shared::http::request::collect_violations;
use shared::tasks::{self, TaskChanges};
use shared::{App, Error, Reply, Request};

async fn update_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.authenticate(&request)?;
    let input = collect_violations(request.own_task_id(&caller), TaskChanges::from_body(&body));
    let (id, changes) = app.report_dead_session_first(&caller, input).await?;
    let task = tasks::update(&app.database, &caller, id, &changes).await?;
    Reply::ok(&task)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(update_task).await
}
