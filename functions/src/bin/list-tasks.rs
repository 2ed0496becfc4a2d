//! `GET /api/{user_id}/tasks`: all of the caller's tasks, by id.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, tasks};

async fn list_tasks(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.caller(&request)?;
    app.admit(&caller, request.under_own_id(&caller, Error::NotYourTasks))
        .await?;
    let tasks = tasks::list(&app.database, &caller, Reply::MAX_BYTES).await?;
    Reply::ok(&tasks)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(list_tasks).await
}
