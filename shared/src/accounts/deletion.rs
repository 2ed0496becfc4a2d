//! Deleting an account.

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::types::Type;

use super::reauthentication::reauthenticate;
use crate::auth::Caller;
use crate::auth::rate_limit::Requester;
use crate::database::{Database, Statement};
use crate::http::Error;
use crate::validation::{Body, Fields, InvalidInput, any_text};

/// The password, which proves that the account is the caller's to delete.
#[derive(Debug)]
pub struct AccountDeletion {
    password: SecretString,
}

impl AccountDeletion {
    /// Reads the password from a body.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_body(body: &Body) -> Result<Self, InvalidInput> {
        let mut fields = Fields::with_passwords(body)?;
        let deletion = Self {
            password: fields.required("password", any_text).into(),
        };
        fields.into_result(deletion)
    }
}

// It locks the clock first, as all that write tasks. No row where the session is not active.
const DELETE_ACCOUNT: Statement = Statement::write(
    r#"
    WITH caller AS (
        SELECT clock.user_id
        FROM public.todo_lock_task_clock($1, $2) AS clock
        WHERE clock.user_id IS NOT NULL
    ), deleted AS (
        DELETE FROM public."user" AS account
        USING caller
        WHERE account.id = caller.user_id AND account.hashed_password = $3
        RETURNING account.id
    ), forgotten AS MATERIALIZED (
        SELECT deleted.id, public.delete_account_attempts(deleted.id, $4) FROM deleted
    )
    SELECT forgotten.id IS NOT NULL FROM caller LEFT JOIN forgotten ON true"#,
);

/// Deletes the caller's account, and with it the tasks, the sessions and the rows of the rate limits.
///
/// # Errors
/// [`Error::WrongPassword`], [`Error::TooManyAttempts`]; [`Error::InvalidToken`] where the session is not active.
pub async fn delete(
    database: &Database,
    requester: &Requester,
    caller: &Caller,
    deletion: &AccountDeletion,
) -> Result<(), Error> {
    let (mut check, _) = reauthenticate(database, requester, caller, &deletion.password).await?;
    while let Some(verified) = check.verify(database).await? {
        let had_this_hash: Option<bool> = database
            .query_opt(
                &DELETE_ACCOUNT,
                &[
                    (&caller.session, Type::TEXT),
                    (&caller.user_id, Type::INT4),
                    (&verified.hash.expose_secret(), Type::TEXT),
                    (&requester.address_key, Type::BYTEA),
                ],
                |row| row.get(0),
            )
            .await?;
        if had_this_hash.ok_or(Error::InvalidToken)? {
            return Ok(());
        }
    }
    Err(Error::WrongPassword)
}
