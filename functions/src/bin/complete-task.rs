//! `PATCH /api/{user_id}/tasks/{id}/complete`: turns one of the caller's tasks from open to completed, or back. A body
//! is ignored.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, tasks};

async fn complete_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.caller(&request)?;
    let id = app.admit(&caller, request.own_task(&caller)).await?;
    let task = tasks::toggle(&app.database, &caller, id).await?;
    Reply::ok(&task)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(complete_task).await
}
