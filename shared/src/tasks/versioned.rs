//! Versions of tasks and of lists, and the entity tags that they have in HTTP.
//!
//! A version is a text that the database makes (`public.task_version_tag`). An entity tag also has the number of the
//! representation, so that clients do not keep an answer that lacks a new field.

use tokio_postgres::Row;

use super::fields::Task;
use crate::cause::Cause;
use crate::http::Error;
use crate::http::conditional::{EntityTag, EntityTags};

/// The number of the representation. A release whose answers have other fields than before has the next number.
const REPRESENTATION: &str = "1-";

/// Something in one of its versions.
#[derive(Debug)]
pub struct Versioned<T> {
    /// Identifies the version.
    pub etag: EntityTag,
    /// What has the version.
    pub content: T,
}

impl Versioned<Task> {
    /// From a row of a task's columns and the version; `None` where all of them are null.
    pub(super) fn from_outer_row(row: &Row) -> Option<Self> {
        row.get::<_, Option<i32>>(0).map(|_| Self {
            etag: entity_tag(row.get(11)),
            content: Task::from_row(row),
        })
    }
}

/// The result of a statement that writes a task.
pub(super) struct Outcome {
    /// What the statement did; its function in the database lists the names.
    pub(super) name: String,
    pub(super) task: Option<Versioned<Task>>,
}

impl Outcome {
    /// From a row of a task's columns, the version and the name.
    pub(super) fn from_row(row: &Row) -> Self {
        Self {
            name: row.get(12),
            task: Versioned::from_outer_row(row),
        }
    }
}

/// The entity tag of a version.
pub(super) fn entity_tag(version: &str) -> EntityTag {
    EntityTag::new(&format!("{REPRESENTATION}{version}"))
}

/// The versions of these entity tags; `*` for all versions. Tags of other representations have none.
pub(super) fn version_tags(tags: &EntityTags) -> Vec<&str> {
    match tags {
        EntityTags::Any => vec!["*"],
        EntityTags::Listed(tags) => tags
            .iter()
            .filter_map(|tag| tag.strip_prefix(REPRESENTATION))
            .collect(),
    }
}

/// The error for an outcome of a statement that is a fault.
pub(super) fn unexpected_outcome(outcome: &str) -> Error {
    Error::Internal(Cause::new(if outcome == "suppressed" {
        "no task was created or changed: a trigger or a rule in the database suppresses it"
            .to_owned()
    } else {
        format!("the database says {outcome:?} of a task, which this build does not know")
    }))
}
