//! Creating a task, once: a repetition with the same key returns the task that the first request created.

use sha2::{Digest as _, Sha256};
use tokio_postgres::types::{Json, Type};

use super::fields::{NewTask, Task, task_columns};
use super::versioned::{Outcome, Versioned, unexpected_outcome};
use crate::auth::Caller;
use crate::cause::Cause;
use crate::database::{self, Database, Statement};
use crate::http::Error;
use crate::settings::AccountLimits;
use crate::validation::{InvalidInput, Violation};

/// The header that has the client's key (IETF draft httpapi-idempotency-key-header).
const HEADER: &str = "idempotency-key";

/// The most characters of a client's key.
const MAX_KEY_LENGTH: usize = 255;

/// Identifies a creation among those of one user.
#[derive(Debug)]
pub struct CreationKey {
    key: String,
    /// What the client has sent, if it has sent one.
    header: Option<String>,
}

impl CreationKey {
    /// The client's key, or where the header is missing a random one: with it, this function can send the statement again
    /// after a lost connection.
    ///
    /// # Errors
    /// [`InvalidInput`] where the key is not 1 to 255 visible ASCII characters, bare or in quotes.
    pub fn from_header(header: Option<String>) -> Result<Self, InvalidInput> {
        let Some(header) = header else {
            return Ok(Self {
                key: random_key(),
                header: None,
            });
        };
        let bare = header.trim();
        let key = bare
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(bare);
        if (1..=MAX_KEY_LENGTH).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_graphic())
        {
            Ok(Self {
                key: format!("client:{key}"),
                header: Some(header),
            })
        } else {
            Err(violation(
                "the key must be 1 to 255 visible ASCII characters",
                &header,
            ))
        }
    }
}

fn random_key() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has randomness");
    format!("function:{}", base16ct::lower::encode_string(&random))
}

fn violation(message: &'static str, input: &str) -> InvalidInput {
    InvalidInput(vec![Violation::in_header(HEADER, message, input)])
}

/// Creates a task for the user `$2`, with the session `$1`. `$3` is a JSON object with a member for each field that has not
/// its default value.
const CREATE: Statement = Statement::idempotent_write(concat!(
    "SELECT ",
    task_columns!(),
    ", creation.tag, creation.outcome
    FROM public.todo_create_task($1, $2, $3, $4, $5, $6, $7) AS creation
    CROSS JOIN LATERAL (SELECT (creation.task).*) AS task"
));

/// A task that was created, by this request or by an earlier one.
#[derive(Debug)]
pub struct Created {
    /// The task as it is now.
    pub task: Versioned<Task>,
    /// Whether an earlier request with the same key has created it.
    pub is_replayed: bool,
}

/// Creates a task of the caller's, unless the caller has one with this key.
///
/// # Errors
/// [`Error::Invalid`] where the key belongs to another task; [`Error::AccountFull`]; [`Error::InvalidToken`] where the
/// session is not active, or the account is gone.
pub async fn create(
    database: &Database,
    caller: &Caller,
    task: &NewTask,
    key: &CreationKey,
    limits: AccountLimits,
) -> Result<Created, Error> {
    let hash = hash(task)?;
    let created = database
        .query_opt(
            &CREATE,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&Json(task), Type::JSONB),
                (&key.key, Type::TEXT),
                (&hash, Type::BYTEA),
                (&limits.tasks, Type::INT4),
                (&limits.bytes, Type::INT8),
            ],
            Outcome::from_row,
        )
        .await;
    let created = match created {
        // The account was deleted after its session was checked and before the insert.
        Err(database::Error::ForeignKeyViolation(_)) => None,
        created => created?,
    };
    let Outcome { name, task } = created.ok_or(Error::InvalidToken)?;
    match (name.as_str(), task) {
        ("full", _) => Err(Error::AccountFull),
        ("other task", _) => {
            let message = "the key was used for another task";
            Err(violation(message, key.header.as_deref().unwrap_or_default()).into())
        }
        (name @ ("done" | "replayed"), Some(task)) => Ok(Created {
            task,
            is_replayed: key.header.is_some() && name == "replayed",
        }),
        (name, _) => Err(unexpected_outcome(name)),
    }
}

/// SHA-256 of the fields that have not their default value: it stays the same when a release adds a field.
fn hash(task: &NewTask) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(task)
        .map_err(|error| Error::Internal(Cause::from_error("hashing a task", error)))?;
    Ok(Sha256::digest(json).to_vec())
}
