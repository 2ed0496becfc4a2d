//! `POST /api/{user_id}/tasks`: creates a task of the caller's.

use std::process::ExitCode;

use shared::tasks::{self, NewTask};
use shared::validation::both;
use shared::{App, Error, Reply, Request};

async fn create_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.caller(&request)?;
    let path = request.under_own_id(&caller, Error::NotYoursToCreate);
    let ((), task) = app.admit(&caller, both(path, NewTask::read(&body))).await?;
    let task = tasks::create(&app.database, &caller, &task).await?;
    Reply::created(&task)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(create_task).await
}
