//! The fields of a task, and their rules.

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;

use crate::timestamp::Timestamp;
use crate::validation::{
    Body, Fields, InvalidInput, RuleError, any_text, lax_bool, nullable, text,
};

/// A task, as its owner sees it. The order of the fields is that of the contract.
#[derive(Debug, Serialize)]
pub struct Task {
    pub(super) id: i32,
    user_id: i32,
    title: String,
    description: Option<String>,
    due_date: Option<String>,
    priority: String,
    tags: Option<String>,
    recursion_pattern: Option<String>,
    completed: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// The columns of a [`Task`], in the order in which [`Task::from_row`] reads them.
macro_rules! task_columns {
    () => {
        "task.id, task.user_id, task.title, task.description, task.due_date, task.priority::text, task.tags,
           task.recursion_pattern, task.completed, task.created_at, task.updated_at"
    };
}
pub(super) use task_columns;

impl Task {
    /// From a row of a task's columns.
    pub fn from_row(row: &Row) -> Self {
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
}

/// How urgent a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Priority {
    /// More urgent than the others.
    High,
    /// The default.
    #[default]
    Medium,
    /// Less urgent than the others.
    Low,
}

impl Priority {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn from_json(value: &RawValue) -> Result<Self, RuleError> {
        match serde_json::from_str::<String>(value.get())
            .unwrap_or_default()
            .as_str()
        {
            "High" => Ok(Self::High),
            "Medium" => Ok(Self::Medium),
            "Low" => Ok(Self::Low),
            _ => Err(RuleError::enumeration("'High', 'Medium' or 'Low'")),
        }
    }
}

fn title(value: &RawValue) -> Result<String, RuleError> {
    text(1, 200)(value)
}

fn due_date(value: &RawValue) -> Result<Option<String>, RuleError> {
    nullable(text(0, 50))(value)
}

fn recursion_pattern(value: &RawValue) -> Result<Option<String>, RuleError> {
    nullable(text(0, 100))(value)
}

/// A task to create. As JSON, it has a member for each field that has not its default value, named like the column.
#[derive(Debug, Serialize)]
pub struct NewTask {
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_date: Option<String>,
    #[serde(skip_serializing_if = "Priority::is_default")]
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recursion_pattern: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    completed: bool,
}

impl NewTask {
    /// Reads a task from a body.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_body(body: &Body) -> Result<Self, InvalidInput> {
        let mut fields = Fields::new(body)?;
        let task = Self {
            title: fields.required("title", title),
            description: fields.optional("description", nullable(any_text)).flatten(),
            due_date: fields.optional("due_date", due_date).flatten(),
            priority: fields
                .optional("priority", Priority::from_json)
                .unwrap_or_default(),
            tags: fields.optional("tags", nullable(any_text)).flatten(),
            recursion_pattern: fields
                .optional("recursion_pattern", recursion_pattern)
                .flatten(),
            completed: fields.optional("completed", lax_bool).unwrap_or_default(),
        };
        fields.into_result(task)
    }
}

/// What to change in a task: `None` leaves a field as it is, `Some(None)` clears it. As JSON, it has a member for each field
/// to change, named like the column.
#[derive(Debug, Serialize)]
#[expect(
    clippy::option_option,
    reason = "absent, null and a value are three different wishes"
)]
pub struct TaskChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_date: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recursion_pattern: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<bool>,
}

impl TaskChanges {
    /// Reads changes from a body.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_body(body: &Body) -> Result<Self, InvalidInput> {
        let mut fields = Fields::new(body)?;
        let changes = Self {
            title: fields.optional("title", title),
            description: fields.optional("description", nullable(any_text)),
            due_date: fields.optional("due_date", due_date),
            priority: fields.optional("priority", Priority::from_json),
            tags: fields.optional("tags", nullable(any_text)),
            recursion_pattern: fields.optional("recursion_pattern", recursion_pattern),
            completed: fields.optional("completed", lax_bool),
        };
        fields.into_result(changes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::validation::testing::{Rule, assert_agrees_with_contract, bodies, breaks_text};

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

    /// The boolean that a value stands for, or the rule that it breaks.
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
        fn a_new_task_is_that_of_the_body(body in bodies(&NEW)) {
            if let Some((task, members)) = assert_agrees_with_contract(&NEW, &body, NewTask::from_body) {
                let text = |name| members.get(name).and_then(Value::as_str);
                prop_assert_eq!(Some(task.title.as_str()), text("title"));
                prop_assert_eq!(task.description.as_deref(), text("description"));
                prop_assert_eq!(task.due_date.as_deref(), text("due_date"));
                prop_assert_eq!(format!("{:?}", task.priority), text("priority").unwrap_or("Medium"));
                prop_assert_eq!(task.tags.as_deref(), text("tags"));
                prop_assert_eq!(task.recursion_pattern.as_deref(), text("recursion_pattern"));
                let completed = members.get("completed").map_or(Ok(false), boolean);
                prop_assert_eq!(Ok(task.completed), completed);
            }
        }

        #[test]
        fn changes_are_those_of_the_body(body in bodies(&CHANGED)) {
            if let Some((changes, members)) = assert_agrees_with_contract(&CHANGED, &body, TaskChanges::from_body) {
                let text = |name| members.get(name).map(Value::as_str);
                let sent = |name| text(name).map(|text| text.map(ToOwned::to_owned));
                prop_assert_eq!(changes.title.as_deref(), text("title").flatten());
                prop_assert_eq!(changes.description.clone(), sent("description"));
                prop_assert_eq!(changes.due_date.clone(), sent("due_date"));
                prop_assert_eq!(changes.priority.map(|priority| format!("{priority:?}")), text("priority").flatten().map(ToOwned::to_owned));
                prop_assert_eq!(changes.tags.clone(), sent("tags"));
                prop_assert_eq!(changes.recursion_pattern.clone(), sent("recursion_pattern"));
                let completed = members.get("completed").map(boolean);
                prop_assert_eq!(changes.completed.map(Ok), completed);
            }
        }
    }
}
