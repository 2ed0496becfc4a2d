//! Creating a personal token.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::reauthentication::reauthenticate;
use super::sessions::Session;
use crate::auth::rate_limit::{LoginAttempt, Requester};
use crate::auth::{Caller, Scope, personal_token};
use crate::cause::Cause;
use crate::database::{Database, Statement};
use crate::http::Error;
use crate::timestamp::Timestamp;
use crate::validation::{Body, Fields, InvalidInput, RuleError, any_text, lax_int, text};

const DEFAULT_DAYS: i64 = 90;

/// A personal token to create, and the password, which proves that the account is the caller's.
#[derive(Debug)]
pub struct NewToken {
    name: String,
    scope: Scope,
    days: i64,
    password: SecretString,
}

impl NewToken {
    /// Reads a personal token from a body.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_body(body: &Body) -> Result<Self, InvalidInput> {
        let mut fields = Fields::with_passwords(body)?;
        let token = Self {
            name: fields.required("name", text(1, 100)),
            scope: fields.optional("scope", scope).unwrap_or_default(),
            days: fields
                .optional("expires_in_days", lax_int(1, 366))
                .unwrap_or(DEFAULT_DAYS),
            password: fields.required("password", any_text).into(),
        };
        fields.into_result(token)
    }
}

fn scope(value: &RawValue) -> Result<Scope, RuleError> {
    serde_json::from_str::<String>(value.get())
        .ok()
        .and_then(|name| Scope::from_name(&name))
        .ok_or_else(|| RuleError::enumeration("'tasks' or 'tasks:read'"))
}

/// A new personal token, as its owner sees it this one time.
#[derive(Serialize)]
pub struct CreatedToken {
    #[serde(flatten)]
    session: Session,
    access_token: String,
}

// Sent twice, it finds the token that it has created.
const CREATE_TOKEN: Statement = Statement::idempotent_write(
    "
    SELECT created.outcome, created.id, created.created_at, created.expires_at
    FROM public.todo_create_token($1, $2, $3, $4, $5, $6, $7, $8, $9) AS created",
);

/// The result of the statement.
enum Creation {
    Created {
        id: i32,
        created_at: Timestamp,
        expires_at: Timestamp,
    },
    TooMany,
    /// The account has another hash than the verified one.
    OtherHash,
}

impl Creation {
    fn from_row(row: &Row) -> Result<Self, Cause> {
        match row.get(0) {
            "done" => Ok(Self::Created {
                id: row.get(1),
                created_at: row.get(2),
                expires_at: row.get(3),
            }),
            "too many" => Ok(Self::TooMany),
            "other hash" => Ok(Self::OtherHash),
            _ => Err(Cause::new(
                "public.todo_create_token has an unknown outcome",
            )),
        }
    }
}

/// Creates a personal token for the caller.
///
/// # Errors
/// [`Error::WrongPassword`], [`Error::TooManyAttempts`], [`Error::TooManyTokens`]; [`Error::InvalidToken`] where the session
/// is not active.
pub async fn create_token(
    database: &Database,
    requester: &Requester,
    caller: &Caller,
    new: NewToken,
) -> Result<CreatedToken, Error> {
    let (mut check, attempt) = reauthenticate(database, requester, caller, &new.password).await?;
    let token = personal_token::issue(caller.user_id, new.scope)?;
    while let Some(verified) = check.verify(database).await? {
        let creation = insert(
            database,
            requester,
            caller,
            &new,
            (&token.hash, &verified.hash),
            attempt,
        );
        match creation.await? {
            Creation::Created {
                id,
                created_at,
                expires_at,
            } => {
                return Ok(CreatedToken {
                    session: Session::of_new_token(id, new.name, new.scope, created_at, expires_at),
                    access_token: token.text.expose_secret().to_owned(),
                });
            }
            Creation::TooMany => return Err(Error::TooManyTokens),
            Creation::OtherHash => {}
        }
    }
    Err(Error::WrongPassword)
}

async fn insert(
    database: &Database,
    requester: &Requester,
    caller: &Caller,
    new: &NewToken,
    (token_hash, verified_hash): (&str, &SecretString),
    attempt: LoginAttempt,
) -> Result<Creation, Error> {
    let days = i32::try_from(new.days).unwrap_or(i32::MAX);
    let creation = database
        .query_opt(
            &CREATE_TOKEN,
            &[
                (&caller.session, Type::TEXT),
                (&caller.user_id, Type::INT4),
                (&verified_hash.expose_secret(), Type::TEXT),
                (&token_hash, Type::TEXT),
                (&new.name, Type::TEXT),
                (&new.scope.name(), Type::TEXT),
                (&days, Type::INT4),
                (&requester.address_key, Type::BYTEA),
                (&attempt.from_known_address, Type::BOOL),
            ],
            Creation::from_row,
        )
        .await?;
    creation
        .ok_or(Error::InvalidToken)?
        .map_err(Error::Internal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::validation::testing::{Rule, assert_agrees_with_contract, bodies, breaks_text};

    fn breaks_scope(value: &Value) -> Option<&'static str> {
        let is_known = matches!(value.as_str(), Some("tasks" | "tasks:read"));
        (!is_known).then_some("enum")
    }

    fn breaks_days(value: &Value) -> Option<&'static str> {
        if value.is_boolean() {
            return (value == false).then_some("greater_than_equal");
        }
        if value.is_string() {
            // Which texts are numbers has tests of its own.
            let value = serde_json::value::to_raw_value(value).expect("JSON");
            return lax_int(1, 366)(&value).err().map(|error| error.kind);
        }
        match value.as_f64() {
            None => Some("int_type"),
            Some(number) if number.fract() != 0.0 => Some("int_from_float"),
            Some(number) if number < 1.0 => Some("greater_than_equal"),
            Some(number) if number > 366.0 => Some("less_than_equal"),
            Some(_) => None,
        }
    }

    const NEW_TOKEN: [Rule; 4] = [
        ("name", true, |value| breaks_text(value, 1, 100)),
        ("scope", false, breaks_scope),
        ("expires_in_days", false, breaks_days),
        ("password", true, |value| breaks_text(value, 0, usize::MAX)),
    ];

    proptest! {
        #[test]
        fn a_new_token_is_that_of_the_body(body in bodies(&NEW_TOKEN)) {
            if let Some((token, members)) = assert_agrees_with_contract(&NEW_TOKEN, &body, NewToken::from_body) {
                prop_assert_eq!(&members["name"], &token.name);
                prop_assert_eq!(&members["password"], token.password.expose_secret());
                let scope = members.get("scope").and_then(Value::as_str).unwrap_or("tasks");
                prop_assert_eq!(scope, token.scope.name());
                if members.get("expires_in_days").is_none() {
                    prop_assert_eq!(token.days, 90);
                }
            }
        }
    }
}
