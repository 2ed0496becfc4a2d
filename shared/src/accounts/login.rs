//! Logging in.

use std::time::SystemTime;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::verification::PasswordCheck;
use crate::auth::password::{self, StoredHash};
use crate::auth::rate_limit::{AdmissionWait, LoginAttempt, Requester};
use crate::auth::{AccessToken, IssuedToken, Names, Tokens};
use crate::database::{self, Database, Statement};
use crate::http::Error;
use crate::telemetry;
use crate::validation::{Body, Fields, InvalidInput, any_text};

/// The credentials of a login. Any text is accepted: older accounts may have an address or a password that no new account
/// could have.
#[derive(Debug)]
pub struct Credentials {
    email: String,
    password: SecretString,
}

impl Credentials {
    /// Reads the credentials from a body.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_body(body: &Body) -> Result<Self, InvalidInput> {
        let mut fields = Fields::with_passwords(body)?;
        let credentials = Self {
            email: fields.required("email", any_text),
            password: fields.required("password", any_text).into(),
        };
        fields.into_result(credentials)
    }
}

/// Opens a session for someone who knows an account's password, and replaces a hash that was made by an older algorithm.
///
/// # Errors
/// [`Error::WrongCredentials`], [`Error::TooManyAttempts`].
pub async fn log_in(
    database: &Database,
    tokens: &Tokens,
    requester: &Requester,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<AccessToken, Error> {
    let wait = AdmissionWait::start();
    let LoginLookup { account, attempt } = loop {
        let lookup = match look_up(database, requester, &credentials.email).await {
            // The account was deleted while the attempt was being counted.
            Err(database::Error::ForeignKeyViolation(_)) => {
                look_up(database, requester, &credentials.email).await?
            }
            lookup => lookup?,
        };
        if wait.is_admitted(lookup.attempt).await? {
            break lookup;
        }
    };
    let password = &credentials.password;
    let Some(account) = account else {
        // An unknown address takes the same work as a wrong password.
        password::verify(password, None)?;
        return Err(Error::WrongCredentials);
    };
    let mut check = PasswordCheck::new(password, account.stored);
    while let Some(verified) = check.verify(database).await? {
        let new_hash = verified
            .is_outdated
            .then(|| password::hash(password))
            .transpose()?;
        let token = tokens.issue(check.user_id(), &account.names, now)?;
        let hashes = (&verified.hash, new_hash.as_ref());
        let user_id = check.user_id();
        if open_session(database, requester, attempt, user_id, &token, hashes).await? {
            return Ok(token.access_token);
        }
    }
    Err(Error::WrongCredentials)
}

/// What a login needs to know of an account.
struct Account {
    names: Names,
    stored: StoredHash,
}

/// The result of looking up an account and counting the attempt.
struct LoginLookup {
    account: Option<Account>,
    attempt: LoginAttempt,
}

impl LoginLookup {
    fn from_row(row: &Row) -> Self {
        let account = row.get::<_, Option<i32>>(0).map(|user_id| Account {
            names: Names {
                username: row.get(1),
                email: row.get(2),
            },
            stored: StoredHash {
                user_id,
                hash: row.get::<_, String>(3).into(),
            },
        });
        let attempt = LoginAttempt {
            retry_after: row.get(4),
            undecided: row.get(5),
            from_known_address: row.get(6),
        };
        Self { account, attempt }
    }
}

// The exact spelling comes first. Another spelling finds the account that has the address as its key, unless an adopted
// account has the same address in another case: then only the two exact spellings are known. Sent twice, the statement
// counts the attempt twice, which harms only someone who guesses wrong.
const SELECT_BY_EMAIL: Statement = Statement::idempotent_write(
    r#"
    WITH account AS MATERIALIZED (
        SELECT id, username, email, hashed_password
        FROM public."user"
        WHERE email = $1
           OR (email_key = lower($1)
               AND NOT EXISTS (
                   SELECT FROM public."user" AS twin WHERE twin.email_key IS NULL AND lower(twin.email) = lower($1)
               ))
        ORDER BY email = $1 DESC
        LIMIT 1
    )
    SELECT account.id, account.username, account.email, account.hashed_password,
           attempt.retry_after, attempt.undecided, attempt.from_known_address
    FROM (SELECT) AS one_row
    LEFT JOIN account ON true
    CROSS JOIN LATERAL public.consume_login_attempt(account.id, $2, $3, $4, $5, $6) AS attempt"#,
);

/// Looks up the account that has an email address, and counts the attempt to log in.
async fn look_up(
    database: &Database,
    requester: &Requester,
    email: &str,
) -> Result<LoginLookup, database::Error> {
    let limits = &requester.limits;
    database
        .query_one(
            &SELECT_BY_EMAIL,
            &[
                (&email, Type::TEXT),
                (&requester.email_key(email), Type::BYTEA),
                (&requester.address_key, Type::BYTEA),
                (&limits.logins_per_account_and_address, Type::INT4),
                (&limits.logins_per_account, Type::INT4),
                (&limits.logins_per_address, Type::INT4),
            ],
            LoginLookup::from_row,
        )
        .await
}

// Returns no row where the account has another hash than the one that was verified, or is gone. The account's row stays
// locked until the session exists: a change of the password waits, and then ends the session, and no other login is opened
// at the same time. Sent twice, the statement finds the session that it has opened.
const OPEN_SESSION: Statement = Statement::idempotent_write(
    r#"
    WITH rehashed AS (
        UPDATE public."user"
        SET hashed_password = $6
        WHERE id = $1 AND hashed_password IN ($5, $6) AND $6 IS NOT NULL
        RETURNING id
    ), locked AS (
        SELECT id FROM public."user" WHERE id = $1 AND hashed_password = $5 AND $6 IS NULL FOR NO KEY UPDATE
    ), account AS (
        SELECT id FROM rehashed UNION ALL SELECT id FROM locked
    ), opened AS MATERIALIZED (
        SELECT account.id AS user_id,
               public.todo_open_login(
                   account.id, $2, $3, to_timestamp($4::bigint) AT TIME ZONE 'utc', NULL, NULL
               )
        FROM account
    )
    SELECT public.refund_login_attempt(opened.user_id, $7, $8)::text FROM opened"#,
);

/// Opens a session for a user whose password was just verified, and replaces the hash where there is a new one. `false`
/// where the account has another hash by now, or is gone.
async fn open_session(
    database: &Database,
    requester: &Requester,
    attempt: LoginAttempt,
    user_id: i32,
    token: &IssuedToken,
    (verified_hash, new_hash): (&SecretString, Option<&SecretString>),
) -> Result<bool, Error> {
    let new_hash = new_hash.map(SecretString::expose_secret);
    let session = database
        .query_opt(
            &OPEN_SESSION,
            &[
                (&user_id, Type::INT4),
                (&token.jti, Type::TEXT),
                (&token.fingerprint, Type::TEXT),
                (&token.expires_at, Type::INT8),
                (&verified_hash.expose_secret(), Type::TEXT),
                (&new_hash, Type::TEXT),
                (&requester.address_key, Type::BYTEA),
                (&attempt.from_known_address, Type::BOOL),
            ],
            |_| (),
        )
        .await?;
    telemetry::context::set_user_id(user_id);
    Ok(session.is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::validation::testing::{Rule, assert_agrees_with_contract, bodies, breaks_text};

    const CREDENTIALS: [Rule; 2] = [
        ("email", true, |value| breaks_text(value, 0, usize::MAX)),
        ("password", true, |value| breaks_text(value, 0, usize::MAX)),
    ];

    proptest! {
        #[test]
        fn credentials_are_those_of_the_body(body in bodies(&CREDENTIALS)) {
            if let Some((credentials, members)) = assert_agrees_with_contract(&CREDENTIALS, &body, Credentials::from_body) {
                prop_assert_eq!(&members["email"], &credentials.email);
                prop_assert_eq!(&members["password"], credentials.password.expose_secret());
            }
        }
    }
}
