//! Changing the password.

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::types::Type;

use super::reauthentication::reauthenticate;
use super::registration::new_password;
use super::sessions::end_other_sessions;
use crate::auth::Caller;
use crate::auth::password;
use crate::auth::rate_limit::Requester;
use crate::database::{Database, Statement};
use crate::http::Error;
use crate::validation::{Body, Fields, InvalidInput, any_text};

/// The current password and the new one.
#[derive(Debug)]
pub struct PasswordChange {
    current: SecretString,
    new: SecretString,
}

impl PasswordChange {
    /// Reads a change of the password from a body.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_body(body: &Body) -> Result<Self, InvalidInput> {
        let mut fields = Fields::with_passwords(body)?;
        let change = Self {
            current: fields.required("current_password", any_text).into(),
            new: fields.required("new_password", new_password).into(),
        };
        fields.into_result(change)
    }
}

// Sent twice, it finds the hash that it has stored.
const UPDATE_PASSWORD: Statement = Statement::idempotent_write(
    r#"
    WITH caller AS (
        SELECT session.user_id
        FROM public.active_session AS session
        WHERE session.token_jti = $1 AND session.user_id = $2
    ), changed AS (
        UPDATE public."user" AS account
        SET hashed_password = $4
        FROM caller
        WHERE account.id = caller.user_id AND account.hashed_password IN ($3, $4)
        RETURNING account.id
    ), ended AS (
        UPDATE public.session
        SET revoked = true
        FROM changed
        WHERE session.user_id = changed.id AND session.token_jti <> $1 AND NOT session.revoked
    ), refunded AS MATERIALIZED (
        SELECT changed.id, public.refund_login_attempt(changed.id, $5, $6) FROM changed
    )
    SELECT refunded.id IS NOT NULL FROM caller LEFT JOIN refunded ON true"#,
);

/// Changes the caller's password, and ends all of the caller's sessions but this one.
///
/// # Errors
/// [`Error::WrongPassword`], [`Error::TooManyAttempts`]; [`Error::InvalidToken`] where the session is not active.
pub async fn change_password(
    database: &Database,
    requester: &Requester,
    caller: &Caller,
    change: &PasswordChange,
) -> Result<(), Error> {
    let (mut check, attempt) = reauthenticate(database, requester, caller, &change.current).await?;
    while let Some(verified) = check.verify(database).await? {
        let new_hash = password::hash(&change.new)?;
        let had_this_hash: Option<bool> = database
            .query_opt(
                &UPDATE_PASSWORD,
                &[
                    (&caller.session, Type::TEXT),
                    (&caller.user_id, Type::INT4),
                    (&verified.hash.expose_secret(), Type::TEXT),
                    (&new_hash.expose_secret(), Type::TEXT),
                    (&requester.address_key, Type::BYTEA),
                    (&attempt.from_known_address, Type::BOOL),
                ],
                |row| row.get(0),
            )
            .await?;
        if had_this_hash.ok_or(Error::InvalidToken)? {
            // The statement above does not see a session that a login with the old password opened at the same moment.
            // That login has finished by now.
            return end_other_sessions(database, caller).await;
        }
    }
    Err(Error::WrongPassword)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::validation::testing::{Rule, assert_agrees_with_contract, bodies, breaks_text};

    const PASSWORD_CHANGE: [Rule; 2] = [
        ("current_password", true, |value| {
            breaks_text(value, 0, usize::MAX)
        }),
        ("new_password", true, |value| breaks_text(value, 8, 128)),
    ];

    proptest! {
        #[test]
        fn a_password_change_is_that_of_the_body(body in bodies(&PASSWORD_CHANGE)) {
            if let Some((change, members)) = assert_agrees_with_contract(&PASSWORD_CHANGE, &body, PasswordChange::from_body) {
                prop_assert_eq!(&members["current_password"], change.current.expose_secret());
                prop_assert_eq!(&members["new_password"], change.new.expose_secret());
            }
        }
    }
}
