//! Verifying a password, while the stored hash may be replaced at any moment.

use secrecy::SecretString;
use tokio_postgres::types::Type;

use crate::auth::password::{self, StoredHash, Verified};
use crate::cause::Cause;
use crate::database::{Database, Statement};
use crate::http::Error;

/// How often a password is verified at most. A login replaces an outdated hash only once, so more than two are needed only
/// where the password is changed again and again at the same moment.
const MAX_VERIFICATIONS: u32 = 4;

const SELECT_HASH: Statement = Statement::read(
    r#"
    SELECT account.hashed_password
    FROM public."user" AS account
    WHERE account.id = $1"#,
);

/// A password that claims to be that of an account.
pub(super) struct PasswordCheck<'a> {
    password: &'a SecretString,
    user_id: i32,
    /// The hash that was read together with the account, until it was verified.
    first_hash: Option<StoredHash>,
    verifications: u32,
}

impl<'a> PasswordCheck<'a> {
    /// A check that begins with this hash.
    pub(super) fn new(password: &'a SecretString, stored: StoredHash) -> Self {
        Self {
            password,
            user_id: stored.user_id,
            first_hash: Some(stored),
            verifications: 0,
        }
    }

    /// The account whose password it is.
    pub(super) fn user_id(&self) -> i32 {
        self.user_id
    }

    /// Verifies the password. `None` where it is wrong, or there is no such account any more.
    ///
    /// What is done next has to require that the account still has the verified hash. Where it has another one, call this
    /// again: the password may still be right, because a login replaces an outdated hash. That is no attempt of its own.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the hash was replaced each time.
    pub(super) async fn verify(&mut self, database: &Database) -> Result<Option<Verified>, Error> {
        self.verifications += 1;
        if self.verifications > MAX_VERIFICATIONS {
            return Err(Error::Unavailable(Cause::new(
                "the password hash of the account was replaced each time after it was verified",
            )));
        }
        let stored = match self.first_hash.take() {
            Some(stored) => Some(stored),
            None => select_hash(database, self.user_id).await?,
        };
        Ok(password::verify(self.password, stored.as_ref())?)
    }
}

/// The stored hash of an account, as it is now. `None` where there is no such account any more.
///
/// # Errors
/// Those of the database.
pub async fn select_hash(database: &Database, user_id: i32) -> Result<Option<StoredHash>, Error> {
    let hash = database
        .query_opt(&SELECT_HASH, &[(&user_id, Type::INT4)], |row| {
            row.get::<_, String>(0).into()
        })
        .await?;
    Ok(hash.map(|hash| StoredHash { user_id, hash }))
}
