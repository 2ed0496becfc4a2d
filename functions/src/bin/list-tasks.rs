//! `GET /api/{user_id}/tasks`: all of the caller's tasks, ordered by id.

use std::process::ExitCode;

use shared::http::error::Action;
use shared::{App, Error, Reply, Request, tasks};

async fn list_tasks(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.authenticate(&request)?;
    let path = request.require_own_user_id(&caller, Action::AccessTasks);
    app.report_dead_session_first(&caller, path).await?;
    let tasks = tasks::list(&app.database, &caller, Reply::MAX_BYTES).await?;
    Reply::ok_unless(&tasks, Error::TaskListTooLarge)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(list_tasks).await
}
