//! Users: what they are, the rules for registering and logging in, and their SQL.

use email_address::{EmailAddress, Options};
use jiff::civil::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::auth::password::{self, Verified};
use crate::auth::session::{self, lives, with_caller};
use crate::auth::throttle::{Stranger, count_attempt, guess, registration, take_back};
use crate::auth::{Caller, IssuedToken};
use crate::database::{self, Database, Statement};
use crate::error::Cause;
use crate::timestamp;
use crate::validation::{Body, Broken, Fields, any_text, text};
use crate::{Error, telemetry};

/// A user, as they see themselves.
#[derive(Debug, Serialize)]
pub struct User {
    username: String,
    email: String,
    id: i32,
    #[serde(serialize_with = "timestamp::serialize")]
    created_at: DateTime,
    #[serde(serialize_with = "timestamp::serialize")]
    updated_at: DateTime,
}

/// The columns of a [`User`], in the order in which [`User::from_row`] reads them.
macro_rules! user_columns {
    () => {
        " account.username, account.email, account.id, account.created_at, account.updated_at "
    };
}

impl User {
    fn from_row(row: &Row) -> Self {
        Self {
            username: row.get(0),
            email: row.get(1),
            id: row.get(2),
            created_at: row.get(3),
            updated_at: row.get(4),
        }
    }
}

/// Someone who wants an account.
#[derive(Debug)]
pub struct NewUser {
    /// What they want to be called.
    pub username: String,
    /// Their email address, as they write it.
    pub email: String,
    /// Their password.
    pub password: SecretString,
}

impl NewUser {
    /// Reads a registration from a body.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every rule that is broken.
    pub fn read(body: &Body) -> Result<Self, Error> {
        let mut fields = Fields::of(body)?;
        let user = Self {
            username: fields.required("username", username),
            email: fields.required("email", email),
            password: fields.required("password", new_password).into(),
        };
        fields.finish(user)
    }
}

fn new_password(value: &RawValue) -> Result<String, Broken> {
    text(8, 128)(value)
}

fn username(value: &RawValue) -> Result<String, Broken> {
    let name = text(3, 30)(value)?;
    if name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    {
        Ok(name)
    } else {
        Err(Broken::value_error(
            "a username may hold the letters a to z, digits, _ and - alone",
        ))
    }
}

fn email(value: &RawValue) -> Result<String, Broken> {
    let email = text(0, 255)(value)?;
    let options = Options::default()
        .with_required_tld()
        .without_display_text()
        .without_domain_literal();
    match EmailAddress::parse_with_options(&email, options) {
        Ok(_) if !email.contains(char::is_control) => Ok(email),
        _ => Err(Broken::value_error("not a valid email address")),
    }
}

/// Someone who says they have an account. Older accounts may have what no new one could, so any text will do.
#[derive(Debug)]
pub struct Credentials {
    /// The account's email address.
    pub email: String,
    /// Its password.
    pub password: SecretString,
}

impl Credentials {
    /// Reads a login from a body.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every rule that is broken.
    pub fn read(body: &Body) -> Result<Self, Error> {
        let mut fields = Fields::of(body)?;
        let credentials = Self {
            email: fields.required("email", any_text),
            password: fields.required("password", any_text).into(),
        };
        fields.finish(credentials)
    }
}

const ME: Statement = Statement::read(concat!(
    "SELECT",
    user_columns!(),
    "FROM session JOIN \"user\" AS account ON account.id = session.user_id
     WHERE",
    lives!(),
));

/// The caller.
///
/// # Errors
/// [`Error::InvalidToken`] where the session does not live.
pub async fn me(database: &Database, caller: &Caller) -> Result<User, Error> {
    let parameters: &database::Parameters<'_> =
        &[(&caller.session, Type::TEXT), (&caller.user_id, Type::INT4)];
    database
        .row(&ME, parameters, User::from_row)
        .await?
        .ok_or(Error::InvalidToken)
}

/// What a login needs to know of an account.
#[derive(Debug)]
pub struct Account {
    /// The user's id.
    pub id: i32,
    /// Their name.
    pub username: String,
    /// Their email address, as the account spells it.
    pub email: String,
    hashed_password: SecretString,
}

impl Account {
    fn from_row(row: &Row) -> Self {
        Self {
            id: row.get(0),
            username: row.get(1),
            email: row.get(2),
            hashed_password: row.get::<_, String>(3).into(),
        }
    }
}

/// What a guess at a password meets.
enum Guess {
    /// There were too many; so many seconds to wait.
    Refused(i32),
    Counted(Option<Account>),
}

impl Guess {
    fn from_row(row: &Row) -> Self {
        let wait = row.get::<_, Option<i32>>(4).map(Self::Refused);
        wait.unwrap_or_else(|| {
            let account = row.get::<_, Option<i32>>(0);
            Self::Counted(account.map(|_| Account::from_row(row)))
        })
    }

    /// The account that is guessed at, where there is one.
    fn counted(self) -> Result<Option<Account>, Error> {
        match self {
            Self::Refused(wait) => Err(Error::TooManyAttempts(wait)),
            Self::Counted(account) => Ok(account),
        }
    }
}

/// The columns of a [`Guess`], in the order in which [`Guess::from_row`] reads them.
macro_rules! guess_columns {
    () => {
        " account.id, account.username, account.email, account.hashed_password, refused.wait "
    };
}

// The exact spelling comes first. Another spelling finds the account that has the address as its key, unless an
// adopted account has the same address in another case: then only the two exact spellings are known. Sent a second
// time, it counts the guess twice, which does no harm but to who guesses wrong.
const FIND: Statement = Statement::idempotent_write(concat!(
    "WITH target AS (
        SELECT $1 AS email
    ), ",
    guess!("$2", "$3", "$4", "$5"),
    count_attempt!(),
    "SELECT",
    guess_columns!(),
    "FROM refused LEFT JOIN LATERAL (
        SELECT *
        FROM \"user\" AS account
        WHERE account.email = $1
           OR (account.email_key = lower($1)
               AND NOT EXISTS (
                   SELECT FROM \"user\" AS twin WHERE twin.email_key IS NULL AND lower(twin.email) = lower($1)
               ))
        ORDER BY account.email = $1 DESC
        LIMIT 1
    ) AS account ON refused.wait IS NULL"
));

/// The account that these credentials open. An unknown address costs the same work as a wrong password.
///
/// # Errors
/// [`Error::WrongCredentials`], [`Error::TooManyAttempts`].
pub async fn authenticate(
    database: &Database,
    stranger: &Stranger,
    credentials: &Credentials,
) -> Result<(Account, Verified), Error> {
    let [address, pair, account, all] = stranger.guess();
    let parameters: &database::Parameters<'_> = &[
        (&credentials.email, Type::TEXT),
        address,
        pair,
        account,
        all,
    ];
    let account = database
        .only_row(&FIND, parameters, Guess::from_row)
        .await?
        .counted()?;
    let stored = account
        .as_ref()
        .map(|account| account.hashed_password.clone());
    let verified = password::verify(credentials.password.clone(), stored).await?;
    account.zip(verified).ok_or(Error::WrongCredentials)
}

const OWN: Statement = Statement::idempotent_write(with_caller!(
    ", target AS (
        SELECT account.* FROM caller JOIN \"user\" AS account ON account.id = caller.user_id
    ), ",
    guess!("$3", "$4", "$5", "$6"),
    count_attempt!(),
    "SELECT",
    guess_columns!(),
    "FROM refused LEFT JOIN target AS account ON refused.wait IS NULL"
));

/// Sees that the caller knows the password, too. A wrong one counts as a failed login.
async fn confirm(
    database: &Database,
    stranger: &Stranger,
    caller: &Caller,
    password: SecretString,
) -> Result<Verified, Error> {
    let [address, pair, account, all] = stranger.guess();
    let parameters: &database::Parameters<'_> = &[
        (&caller.session, Type::TEXT),
        (&caller.user_id, Type::INT4),
        address,
        pair,
        account,
        all,
    ];
    let account = database
        .only_row(&OWN, parameters, Guess::from_row)
        .await?
        .counted()?
        .ok_or(Error::InvalidToken)?;
    password::verify(password, Some(account.hashed_password))
        .await?
        .ok_or(Error::WrongPassword)
}

/// A caller's wish for another password.
#[derive(Debug)]
pub struct PasswordChange {
    current: SecretString,
    new: SecretString,
}

impl PasswordChange {
    /// Reads a change of the password from a body.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every rule that is broken.
    pub fn read(body: &Body) -> Result<Self, Error> {
        let mut fields = Fields::of(body)?;
        let change = Self {
            current: fields.required("current_password", any_text).into(),
            new: fields.required("new_password", new_password).into(),
        };
        fields.finish(change)
    }
}

// Sent a second time, it finds the hash that it has stored.
const CHANGE_PASSWORD: Statement = Statement::idempotent_write(with_caller!(
    ", changed AS (
        UPDATE \"user\" AS account
        SET hashed_password = $8
        FROM caller
        WHERE account.id = caller.user_id AND account.hashed_password IN ($7, $8)
        RETURNING account.id, account.email
    ), ended AS (
        UPDATE session
        SET revoked = true
        FROM changed
        WHERE session.user_id = changed.id AND session.token_jti <> $1 AND NOT session.revoked
    ), target AS (
        SELECT email FROM changed
    ), ",
    guess!("$3", "$4", "$5", "$6"),
    take_back!("changed"),
    "SELECT changed.id IS NOT NULL FROM caller LEFT JOIN changed ON true"
));

/// Changes the caller's password, and ends all of their sessions but this one.
///
/// # Errors
/// [`Error::WrongPassword`], also where it was changed at the same moment; [`Error::TooManyAttempts`];
/// [`Error::InvalidToken`] where the session does not live.
pub async fn change_password(
    database: &Database,
    stranger: &Stranger,
    caller: &Caller,
    change: PasswordChange,
) -> Result<(), Error> {
    let verified = confirm(database, stranger, caller, change.current).await?;
    let new = password::hash(change.new).await?;
    let [address, pair, account, all] = stranger.guess();
    let parameters: &database::Parameters<'_> = &[
        (&caller.session, Type::TEXT),
        (&caller.user_id, Type::INT4),
        address,
        pair,
        account,
        all,
        (&verified.hash.expose_secret(), Type::TEXT),
        (&new.expose_secret(), Type::TEXT),
    ];
    done(
        database
            .row(&CHANGE_PASSWORD, parameters, |row| row.get(0))
            .await?,
    )?;
    // A login with the former password that was under way is not seen by the statement above, and over by now.
    session::end_others(database, caller).await
}

/// Someone's proof that the account is theirs to delete.
#[derive(Debug)]
pub struct Farewell {
    password: SecretString,
}

impl Farewell {
    /// Reads it from a body.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every rule that is broken.
    pub fn read(body: &Body) -> Result<Self, Error> {
        let mut fields = Fields::of(body)?;
        let farewell = Self {
            password: fields.required("password", any_text).into(),
        };
        fields.finish(farewell)
    }
}

const DELETE: Statement = Statement::write(with_caller!(
    ", deleted AS (
        DELETE FROM \"user\" AS account
        USING caller
        WHERE account.id = caller.user_id AND account.hashed_password = $3
        RETURNING account.id
    )
    SELECT deleted.id IS NOT NULL FROM caller LEFT JOIN deleted ON true"
));

/// Deletes the caller's account, and with it their tasks and sessions.
///
/// # Errors
/// As for [`change_password`].
pub async fn delete(
    database: &Database,
    stranger: &Stranger,
    caller: &Caller,
    farewell: Farewell,
) -> Result<(), Error> {
    let verified = confirm(database, stranger, caller, farewell.password).await?;
    let parameters: &database::Parameters<'_> = &[
        (&caller.session, Type::TEXT),
        (&caller.user_id, Type::INT4),
        (&verified.hash.expose_secret(), Type::TEXT),
    ];
    done(database.row(&DELETE, parameters, |row| row.get(0)).await?)
}

/// What became of a statement over an account: whether the password was still the one that was verified, and no row
/// where the session does not live.
fn done(was_same: Option<bool>) -> Result<(), Error> {
    if was_same.ok_or(Error::InvalidToken)? {
        Ok(())
    } else {
        Err(Error::WrongPassword)
    }
}

// An id that is lost on the way is missed by no one.
const NEXT_ID: Statement = Statement::idempotent_write(concat!(
    "WITH ",
    registration!("$1", "$2"),
    count_attempt!(),
    "SELECT CASE WHEN refused.wait IS NULL THEN nextval(pg_get_serial_sequence('\"user\"', 'id'))::integer END,
            refused.wait
     FROM refused"
));

/// Counts a registration, and takes the next user id: a token holds its user's id, and the session is opened in the
/// statement that creates the user, so the id has to be known before.
///
/// # Errors
/// [`Error::TooManyAttempts`].
pub async fn next_id(database: &Database, stranger: &Stranger) -> Result<i32, Error> {
    let (id, wait): (Option<i32>, Option<i32>) = database
        .only_row(&NEXT_ID, &stranger.registration(), |row| {
            (row.get(0), row.get(1))
        })
        .await?;
    id.ok_or(Error::TooManyAttempts(wait.unwrap_or_default()))
}

// Where a name or an address is taken, `created` holds no row, and what was taken stands beside it. Both are then
// looked up, since the database names but one of the two constraints. Sent a second time, the statement finds the row
// that it has made, by the hash that no other row has, salted as it is.
const REGISTER: Statement = Statement::idempotent_write(concat!(
    "WITH created AS (
        INSERT INTO \"user\" (id, username, email, hashed_password)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        RETURNING id, username, email, created_at, updated_at
    ), opened AS (
        INSERT INTO session (user_id, token_jti, token, expires_at)
        SELECT created.id, $5, $6, to_timestamp($7::bigint) AT TIME ZONE 'utc'
        FROM created
    ), account AS (
        SELECT * FROM created
        UNION ALL
        SELECT id, username, email, created_at, updated_at
        FROM \"user\"
        WHERE id = $1 AND hashed_password = $4
    )
    SELECT",
    user_columns!(),
    ", account.id IS NULL AND EXISTS (
           SELECT FROM \"user\" AS other WHERE other.email = $3 OR other.email_key = lower($3)
       ),
       account.id IS NULL AND EXISTS (SELECT FROM \"user\" AS other WHERE other.username = $2)
    FROM (SELECT) AS one LEFT JOIN account ON true"
));

enum Registration {
    Done(User),
    EmailTaken,
    UsernameTaken,
    /// By someone who took them while the statement ran, and whom it therefore did not see.
    TakenJustNow,
}

impl Registration {
    fn from_row(row: &Row) -> Self {
        match (row.get::<_, Option<i32>>(2), row.get(5), row.get(6)) {
            (Some(_), ..) => Self::Done(User::from_row(row)),
            (None, true, _) => Self::EmailTaken,
            (None, false, true) => Self::UsernameTaken,
            (None, false, false) => Self::TakenJustNow,
        }
    }
}

/// Creates a user and their first session, both or neither.
///
/// # Errors
/// [`Error::EmailTaken`], also where the name is taken too; [`Error::UsernameTaken`].
pub async fn register(
    database: &Database,
    id: i32,
    user: &NewUser,
    hashed_password: &SecretString,
    token: &IssuedToken,
) -> Result<User, Error> {
    let parameters: &database::Parameters<'_> = &[
        (&id, Type::INT4),
        (&user.username, Type::TEXT),
        (&user.email, Type::TEXT),
        (&hashed_password.expose_secret(), Type::TEXT),
        (&token.jti, Type::TEXT),
        (&token.fingerprint, Type::TEXT),
        (&token.expires_at, Type::INT8),
    ];
    // The second look sees who was there first.
    for _ in 0..2 {
        match database
            .only_row(&REGISTER, parameters, Registration::from_row)
            .await?
        {
            Registration::Done(user) => {
                telemetry::request::called_by(user.id);
                return Ok(user);
            }
            Registration::EmailTaken => return Err(Error::EmailTaken),
            Registration::UsernameTaken => return Err(Error::UsernameTaken),
            Registration::TakenJustNow => {}
        }
    }
    Err(Error::Internal(Cause::new(
        "an account can be neither created nor found; is the sequence of its ids behind?",
    )))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use serde_json::Value;

    use super::*;
    use crate::validation::tests::{Rule, agrees_with_contract, bodies, breaks_text};

    fn accepts(address: &str) -> bool {
        let value = serde_json::value::to_raw_value(address).expect("JSON");
        email(&value).is_ok()
    }

    #[test]
    fn an_email_address_is_told_from_what_is_none() {
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

    fn breaks_any_text(value: &Value) -> Option<&'static str> {
        breaks_text(value, 0, usize::MAX)
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
        // What an address is, is the library's to say; the test above has examples.
        let address = value.as_str().is_some_and(accepts);
        breaks_text(value, 0, 255).or((!address).then_some("value_error"))
    }

    const NEW_USER: [Rule; 3] = [
        ("username", true, breaks_username),
        ("email", true, breaks_email),
        ("password", true, breaks_password),
    ];
    const CREDENTIALS: [Rule; 2] = [
        ("email", true, breaks_any_text),
        ("password", true, breaks_any_text),
    ];
    const PASSWORD_CHANGE: [Rule; 2] = [
        ("current_password", true, breaks_any_text),
        ("new_password", true, breaks_password),
    ];

    proptest! {
        #[test]
        fn a_new_user_is_whom_the_body_names(body in bodies(&NEW_USER)) {
            if let Some((user, members)) = agrees_with_contract(&NEW_USER, &body, NewUser::read) {
                prop_assert_eq!(&members["username"], &user.username);
                prop_assert_eq!(&members["email"], &user.email);
                prop_assert_eq!(&members["password"], user.password.expose_secret());
            }
        }

        #[test]
        fn credentials_are_those_of_the_body(body in bodies(&CREDENTIALS)) {
            if let Some((credentials, members)) = agrees_with_contract(&CREDENTIALS, &body, Credentials::read) {
                prop_assert_eq!(&members["email"], &credentials.email);
                prop_assert_eq!(&members["password"], credentials.password.expose_secret());
            }
        }

        #[test]
        fn a_change_of_the_password_is_that_of_the_body(body in bodies(&PASSWORD_CHANGE)) {
            if let Some((change, members)) = agrees_with_contract(&PASSWORD_CHANGE, &body, PasswordChange::read) {
                prop_assert_eq!(&members["current_password"], change.current.expose_secret());
                prop_assert_eq!(&members["new_password"], change.new.expose_secret());
            }
        }
    }
}
