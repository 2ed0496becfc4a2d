//! Tasks: what they are, the rules they keep, and their SQL.
//!
//! Every statement looks up the caller's session and does its work in one round trip. It answers no row where the
//! session does not live, and a row without a task where the caller has no such task.

use jiff::civil::DateTime;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::Error;
use crate::auth::Caller;
use crate::auth::session::{lives, with_caller};
use crate::database::{self, Database, Statement};
use crate::timestamp;
use crate::validation::{Body, Broken, Fields, any_text, lax_bool, nullable, text};

/// A task, as its owner sees it.
#[derive(Debug, Serialize)]
pub struct Task {
    id: i32,
    user_id: i32,
    title: String,
    description: Option<String>,
    due_date: Option<String>,
    priority: String,
    tags: Option<String>,
    recursion_pattern: Option<String>,
    completed: bool,
    #[serde(serialize_with = "timestamp::serialize")]
    created_at: DateTime,
    #[serde(serialize_with = "timestamp::serialize")]
    updated_at: DateTime,
}

/// How urgent a task is.
#[derive(Clone, Copy, Debug, Default)]
pub enum Priority {
    /// First of all.
    High,
    /// What a task is unless it says otherwise.
    #[default]
    Medium,
    /// When there is time.
    Low,
}

impl Priority {
    fn label(self) -> &'static str {
        match self {
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Low => "Low",
        }
    }

    fn read(value: &RawValue) -> Result<Self, Broken> {
        match serde_json::from_str::<String>(value.get())
            .unwrap_or_default()
            .as_str()
        {
            "High" => Ok(Self::High),
            "Medium" => Ok(Self::Medium),
            "Low" => Ok(Self::Low),
            _ => Err(Broken::not_one_of("'High', 'Medium' or 'Low'")),
        }
    }
}

fn title(value: &RawValue) -> Result<String, Broken> {
    text(1, 200)(value)
}

fn due_date(value: &RawValue) -> Result<Option<String>, Broken> {
    nullable(text(0, 50))(value)
}

fn recursion_pattern(value: &RawValue) -> Result<Option<String>, Broken> {
    nullable(text(0, 100))(value)
}

/// A task to create.
#[derive(Debug)]
pub struct NewTask {
    title: String,
    description: Option<String>,
    due_date: Option<String>,
    priority: Priority,
    tags: Option<String>,
    recursion_pattern: Option<String>,
    completed: bool,
}

impl NewTask {
    /// Reads a task from a body.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every rule that is broken.
    pub fn read(body: &Body) -> Result<Self, Error> {
        let mut fields = Fields::of(body)?;
        let task = Self {
            title: fields.required("title", title),
            description: fields.optional("description", nullable(any_text)).flatten(),
            due_date: fields.optional("due_date", due_date).flatten(),
            priority: fields
                .optional("priority", Priority::read)
                .unwrap_or_default(),
            tags: fields.optional("tags", nullable(any_text)).flatten(),
            recursion_pattern: fields
                .optional("recursion_pattern", recursion_pattern)
                .flatten(),
            completed: fields.optional("completed", lax_bool).unwrap_or_default(),
        };
        fields.finish(task)
    }
}

/// What to change in a task: `None` leaves a field alone, `Some(None)` clears it.
#[derive(Debug)]
#[expect(
    clippy::option_option,
    reason = "absent, null and a value are three different wishes"
)]
pub struct TaskChanges {
    title: Option<String>,
    description: Option<Option<String>>,
    due_date: Option<Option<String>>,
    priority: Option<Priority>,
    tags: Option<Option<String>>,
    recursion_pattern: Option<Option<String>>,
    completed: Option<bool>,
}

impl TaskChanges {
    /// Reads changes from a body.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every rule that is broken.
    pub fn read(body: &Body) -> Result<Self, Error> {
        let mut fields = Fields::of(body)?;
        let changes = Self {
            title: fields.optional("title", title),
            description: fields.optional("description", nullable(any_text)),
            due_date: fields.optional("due_date", due_date),
            priority: fields.optional("priority", Priority::read),
            tags: fields.optional("tags", nullable(any_text)),
            recursion_pattern: fields.optional("recursion_pattern", recursion_pattern),
            completed: fields.optional("completed", lax_bool),
        };
        fields.finish(changes)
    }
}

/// The columns of a [`Task`], in the order in which [`Task::from_row`] reads them.
macro_rules! task_columns {
    () => {
        " task.id, task.user_id, task.title, task.description, task.due_date, task.priority::text, task.tags,
          task.recursion_pattern, task.completed, task.created_at, task.updated_at "
    };
}

impl Task {
    fn from_row(row: &Row) -> Self {
        Self {
            id: row.get(0),
            user_id: row.get(1),
            title: row.get(2),
            description: row.get(3),
            due_date: row.get(4),
            priority: row.get(5),
            tags: row.get(6),
            recursion_pattern: row.get(7),
            completed: row.get(8),
            created_at: row.get(9),
            updated_at: row.get(10),
        }
    }

    /// The task of a row that has none where the caller's session lives but the task does not exist.
    fn from_outer_row(row: &Row) -> Option<Self> {
        row.get::<_, Option<i32>>(0).map(|_| Self::from_row(row))
    }
}

/// Looks up the tasks of `$2`, with the session `$1`.
pub const LIST: Statement = Statement::read(concat!(
    "SELECT",
    task_columns!(),
    "FROM session LEFT JOIN task ON task.user_id = session.user_id
     WHERE",
    lives!(),
    "ORDER BY task.id"
));

/// The caller's tasks, by id.
///
/// # Errors
/// [`Error::TaskListTooLarge`] where they are more than `max_bytes` as the database sends them, so that no list can
/// exhaust the memory of an instance.
pub async fn list(
    database: &Database,
    caller: &Caller,
    max_bytes: usize,
) -> Result<Vec<Task>, Error> {
    let parameters: &database::Parameters<'_> =
        &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)];
    let rows = database
        .rows(&LIST, parameters, max_bytes, Task::from_outer_row)
        .await?
        .ok_or(Error::TaskListTooLarge)?;
    if rows.is_empty() {
        return Err(Error::InvalidToken);
    }
    Ok(rows.into_iter().flatten().collect())
}

const CREATE: Statement = Statement::write(with_caller!(
    "INSERT INTO task (user_id, title, description, due_date, priority, tags, recursion_pattern, completed)
     SELECT caller.user_id, $3, $4, $5, $6::priority_enum, $7, $8, $9
     FROM caller
     RETURNING",
    task_columns!()
));

/// Creates a task of the caller's.
///
/// # Errors
/// [`Error::InvalidToken`] where the session does not live, or the account is gone.
pub async fn create(database: &Database, caller: &Caller, task: &NewTask) -> Result<Task, Error> {
    let parameters: &database::Parameters<'_> = &[
        (&caller.session, Type::TEXT),
        (&caller.user_id, Type::INT4),
        (&task.title, Type::TEXT),
        (&task.description, Type::TEXT),
        (&task.due_date, Type::TEXT),
        (&task.priority.label(), Type::TEXT),
        (&task.tags, Type::TEXT),
        (&task.recursion_pattern, Type::TEXT),
        (&task.completed, Type::BOOL),
    ];
    match database.row(&CREATE, parameters, Task::from_row).await {
        Ok(task) => task.ok_or(Error::InvalidToken),
        // The account was deleted between the look at its session and the insert.
        Err(database::Error::ForeignKeyViolation(_)) => Err(Error::InvalidToken),
        Err(error) => Err(error.into()),
    }
}

/// Looks up the task `$3` of `$2`, with the session `$1`.
pub const GET: Statement = Statement::read(concat!(
    "SELECT",
    task_columns!(),
    "FROM session LEFT JOIN task ON task.user_id = session.user_id AND task.id = $3
     WHERE",
    lives!(),
));

/// One of the caller's tasks.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn get(database: &Database, caller: &Caller, id: i64) -> Result<Task, Error> {
    one(database, &GET, caller, id).await
}

const UPDATE: Statement = Statement::write(with_caller!(
    ", updated AS (
        UPDATE task
        SET title = coalesce($4, task.title),
            description = CASE WHEN $5 THEN $6 ELSE task.description END,
            due_date = CASE WHEN $7 THEN $8 ELSE task.due_date END,
            priority = coalesce($9::priority_enum, task.priority),
            tags = CASE WHEN $10 THEN $11 ELSE task.tags END,
            recursion_pattern = CASE WHEN $12 THEN $13 ELSE task.recursion_pattern END,
            completed = coalesce($14, task.completed)
        FROM caller
        WHERE task.user_id = caller.user_id AND task.id = $3
        RETURNING task.*
    )
    SELECT",
    task_columns!(),
    "FROM caller LEFT JOIN updated AS task ON true"
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
    let parameters: &database::Parameters<'_> = &[
        (&caller.session, Type::TEXT),
        (&caller.user_id, Type::INT4),
        (&id, Type::INT8),
        (&changes.title, Type::TEXT),
        (&changes.description.is_some(), Type::BOOL),
        (
            &changes.description.as_ref().and_then(Option::as_ref),
            Type::TEXT,
        ),
        (&changes.due_date.is_some(), Type::BOOL),
        (
            &changes.due_date.as_ref().and_then(Option::as_ref),
            Type::TEXT,
        ),
        (&changes.priority.map(Priority::label), Type::TEXT),
        (&changes.tags.is_some(), Type::BOOL),
        (&changes.tags.as_ref().and_then(Option::as_ref), Type::TEXT),
        (&changes.recursion_pattern.is_some(), Type::BOOL),
        (
            &changes.recursion_pattern.as_ref().and_then(Option::as_ref),
            Type::TEXT,
        ),
        (&changes.completed, Type::BOOL),
    ];
    one_with(database, &UPDATE, parameters).await
}

/// Turns the task `$3` of `$2`, with the session `$1`.
pub const TOGGLE: Statement = Statement::write(with_caller!(
    ", toggled AS (
        UPDATE task
        SET completed = NOT task.completed
        FROM caller
        WHERE task.user_id = caller.user_id AND task.id = $3
        RETURNING task.*
    )
    SELECT",
    task_columns!(),
    "FROM caller LEFT JOIN toggled AS task ON true"
));

/// Turns one of the caller's tasks from open to completed, or back.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn toggle(database: &Database, caller: &Caller, id: i64) -> Result<Task, Error> {
    one(database, &TOGGLE, caller, id).await
}

const DELETE: Statement = Statement::write(with_caller!(
    ", deleted AS (
        DELETE FROM task
        USING caller
        WHERE task.user_id = caller.user_id AND task.id = $3
        RETURNING task.*
    )
    SELECT",
    task_columns!(),
    "FROM caller LEFT JOIN deleted AS task ON true"
));

/// Deletes one of the caller's tasks, and answers what it was.
///
/// # Errors
/// [`Error::TaskNotFound`], [`Error::InvalidToken`].
pub async fn delete(database: &Database, caller: &Caller, id: i64) -> Result<Task, Error> {
    one(database, &DELETE, caller, id).await
}

/// Runs a statement over one of the caller's tasks, named by its id.
async fn one(
    database: &Database,
    statement: &Statement,
    caller: &Caller,
    id: i64,
) -> Result<Task, Error> {
    let parameters: &database::Parameters<'_> = &[
        (&caller.session, Type::TEXT),
        (&caller.user_id, Type::INT4),
        (&id, Type::INT8),
    ];
    one_with(database, statement, parameters).await
}

async fn one_with(
    database: &Database,
    statement: &Statement,
    parameters: &database::Parameters<'_>,
) -> Result<Task, Error> {
    let row = database
        .row(statement, parameters, Task::from_outer_row)
        .await?;
    row.ok_or(Error::InvalidToken)?.ok_or(Error::TaskNotFound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::validation::tests::{Rule, agrees_with_contract, bodies, breaks_text};

    fn breaks_nullable(value: &Value, max: usize) -> Option<&'static str> {
        if value.is_null() {
            None
        } else {
            breaks_text(value, 0, max)
        }
    }

    fn breaks_priority(value: &Value) -> Option<&'static str> {
        let known = ["High", "Medium", "Low"].map(Value::from).contains(value);
        (!known).then_some("enum")
    }

    /// What a value means as a boolean, or the rule that it breaks.
    fn boolean(value: &Value) -> Result<bool, &'static str> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::Number(number) => match number.as_f64() {
                Some(1.0) => Ok(true),
                Some(0.0) => Ok(false),
                Some(number) if number.fract() == 0.0 => Err("bool_parsing"),
                _ => Err("bool_type"),
            },
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
                "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
                _ => Err("bool_parsing"),
            },
            _ => Err("bool_type"),
        }
    }

    const fn rules(title_is_required: bool) -> [Rule; 7] {
        [
            ("title", title_is_required, |value| {
                breaks_text(value, 1, 200)
            }),
            ("description", false, |value| {
                breaks_nullable(value, usize::MAX)
            }),
            ("due_date", false, |value| breaks_nullable(value, 50)),
            ("priority", false, breaks_priority),
            ("tags", false, |value| breaks_nullable(value, usize::MAX)),
            ("recursion_pattern", false, |value| {
                breaks_nullable(value, 100)
            }),
            ("completed", false, |value| boolean(value).err()),
        ]
    }

    const NEW: [Rule; 7] = rules(true);
    const CHANGED: [Rule; 7] = rules(false);

    proptest! {
        #[test]
        fn a_new_task_is_what_the_body_says(body in bodies(&NEW)) {
            if let Some((task, members)) = agrees_with_contract(&NEW, &body, NewTask::read) {
                let text = |name| members.get(name).and_then(Value::as_str);
                prop_assert_eq!(Some(task.title.as_str()), text("title"));
                prop_assert_eq!(task.description.as_deref(), text("description"));
                prop_assert_eq!(task.due_date.as_deref(), text("due_date"));
                prop_assert_eq!(task.priority.label(), text("priority").unwrap_or("Medium"));
                prop_assert_eq!(task.tags.as_deref(), text("tags"));
                prop_assert_eq!(task.recursion_pattern.as_deref(), text("recursion_pattern"));
                let completed = members.get("completed").map_or(Ok(false), boolean);
                prop_assert_eq!(Ok(task.completed), completed);
            }
        }

        #[test]
        fn changes_are_what_the_body_says(body in bodies(&CHANGED)) {
            if let Some((changes, members)) = agrees_with_contract(&CHANGED, &body, TaskChanges::read) {
                let text = |name| members.get(name).map(Value::as_str);
                let sent = |name| text(name).map(|text| text.map(ToOwned::to_owned));
                prop_assert_eq!(changes.title.as_deref(), text("title").flatten());
                prop_assert_eq!(changes.description.clone(), sent("description"));
                prop_assert_eq!(changes.due_date.clone(), sent("due_date"));
                prop_assert_eq!(changes.priority.map(Priority::label), text("priority").flatten());
                prop_assert_eq!(changes.tags.clone(), sent("tags"));
                prop_assert_eq!(changes.recursion_pattern.clone(), sent("recursion_pattern"));
                let completed = members.get("completed").map(boolean);
                prop_assert_eq!(changes.completed.map(Ok), completed);
            }
        }
    }
}
