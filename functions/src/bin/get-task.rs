//! `GET /api/{user_id}/tasks/{id}`: one of the caller's tasks.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, tasks};

async fn get_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate(&request)?;
    let id = request.own_task_id(&caller);
    let id = app.report_dead_session_first(&caller, id).await?;
    let task = tasks::get(&app.database, &caller, id).await?;
    Reply::ok(&task)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(get_task).await
}
