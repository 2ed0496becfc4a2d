//! What a client asks of the list: filters, an order, and pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::fields::Priority;
use crate::validation::{InvalidInput, Parameters, Query, RuleError, lax_bool, lax_int, text};

/// The parameter that continues a list.
pub const CURSOR: &str = "cursor";

/// The most tasks of a page.
const MAX_LIMIT: i64 = 200;

/// The most characters of a cursor: more than the longest title needs, each of whose letters can become three.
const MAX_CURSOR_LENGTH: usize = 8192;

/// How many bytes of a digest distinguish two selections.
const DIGEST_BYTES: usize = 12;

/// What is asked of the list. As JSON, it has the fields of the type `public.todo_task_query`.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct TaskQuery {
    #[serde(flatten)]
    selection: Selection,
    #[serde(flatten)]
    cursor: Option<Cursor>,
    max_tasks: Option<i64>,
}

/// The filters and the order of a list. `None` stands for a filter that is not asked for.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Selection {
    completed: Option<bool>,
    priorities: Option<Vec<Priority>>,
    tags: Option<Vec<String>>,
    due_from: Option<String>,
    due_to: Option<String>,
    contained: Option<String>,
    #[serde(flatten)]
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Order {
    sort: &'static str,
    descending: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            sort: "id",
            descending: false,
        }
    }
}

/// A place in the order of a selection: after the task with this key and this id. For the client it is JSON in base64url. It
/// is no secret, because it has only what the client has seen.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    selection: String,
    after_key: Option<String>,
    after_id: i32,
}

impl TaskQuery {
    /// Reads the parameters of a query. Unknown ones are ignored.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_query(query: &Query) -> Result<Self, InvalidInput> {
        let mut parameters = Parameters::new(query);
        let selection = Selection {
            completed: parameters.optional("completed", lax_bool),
            priorities: set(parameters.repeated("priority", Priority::from_json)),
            tags: set(parameters.repeated("tag", text(1, 200))),
            due_from: parameters.optional("due_from", date),
            due_to: parameters.optional("due_to", date),
            contained: parameters.optional("q", text(1, 200)),
            order: parameters.optional("sort", order).unwrap_or_default(),
        };
        // Of filters that are refused, no cursor is known to be another's.
        let expected = parameters.is_valid().then(|| selection.digest());
        let max_tasks = parameters.optional("limit", lax_int(1, MAX_LIMIT));
        let cursor = parameters.optional(CURSOR, |value| {
            let cursor = Cursor::from_json(value)?;
            match &expected {
                Some(expected) if cursor.selection != *expected => Err(RuleError::value_error(
                    "the cursor belongs to another order or to other filters",
                )),
                _ => Ok(cursor),
            }
        });
        parameters.into_result(Self {
            selection,
            cursor,
            max_tasks,
        })
    }

    /// Whether it asks for the whole list, ordered by id.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it asks for a page, and not for a whole list.
    pub(super) fn is_page(&self) -> bool {
        self.max_tasks.is_some()
    }

    /// The cursor that continues after the task with this key and this id.
    pub(super) fn cursor_after(&self, key: Option<String>, id: i32) -> String {
        let cursor = Cursor {
            selection: self.selection.digest(),
            after_key: key,
            after_id: id,
        };
        URL_SAFE_NO_PAD.encode(to_json(&cursor))
    }
}

impl Selection {
    fn digest(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(to_json(self))[..DIGEST_BYTES])
    }
}

impl Cursor {
    fn from_json(value: &RawValue) -> Result<Self, RuleError> {
        let encoded = text(1, MAX_CURSOR_LENGTH)(value)?;
        let decoded = URL_SAFE_NO_PAD.decode(encoded).ok();
        let cursor: Option<Self> = decoded.and_then(|json| serde_json::from_slice(&json).ok());
        cursor
            .filter(|cursor| {
                !cursor
                    .after_key
                    .as_deref()
                    .unwrap_or_default()
                    .contains('\0')
            })
            .ok_or_else(|| RuleError::value_error("the cursor is not that of a Link header"))
    }
}

/// The same values in one order and without repetitions, so that they have one digest; `None` for no values.
fn set<T: Ord>(mut values: Vec<T>) -> Option<Vec<T>> {
    values.sort();
    values.dedup();
    (!values.is_empty()).then_some(values)
}

/// The rule for a date as YYYY-MM-DD.
fn date(value: &RawValue) -> Result<String, RuleError> {
    let date: Option<String> = serde_json::from_str(value.get()).ok();
    // The parser also accepts other forms, such as 20261123, and years of more digits.
    date.filter(|date| {
        let parsed = date.parse::<Date>();
        date.len() == "YYYY-MM-DD".len() && parsed.is_ok_and(|parsed| parsed.to_string() == *date)
    })
    .ok_or_else(|| RuleError::value_error("the value must be a date in the form YYYY-MM-DD"))
}

/// The rule for the name of an order, which a minus sign reverses.
fn order(value: &RawValue) -> Result<Order, RuleError> {
    const NAMES: [&str; 6] = [
        "id",
        "due_date",
        "priority",
        "created_at",
        "updated_at",
        "title",
    ];
    let text: String = serde_json::from_str(value.get()).unwrap_or_default();
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text.as_str(), false),
    };
    let sort = NAMES.into_iter().find(|known| *known == name);
    sort.map(|sort| Order { sort, descending }).ok_or_else(|| {
        RuleError::enumeration(
            "'id', '-id', 'due_date', '-due_date', 'priority', '-priority', 'created_at', '-created_at', 'updated_at', \
             '-updated_at', 'title' or '-title'",
        )
    })
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validation::testing::violations;

    fn read(query: &str) -> Result<TaskQuery, InvalidInput> {
        TaskQuery::from_query(&Query::new(query.to_owned()))
    }

    fn accepted(query: &str) -> TaskQuery {
        read(query).unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    #[test]
    fn a_query_without_parameters_is_plain() {
        for query in ["", "other=1", "sort=id", "&"] {
            assert!(accepted(query).is_plain(), "{query}");
        }
        for query in ["sort=-id", "limit=200", "completed=0", "q=+"] {
            assert!(!accepted(query).is_plain(), "{query}");
        }
    }

    #[test]
    fn every_broken_parameter_is_named() {
        let query = "completed=2&priority=High&priority=high&tag=&due_from=20261123&due_to=2026-02-29&q=&sort=--id&limit=0&cursor=!";
        let error = violations(&read(query).expect_err("refused"));
        let errors = error.as_array().expect("a list").iter();
        let found: Vec<_> = errors
            .map(|one| json!([one["type"], one["loc"][0], one["loc"][1]]))
            .collect();
        assert_eq!(
            json!(found),
            json!([
                ["bool_parsing", "query", "completed"],
                ["enum", "query", "priority"],
                ["string_too_short", "query", "tag"],
                ["value_error", "query", "due_from"],
                ["value_error", "query", "due_to"],
                ["string_too_short", "query", "q"],
                ["enum", "query", "sort"],
                ["greater_than_equal", "query", "limit"],
                ["value_error", "query", "cursor"],
            ])
        );
    }

    #[test]
    fn dates_have_four_two_and_two_digits() {
        for date in ["2026-11-23", "2024-02-29", "0001-01-01", "9999-12-31"] {
            assert_eq!(
                accepted(&format!("due_to={date}"))
                    .selection
                    .due_to
                    .as_deref(),
                Some(date)
            );
        }
        for date in [
            "",
            "2026-11-3",
            "2026-11-23T00:00",
            "2026-00-01",
            "2026-04-31",
            "+002026-11-23",
            "-000001-01-01",
            "2026-11-23[UTC]",
        ] {
            assert!(read(&format!("due_to={date}")).is_err(), "{date}");
        }
    }

    #[test]
    fn a_cursor_continues_its_own_selection_only() {
        let query = "tag=b&tag=a&priority=Low&priority=High&sort=-title";
        let cursor = accepted(query).cursor_after(Some("ä".to_owned()), 7);
        let continued = accepted(&format!(
            "priority=High&priority=Low&limit=3&tag=a&tag=b&tag=a&sort=-title&cursor={cursor}"
        ));
        let place = continued.cursor.expect("a cursor");
        assert_eq!((place.after_key.as_deref(), place.after_id), (Some("ä"), 7));
        for other in [
            "",
            "sort=-title",
            "tag=a&priority=Low&priority=High&sort=-title",
            "tag=b&tag=a&priority=Low&priority=High&sort=title",
        ] {
            let error = violations(&read(&format!("{other}&cursor={cursor}")).expect_err(other));
            assert_eq!(error[0]["loc"], json!(["query", "cursor"]), "{other}");
        }
        let error = violations(&read(&format!("limit=0&cursor={cursor}")).expect_err("refused"));
        let names: Vec<_> = (0..2).map(|number| &error[number]["loc"][1]).collect();
        assert_eq!(names, ["limit", "cursor"]);
    }

    #[test]
    fn a_damaged_cursor_is_refused() {
        let whole = accepted("").cursor_after(None, 7);
        assert!(read(&format!("cursor={whole}")).is_ok());
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let selection = Selection::default().digest();
        for damaged in [
            String::new(),
            whole[1..].to_owned(),
            format!("{whole}="),
            "a".repeat(MAX_CURSOR_LENGTH + 1),
            encode(json!({"selection": selection, "after_key": "\0", "after_id": 1})),
            encode(json!({"selection": selection, "after_key": null, "after_id": 1, "other": 1})),
            encode(json!({"selection": selection, "after_key": null, "after_id": 1_u64 << 40})),
            encode(json!([])),
        ] {
            let error = violations(&read(&format!("cursor={damaged}")).expect_err("refused"));
            assert_eq!(error[0]["loc"], json!(["query", "cursor"]), "{damaged}");
        }
    }
}
