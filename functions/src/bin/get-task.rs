//! `GET /api/{user_id}/tasks/{id}`: one of the caller's tasks.

use std::process::ExitCode;

use shared::{App, Error, Reply, Request, tasks};

async fn get_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app.caller(&request)?;
    let id = app.admit(&caller, request.own_task(&caller)).await?;
    let task = tasks::get(&app.database, &caller, id).await?;
    Reply::ok(&task)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(get_task).await
}
