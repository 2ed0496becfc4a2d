//! Tasks: statements and operations. `tasks/fields.rs` has the fields of a task and their rules.
//!
//! Every statement also checks, in the same round trip, that the caller's session is active. It returns no row where the
//! session is not active, and a row of nulls where the caller has no such task.

mod fields;

use tokio_postgres::types::{Json, Type};

use crate::auth::Caller;
use crate::cause::Cause;
use crate::database::{self, Database, Statement};
use crate::http::Error;
use fields::task_columns;

pub use fields::{NewTask, Priority, Task, TaskChanges};

/// Selects the tasks of the user `$2`, with the session `$1`.
pub const LIST: Statement = Statement::read(concat!(
    "
    SELECT ",
    task_columns!(),
    "
    FROM public.active_session AS session
    LEFT JOIN public.task ON task.user_id = session.user_id
    WHERE session.token_jti = $1 AND session.user_id = $2
    ORDER BY task.id"
));

/// The caller's tasks, ordered by id.
///
/// # Errors
/// [`Error::TaskListTooLarge`] where they are more than `max_bytes` as the database sends them, so that no list can exhaust
/// the memory of an instance; [`Error::InvalidToken`] where the session is not active.
pub async fn list(
    database: &Database,
    caller: &Caller,
    max_bytes: usize,
) -> Result<Vec<Task>, Error> {
    let rows = database
        .query(
            &LIST,
            &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)],
            max_bytes,
            Task::from_outer_row,
        )
        .await?
        .ok_or(Error::TaskListTooLarge)?;
    if rows.is_empty() {
        return Err(Error::InvalidToken);
    }
    Ok(rows.into_iter().flatten().collect())
}

// `$3` is a JSON object with a member for each field.
const CREATE: Statement = Statement::write(concat!(
    "
    WITH caller AS (
        SELECT session.user_id
        FROM public.active_session AS session
        WHERE session.token_jti = $1 AND session.user_id = $2
    ), created AS (
        INSERT INTO public.task (user_id, title, description, due_date, priority, tags, recursion_pattern, completed)
        SELECT caller.user_id, new.title, new.description, new.due_date, new.priority, new.tags, new.recursion_pattern,
               new.completed
        FROM caller, jsonb_to_record($3) AS new (
            title text, description text, due_date text, priority public.priority_enum, tags text,
            recursion_pattern text, completed boolean
        )
        RETURNING task.*
    )
    SELECT ",
    task_columns!(),
    "
    FROM caller
    LEFT JOIN created AS task ON true"
));

/// Creates a task of the caller's.
///
/// # Errors
/// [`Error::InvalidToken`] where the session is not active, or the account is gone.
pub async fn create(database: &Database, caller: &Caller, task: &NewTask) -> Result<Task, Error> {
    let created = database
        .query_opt(
            &CREATE,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&Json(task), Type::JSONB),
            ],
            Task::from_outer_row,
        )
        .await;
    match created {
        Ok(task) => task.ok_or(Error::InvalidToken)?.ok_or_else(|| {
            Error::Internal(Cause::new(
                "no task was created: a trigger or a rule in the database suppresses it",
            ))
        }),
        // The account was deleted after its session was checked and before the insert.
        Err(database::Error::ForeignKeyViolation(_)) => Err(Error::InvalidToken),
        Err(error) => Err(error.into()),
    }
}

/// Selects the task `$3` of the user `$2`, with the session `$1`.
pub const GET: Statement = Statement::read(concat!(
    "
    SELECT ",
    task_columns!(),
    "
    FROM public.active_session AS session
    LEFT JOIN public.task ON task.user_id = session.user_id AND task.id = $3
    WHERE session.token_jti = $1 AND session.user_id = $2"
));

/// One of the caller's tasks.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn get(database: &Database, caller: &Caller, id: i64) -> Result<Task, Error> {
    query_task(database, &GET, caller, id).await
}

// `$4` is a JSON object with a member for each field to change; a null clears the field.
const UPDATE: Statement = Statement::write(concat!(
    "
    WITH caller AS (
        SELECT session.user_id
        FROM public.active_session AS session
        WHERE session.token_jti = $1 AND session.user_id = $2
    ), updated AS (
        UPDATE public.task
        SET title = coalesce($4 ->> 'title', task.title),
            description = CASE WHEN $4 ? 'description' THEN $4 ->> 'description' ELSE task.description END,
            due_date = CASE WHEN $4 ? 'due_date' THEN $4 ->> 'due_date' ELSE task.due_date END,
            priority = coalesce(($4 ->> 'priority')::public.priority_enum, task.priority),
            tags = CASE WHEN $4 ? 'tags' THEN $4 ->> 'tags' ELSE task.tags END,
            recursion_pattern = CASE WHEN $4 ? 'recursion_pattern' THEN $4 ->> 'recursion_pattern'
                                     ELSE task.recursion_pattern END,
            completed = coalesce(($4 ->> 'completed')::boolean, task.completed)
        FROM caller
        WHERE task.user_id = caller.user_id AND task.id = $3
        RETURNING task.*
    )
    SELECT ",
    task_columns!(),
    "
    FROM caller
    LEFT JOIN updated AS task ON true"
));

/// Changes one of the caller's tasks.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn update(
    database: &Database,
    caller: &Caller,
    id: i64,
    changes: &TaskChanges,
) -> Result<Task, Error> {
    let row = database
        .query_opt(
            &UPDATE,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&id, Type::INT8),
                (&Json(changes), Type::JSONB),
            ],
            Task::from_outer_row,
        )
        .await?;
    row.ok_or(Error::InvalidToken)?.ok_or(Error::TaskNotFound)
}

/// Toggles the task `$3` of the user `$2`, with the session `$1`.
pub const TOGGLE: Statement = Statement::write(concat!(
    "
    WITH caller AS (
        SELECT session.user_id
        FROM public.active_session AS session
        WHERE session.token_jti = $1 AND session.user_id = $2
    ), toggled AS (
        UPDATE public.task
        SET completed = NOT task.completed
        FROM caller
        WHERE task.user_id = caller.user_id AND task.id = $3
        RETURNING task.*
    )
    SELECT ",
    task_columns!(),
    "
    FROM caller
    LEFT JOIN toggled AS task ON true"
));

/// Marks one of the caller's tasks as completed, or as open again.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn toggle(database: &Database, caller: &Caller, id: i64) -> Result<Task, Error> {
    query_task(database, &TOGGLE, caller, id).await
}

const DELETE: Statement = Statement::write(concat!(
    "
    WITH caller AS (
        SELECT session.user_id
        FROM public.active_session AS session
        WHERE session.token_jti = $1 AND session.user_id = $2
    ), deleted AS (
        DELETE FROM public.task
        USING caller
        WHERE task.user_id = caller.user_id AND task.id = $3
        RETURNING task.*
    )
    SELECT ",
    task_columns!(),
    "
    FROM caller
    LEFT JOIN deleted AS task ON true"
));

/// Deletes one of the caller's tasks, and returns it as it was.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn delete(database: &Database, caller: &Caller, id: i64) -> Result<Task, Error> {
    query_task(database, &DELETE, caller, id).await
}

/// Runs a statement about one of the caller's tasks.
async fn query_task(
    database: &Database,
    statement: &Statement,
    caller: &Caller,
    id: i64,
) -> Result<Task, Error> {
    let row = database
        .query_opt(
            statement,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&id, Type::INT8),
            ],
            Task::from_outer_row,
        )
        .await?;
    row.ok_or(Error::InvalidToken)?.ok_or(Error::TaskNotFound)
}
