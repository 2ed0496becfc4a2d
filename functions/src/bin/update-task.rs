//! `PUT /api/{user_id}/tasks/{id}`: changes the fields that the body names of one of the caller's tasks.

use std::process::ExitCode;

use shared::tasks::{self, TaskChanges};
use shared::validation::both;
use shared::{App, Error, Reply, Request};

async fn update_task(request: Request, app: &'static App) -> Result<Reply, Error> {
    let body = request.body()?;
    let caller = app.caller(&request)?;
    let (id, changes) = app
        .admit(
            &caller,
            both(request.own_task(&caller), TaskChanges::read(&body)),
        )
        .await?;
    let task = tasks::update(&app.database, &caller, id, &changes).await?;
    Reply::ok(&task)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(update_task).await
}
