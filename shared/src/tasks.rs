//! Tasks: statements and operations. `tasks/fields.rs` has the fields of a task and their rules.
//!
//! What a statement does is a function in the database (`sql/V4__task_clock.sql`, `sql/V5__task_list.sql`): it checks, in the same round trip,
//! that the caller's session is active, and returns no row where it is not.

mod creation;
mod fields;
mod list;
mod query;
mod versioned;

use tokio_postgres::types::{Json, Type};

use crate::auth::Caller;
use crate::database::{Database, Statement};
use crate::http::Error;
use crate::http::conditional::EntityTags;
use crate::settings::AccountLimits;
use fields::task_columns;
use versioned::{Outcome, unexpected_outcome, version_tags};

pub use creation::{Created, CreationKey, create};
pub use fields::{NewTask, Priority, Task, TaskChanges};
pub use list::{LIST, TaskList, list};
pub use query::{CURSOR, TaskQuery};
pub use versioned::Versioned;

/// Selects the task `$3` of the user `$2`, with the session `$1`.
pub const GET: Statement = Statement::read(concat!(
    "SELECT ",
    task_columns!(),
    ", task.tag FROM public.todo_get_task($1, $2, $3) AS task"
));

/// One of the caller's tasks.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn get(database: &Database, caller: &Caller, id: i64) -> Result<Versioned<Task>, Error> {
    let row = database
        .query_opt(
            &GET,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&id, Type::INT8),
            ],
            Versioned::from_outer_row,
        )
        .await?;
    row.ok_or(Error::InvalidToken)?.ok_or(Error::TaskNotFound)
}

/// Changes the task `$3` of the user `$2`, with the session `$1`, where it has one of the versions `$4`: the operation `$5`
/// with the fields `$6`, up to `$7` bytes of text.
pub const CHANGE: Statement = Statement::write(concat!(
    "SELECT ",
    task_columns!(),
    ", change.tag, change.outcome
    FROM public.todo_change_task($1, $2, $3, $4, $5, $6, $7) AS change
    CROSS JOIN LATERAL (SELECT (change.task).*) AS task"
));

/// What to do with a task.
#[derive(Debug)]
pub enum Change<'a> {
    /// Set these fields.
    Update(&'a TaskChanges),
    /// Mark it as completed, or as open again.
    Toggle,
    /// Delete it.
    Delete,
}

/// Changes one of the caller's tasks where its version is one of those that `expected` names, and returns it. A deleted
/// task is returned as it was. Texts may grow up to the account's limit.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::TaskChanged`], [`Error::AccountFull`], [`Error::InvalidToken`].
pub async fn change(
    database: &Database,
    caller: &Caller,
    id: i64,
    expected: &EntityTags,
    change: Change<'_>,
    limits: AccountLimits,
) -> Result<Versioned<Task>, Error> {
    let (operation, fields) = match change {
        Change::Update(changes) => ("update", Some(Json(changes))),
        Change::Toggle => ("toggle", None),
        Change::Delete => ("delete", None),
    };
    let row = database
        .query_opt(
            &CHANGE,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&id, Type::INT8),
                (&version_tags(expected), Type::TEXT_ARRAY),
                (&operation, Type::TEXT),
                (&fields, Type::JSONB),
                (&limits.bytes, Type::INT8),
            ],
            Outcome::from_row,
        )
        .await?;
    let Outcome { name, task } = row.ok_or(Error::InvalidToken)?;
    match (name.as_str(), task) {
        ("done", Some(task)) => Ok(task),
        ("changed", Some(task)) => Err(Error::TaskChanged(task.etag)),
        ("full", _) => Err(Error::AccountFull),
        ("not found", _) => Err(Error::TaskNotFound),
        (name, _) => Err(unexpected_outcome(name)),
    }
}
