//! `DELETE /api/{user_id}/tasks/{id}`: deletes one of the caller's tasks.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, tasks};

async fn delete_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.caller(&request)?;
    let id = app.admit(&caller, request.own_task(&caller)).await?;
    tasks::delete(&app.database, &caller, id).await?;
    Reply::message("Task deleted successfully")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(delete_task).await
}
