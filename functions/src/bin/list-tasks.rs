//! `GET /api/{user_id}/tasks`: the caller's tasks, or those that the query asks for.

use std::process::ExitCode;

use shared::auth::Scope;
use shared::http::error::Action;
use shared::http::request::collect_violations;
use shared::tasks::{self, CURSOR, TaskQuery};
use shared::{App, Error, Reply, Request};

async fn list_tasks(request: Request, app: &'static App) -> Result<Reply, Error> {
    let caller = app
        .authenticate_with_scope(&request, Scope::TasksRead)
        .await?;
    let path = request.require_own_user_id(&caller, Action::AccessTasks);
    let input = collect_violations(path, TaskQuery::from_query(request.query()));
    let input = collect_violations(input, request.if_none_match());
    let (((), query), known) = app.report_dead_session_first(&caller, input).await?;
    let list = tasks::list(&app.database, &caller, &known, &query, Reply::MAX_BYTES).await?;
    let Some(mut tasks) = list.content else {
        return Ok(Reply::not_modified().with_etag(&list.etag));
    };
    let reply = loop {
        match Reply::ok_unless(&tasks, Error::TaskListTooLarge) {
            Err(Error::TaskListTooLarge) if tasks.halve() => {}
            reply => break reply?,
        }
    };
    let next = tasks.next_cursor();
    let next = next.map(|cursor| request.query().with(CURSOR, &cursor));
    Ok(reply.with_etag(&list.etag).with_next_page(next.as_deref()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::serve(list_tasks).await
}
