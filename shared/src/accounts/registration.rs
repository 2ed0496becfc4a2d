//! Creating an account.

use std::time::SystemTime;

use email_address::{EmailAddress, Options};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::account::User;
use crate::auth::rate_limit::Requester;
use crate::auth::{AccessToken, IssuedToken, Names, Tokens, password};
use crate::cause::Cause;
use crate::database::{Database, Statement};
use crate::http::Error;
use crate::telemetry;
use crate::validation::{Body, Fields, InvalidInput, RuleError, text};

/// An account to create.
#[derive(Debug)]
pub struct NewUser {
    username: String,
    /// As it was written. Email addresses are compared without regard to case.
    email: String,
    password: SecretString,
}

impl NewUser {
    /// Reads a registration from a body.
    ///
    /// # Errors
    /// [`InvalidInput`] with every broken rule.
    pub fn from_body(body: &Body) -> Result<Self, InvalidInput> {
        let mut fields = Fields::with_passwords(body)?;
        let user = Self {
            username: fields.required("username", username),
            email: fields.required("email", email),
            password: fields.required("password", new_password).into(),
        };
        fields.into_result(user)
    }
}

/// The rule for a new password.
///
/// # Errors
/// The rule that the value breaks.
pub(super) fn new_password(value: &RawValue) -> Result<String, RuleError> {
    text(8, 128)(value)
}

fn username(value: &RawValue) -> Result<String, RuleError> {
    let name = text(3, 30)(value)?;
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    {
        Ok(name)
    } else {
        Err(RuleError::value_error(
            "a username may hold the letters a to z, digits, _ and - alone",
        ))
    }
}

fn email(value: &RawValue) -> Result<String, RuleError> {
    let email = text(0, 255)(value)?;
    let options = Options::default()
        .with_required_tld()
        .without_display_text()
        .without_domain_literal();
    match EmailAddress::parse_with_options(&email, options) {
        Ok(_) if !email.contains(char::is_control) => Ok(email),
        _ => Err(RuleError::value_error("not a valid email address")),
    }
}

/// A new user, and the token of the first session.
#[derive(Serialize)]
pub struct Registered {
    #[serde(flatten)]
    user: User,
    #[serde(flatten)]
    access_token: AccessToken,
}

/// Creates an account and opens its first session.
///
/// # Errors
/// [`Error::EmailTaken`], also where the username is taken too; [`Error::UsernameTaken`]; [`Error::TooManyAttempts`].
pub async fn register(
    database: &Database,
    tokens: &Tokens,
    requester: &Requester,
    user: &NewUser,
    now: SystemTime,
) -> Result<Registered, Error> {
    let id = reserve_user_id(database, requester).await?;
    // Not before the limit has admitted the registration: a refusal must not cost a hash.
    let hashed_password = password::hash(&user.password)?;
    let names = Names {
        email: user.email.clone(),
        username: user.username.clone(),
    };
    let token = tokens.issue(id, &names, now)?;
    Ok(Registered {
        user: create(database, id, user, &hashed_password, &token).await?,
        access_token: token.access_token,
    })
}

// Gaps in the id sequence are acceptable. Where the column owns no sequence, as after a restore or an import, its default
// still names one.
const RESERVE_USER_ID: Statement = Statement::idempotent_write(
    r#"
    SELECT CASE WHEN retry_after IS NULL
                THEN nextval(coalesce(
                    pg_get_serial_sequence('public."user"', 'id')::regclass,
                    (SELECT used.refobjid
                     FROM pg_catalog.pg_attrdef AS column_default
                     JOIN pg_catalog.pg_attribute AS id
                       ON id.attrelid = column_default.adrelid AND id.attnum = column_default.adnum
                     JOIN pg_catalog.pg_depend AS used
                       ON used.classid = 'pg_catalog.pg_attrdef'::regclass AND used.objid = column_default.oid
                     JOIN pg_catalog.pg_sequence ON pg_sequence.seqrelid = used.refobjid
                     WHERE column_default.adrelid = 'public."user"'::regclass AND id.attname = 'id'
                       AND used.refclassid = 'pg_catalog.pg_class'::regclass)::regclass
                ))::integer
           END,
           retry_after
    FROM public.consume_registration_attempt($1, $2) AS retry_after"#,
);

/// Counts the registration and reserves the next user id. A token contains its user's id, and the statement that creates the
/// user also opens the session, so the id has to be known before.
async fn reserve_user_id(database: &Database, requester: &Requester) -> Result<i32, Error> {
    let (id, retry_after): (Option<i32>, Option<i32>) = database
        .query_one(
            &RESERVE_USER_ID,
            &[
                (&requester.registration_key, Type::BYTEA),
                (&requester.limits.registrations_per_address, Type::INT4),
            ],
            |row| (row.get(0), row.get(1)),
        )
        .await?;
    match (id, retry_after) {
        (Some(id), _) => Ok(id),
        (None, Some(retry_after)) => Err(Error::TooManyAttempts { retry_after }),
        (None, None) => Err(Error::Internal(Cause::new(
            "there is no next user id: the column \"user\".id has neither a sequence of its own nor one as its default",
        ))),
    }
}

// Where the email address or the username is taken, `created` has no row, and the statement looks up which of them it is:
// the database would name only one of the two constraints. Sent twice, the statement finds the account that it has created
// by its hash, which is unique because of the salt.
const CREATE_ACCOUNT: Statement = Statement::idempotent_write(
    r#"
    WITH created AS (
        INSERT INTO public."user" (id, username, email, hashed_password)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        RETURNING id, username, email, created_at, updated_at
    ), opened AS (
        INSERT INTO public.session (user_id, token_jti, token, expires_at)
        SELECT created.id, $5, $6, to_timestamp($7::bigint) AT TIME ZONE 'utc'
        FROM created
    ), account AS (
        SELECT id, username, email, created_at, updated_at FROM created
        UNION ALL
        SELECT id, username, email, created_at, updated_at
        FROM public."user"
        WHERE id = $1 AND hashed_password = $4
    )
    SELECT account.username, account.email, account.id, account.created_at, account.updated_at,
           account.id IS NULL AND EXISTS (
               SELECT FROM public."user" AS other WHERE other.email = $3 OR other.email_key = lower($3)
           ) AS email_is_taken,
           account.id IS NULL AND EXISTS (
               SELECT FROM public."user" AS other WHERE other.username = $2
           ) AS username_is_taken
    FROM (SELECT) AS one_row
    LEFT JOIN account ON true"#,
);

/// The result of creating an account.
enum Creation {
    Created(User),
    EmailTaken,
    UsernameTaken,
    /// Someone took the address or the username while the statement ran, which therefore did not see them.
    LostRace,
}

impl Creation {
    fn from_row(row: &Row) -> Self {
        match (row.get::<_, Option<i32>>(2), row.get(5), row.get(6)) {
            (Some(_), ..) => Self::Created(User::from_row(row)),
            (None, true, _) => Self::EmailTaken,
            (None, false, true) => Self::UsernameTaken,
            (None, false, false) => Self::LostRace,
        }
    }
}

/// Creates the account and its first session, both or neither.
async fn create(
    database: &Database,
    id: i32,
    user: &NewUser,
    hashed_password: &SecretString,
    token: &IssuedToken,
) -> Result<User, Error> {
    // The second attempt sees who was faster.
    for _ in 0..2 {
        let creation = database
            .query_one(
                &CREATE_ACCOUNT,
                &[
                    (&id, Type::INT4),
                    (&user.username, Type::TEXT),
                    (&user.email, Type::TEXT),
                    (&hashed_password.expose_secret(), Type::TEXT),
                    (&token.jti, Type::TEXT),
                    (&token.fingerprint, Type::TEXT),
                    (&token.expires_at, Type::INT8),
                ],
                Creation::from_row,
            )
            .await?;
        match creation {
            Creation::Created(user) => {
                telemetry::context::set_user_id(user.id);
                return Ok(user);
            }
            Creation::EmailTaken => return Err(Error::EmailTaken),
            Creation::UsernameTaken => return Err(Error::UsernameTaken),
            Creation::LostRace => {}
        }
    }
    Err(Error::Internal(Cause::new(
        "an account can be neither created nor found; is the sequence of its ids behind?",
    )))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::validation::testing::{Rule, assert_agrees_with_contract, bodies, breaks_text};

    fn accepts(address: &str) -> bool {
        let value = serde_json::value::to_raw_value(address).expect("JSON");
        email(&value).is_ok()
    }

    #[test]
    fn valid_and_invalid_email_addresses_are_recognised() {
        for good in [
            "a@example.com",
            "first.last+tag@sub.example.co.uk",
            "ünïcode@exämple.de",
            "A_B-c@EXAMPLE.COM",
            "o'hara@example.com",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@example.com",
            "a@example",
            "a@localhost",
            "a@@example.com",
            "a b@example.com",
            "a@exa mple.com",
            "a..b@example.com",
            ".a@example.com",
            "a.@example.com",
            "a@example..com",
            "a@.example.com",
            "a@example.com.",
            "a@-example.com",
            "a@example-.com",
            " a@example.com",
            "a@example.com ",
            "a@example.com\n",
            "<a@example.com>",
            "Ada <a@example.com>",
            "a@[127.0.0.1]",
            "\"\t\"@example.com",
            "a,b@example.com",
            "a@example.com,b@example.com",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
        assert!(accepts(&format!("{}@example.com", "a".repeat(64))));
        assert!(!accepts(&format!("{}@example.com", "a".repeat(65))));
    }

    fn breaks_password(value: &Value) -> Option<&'static str> {
        breaks_text(value, 8, 128)
    }

    fn breaks_username(value: &Value) -> Option<&'static str> {
        let letters = |text: &str| {
            text.chars()
                .all(|letter| matches!(letter, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-'))
        };
        let plain = value.as_str().is_some_and(letters);
        breaks_text(value, 3, 30).or((!plain).then_some("value_error"))
    }

    fn breaks_email(value: &Value) -> Option<&'static str> {
        // The library decides what an address is; the test above has examples.
        let address = value.as_str().is_some_and(accepts);
        breaks_text(value, 0, 255).or((!address).then_some("value_error"))
    }

    const NEW_USER: [Rule; 3] = [
        ("username", true, breaks_username),
        ("email", true, breaks_email),
        ("password", true, breaks_password),
    ];

    proptest! {
        #[test]
        fn a_new_user_is_that_of_the_body(body in bodies(&NEW_USER)) {
            if let Some((user, members)) = assert_agrees_with_contract(&NEW_USER, &body, NewUser::from_body) {
                prop_assert_eq!(&members["username"], &user.username);
                prop_assert_eq!(&members["email"], &user.email);
                prop_assert_eq!(&members["password"], user.password.expose_secret());
            }
        }
    }
}
