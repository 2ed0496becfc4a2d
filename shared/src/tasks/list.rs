//! Listing tasks: all of them, or those that a query asks for, page by page.

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, Type};

use super::fields::{Task, task_columns};
use super::query::TaskQuery;
use super::versioned::{Versioned, entity_tag, version_tags};
use crate::auth::Caller;
use crate::database::{Database, Statement};
use crate::http::Error;
use crate::http::conditional::EntityTags;

/// Selects the tasks of the user `$2`, with the session `$1`, after a row about them: no tasks where the client has the
/// version `$3`, otherwise up to `$4` bytes of those that the query `$5` asks for.
pub const LIST: Statement = Statement::read(concat!(
    "SELECT ",
    task_columns!(),
    ", task.tag, task.matches, task.sort_key FROM public.todo_list_tasks($1, $2, $3, $4, $5) AS task"
));

/// A list of tasks, or a page of one. As JSON, it is an array of tasks.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct TaskList<'a> {
    tasks: Vec<ListedTask>,
    #[serde(skip)]
    query: &'a TaskQuery,
    /// Whether there are more tasks after these.
    #[serde(skip)]
    has_more: bool,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct ListedTask {
    task: Task,
    /// What the order compares: the cursor of the next page holds it.
    #[serde(skip)]
    sort_key: Option<String>,
}

impl TaskList<'_> {
    /// The cursor of the next page; `None` where there is none.
    pub fn next_cursor(&self) -> Option<String> {
        let last = self.tasks.last().filter(|_| self.has_more)?;
        Some(self.query.cursor_after(last.sort_key.clone(), last.task.id))
    }

    /// Leaves the second half of a page to the next page. `false` where it has one task only, or is no page.
    pub fn halve(&mut self) -> bool {
        let is_possible = self.query.is_page() && self.tasks.len() > 1;
        if is_possible {
            self.tasks.truncate(self.tasks.len() / 2);
            self.has_more = true;
        }
        is_possible
    }
}

/// A row of [`LIST`].
enum ListRow {
    /// The first one: the version of all tasks, and at least how many the query asks for. `None` where the client has the
    /// version.
    Head {
        version: String,
        matches: Option<i32>,
    },
    Task(ListedTask),
}

impl ListRow {
    fn from_row(row: &Row) -> Self {
        match row.get(11) {
            Some(version) => Self::Head {
                version,
                matches: row.get(12),
            },
            None => Self::Task(ListedTask {
                task: Task::from_row(row),
                sort_key: row.get(13),
            }),
        }
    }
}

/// The caller's tasks that a query asks for; `None` where the client has this version of all tasks. A page has less tasks
/// than it may have where they are more than `max_bytes`.
///
/// # Errors
/// [`Error::TaskListTooLarge`] where all tasks are asked for and are more than `max_bytes`, so that no list can exhaust the
/// memory of an instance; [`Error::InvalidToken`] where the session is not active.
pub async fn list<'a>(
    database: &Database,
    caller: &Caller,
    known: &EntityTags,
    query: &'a TaskQuery,
    max_bytes: usize,
) -> Result<Versioned<Option<TaskList<'a>>>, Error> {
    let limit = i64::try_from(max_bytes).unwrap_or(i64::MAX);
    let rows = database
        .query(
            &LIST,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&version_tags(known), Type::TEXT_ARRAY),
                (&limit, Type::INT8),
                (&(!query.is_plain()).then_some(Json(query)), Type::JSONB),
            ],
            max_bytes,
            ListRow::from_row,
        )
        .await?
        .ok_or(Error::TaskListTooLarge)?;
    let mut rows = rows.into_iter();
    let Some(ListRow::Head { version, matches }) = rows.next() else {
        return Err(Error::InvalidToken);
    };
    let tasks = rows.filter_map(|row| match row {
        ListRow::Task(task) => Some(task),
        ListRow::Head { .. } => None,
    });
    let content = matches.map(|matches| {
        let tasks: Vec<_> = tasks.collect();
        let has_more = usize::try_from(matches).is_ok_and(|matches| matches > tasks.len());
        TaskList {
            tasks,
            query,
            has_more,
        }
    });
    if content.as_ref().is_some_and(|list| list.has_more) && !query.is_page() {
        return Err(Error::TaskListTooLarge);
    }
    Ok(Versioned {
        etag: entity_tag(&version),
        content,
    })
}
