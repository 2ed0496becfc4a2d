//! Limits on guessing passwords and on registering, kept in the database and therefore across all instances (OWASP ASVS
//! 5.0, 6.3.1; Authentication Cheat Sheet, "Login Throttling").
//!
//! The statement that begins an attempt counts it, before the password is verified, so that a thousand attempts at once are
//! a thousand; the statement with which it succeeds takes it back. The SQL functions in `sql/V2__rate_limits.sql` do both.
//! A guess counts against three things: the account together with the address it comes from, the account, and the address.
//! A refused guess counts against nothing. Nothing that a limit protects begins before the limit has admitted it.
//!
//! Attempts whose passwords are being verified count like failed ones, or else a thousand at once would all be admitted.
//! One that only such attempts stand in the way of is undecided. It waits for them and tries again, so that right passwords
//! are not refused, however many come at once.
//!
//! A limit that is reached holds until the end of a wait, which doubles each time, up to four times the first wait. Nobody
//! can lock an owner out: an address from which the owner has logged in is limited by its own guesses, not by those of
//! others. Whether the account exists makes no difference.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret;
use sha2::Sha256;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;

use crate::database::{self, Database, Statement};
use crate::settings::{RateLimits, Settings};
use crate::timeouts;

/// Names what the key is for, so that it is unlike any other key that is derived from `SECRET_KEY`.
const KEY_PURPOSE: &[u8] = b"todo: keys of rate limits";

/// An HMAC that stands for an address or an email address in the database, where neither can be guessed from it.
pub type BucketKey = Vec<u8>;

/// Makes the keys of what is counted, and knows the limits.
#[derive(Debug)]
pub struct RateLimiter {
    hmac: Hmac<Sha256>,
    limits: RateLimits,
}

impl RateLimiter {
    /// A limiter whose key is derived from `SECRET_KEY`. When that is rotated, counting starts anew.
    pub fn new(settings: &Settings) -> Self {
        let secret = settings.secret_key.expose_secret().as_bytes();
        let derived = new_hmac(secret).chain_update(KEY_PURPOSE).finalize();
        Self {
            hmac: new_hmac(&derived.into_bytes()),
            limits: settings.rate_limits,
        }
    }

    /// Someone at this address. Of an IPv6 address only the network (64 bits) counts, since its owner can use all
    /// addresses in it. Requests without a valid address share one bucket.
    pub fn requester(&self, address: Option<IpAddr>) -> Requester {
        let address = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).to_string()
            }
            None => "unknown".to_owned(),
        };
        Requester {
            address_key: bucket_key(&self.hmac, "address", &address),
            registration_key: bucket_key(&self.hmac, "registration", &address),
            hmac: self.hmac.clone(),
            limits: self.limits,
        }
    }
}

/// Someone who attempts what is limited.
#[derive(Debug)]
pub struct Requester {
    /// Stands for the address in the rows of logins.
    pub address_key: BucketKey,
    /// Stands for the address in the row of registrations.
    pub registration_key: BucketKey,
    /// What the requester may do.
    pub limits: RateLimits,
    hmac: Hmac<Sha256>,
}

impl Requester {
    /// Stands for an email address that no account has, in any case. The rows of an account are found by its id.
    pub fn email_key(&self, email: &str) -> BucketKey {
        bucket_key(&self.hmac, "email", &email.to_lowercase())
    }
}

/// What `public.consume_login_attempt` says about an attempt to log in.
#[derive(Clone, Copy, Debug)]
pub struct LoginAttempt {
    /// The seconds to wait where a limit is reached. The attempt was counted where there are none.
    pub retry_after: Option<i32>,
    /// Whether a right password among the attempts that are being verified can make room for this one.
    pub undecided: Option<bool>,
    /// Whether the owner has logged in from the address before. `public.refund_login_attempt` needs it.
    pub from_known_address: bool,
}

/// Waits for attempts that are being verified. Each attempt has one, for all of its tries.
#[derive(Debug)]
pub struct AdmissionWait {
    deadline: Instant,
}

impl AdmissionWait {
    /// Begins to count the time.
    pub fn start() -> Self {
        Self {
            deadline: Instant::now() + timeouts::ADMISSION,
        }
    }

    /// Returns `true` where the attempt was admitted. Where it is undecided, this waits a moment and returns `false`: try
    /// again.
    ///
    /// # Errors
    /// [`TooManyAttempts`] where the attempt is refused.
    pub async fn is_admitted(&self, attempt: LoginAttempt) -> Result<bool, TooManyAttempts> {
        match attempt.retry_after {
            None => Ok(true),
            Some(_) if attempt.undecided == Some(true) && Instant::now() < self.deadline => {
                sleep(timeouts::BEFORE_READMISSION).await;
                Ok(false)
            }
            Some(retry_after) => Err(TooManyAttempts { retry_after }),
        }
    }
}

/// A limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts")]
pub struct TooManyAttempts {
    /// Seconds until the next attempt may succeed.
    pub retry_after: i32,
}

fn new_hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn bucket_key(hmac: &Hmac<Sha256>, kind: &str, name: &str) -> BucketKey {
    let hmac = hmac.clone().chain_update(kind).chain_update([0]);
    hmac.chain_update(name).finalize().into_bytes().to_vec()
}

/// How many rows one statement of a purge deletes at most.
const PURGE_BATCH: i64 = 5_000;

// Rows are locked in the order in which attempts lock them. A row that an attempt uses is left for the next purge.
const DELETE_EXPIRED: Statement = Statement::write(
    "
    WITH expired AS (
        SELECT key
        FROM public.attempt
        WHERE expires_at <= now()
        ORDER BY key
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ), deleted AS (
        DELETE FROM public.attempt
        USING expired
        WHERE attempt.key = expired.key
        RETURNING attempt.key
    )
    SELECT count(*) FROM deleted",
);

/// Deletes at most `limit` expired rows, and returns their number.
///
/// # Errors
/// Those of the database.
pub async fn delete_expired(database: &Database, limit: i64) -> Result<i64, database::Error> {
    database
        .query_one(&DELETE_EXPIRED, &[(&limit, Type::INT8)], |row| row.get(0))
        .await
}

/// Deletes expired rows, batch by batch, for at most `time`, and returns their number. An expired row means the same as no
/// row.
///
/// # Errors
/// Those of the database. What was deleted before stays deleted.
pub async fn purge(database: &Database, time: Duration) -> Result<i64, database::Error> {
    let started = Instant::now();
    let mut deleted = 0;
    while started.elapsed() < time {
        let batch = delete_expired(database, PURGE_BATCH).await?;
        deleted += batch;
        if batch < PURGE_BATCH {
            break;
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(secret_key: &str) -> RateLimiter {
        let variable = |name: &str| match name {
            "DATABASE_URL" => Some("postgresql://u:p@ep-1.neon.tech/d".to_owned()),
            "SECRET_KEY" => Some(secret_key.to_owned()),
            _ => None,
        };
        RateLimiter::new(&Settings::from_lookup(&variable).expect("good settings"))
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn addresses_of_one_network_share_a_key() {
        let limiter = limiter(KEY);
        let key = |address: &str| limiter.requester(address.parse().ok()).address_key;
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::"));
        let keys = [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8:1:2::",
            "2001:db8:1:3::",
            "",
        ]
        .map(key);
        for (number, one) in keys.iter().enumerate() {
            assert!(!keys[..number].contains(one), "{number}");
        }
    }

    #[test]
    fn a_key_depends_on_its_kind_and_on_the_secret() {
        let requester = limiter(KEY).requester(Some([192, 0, 2, 1].into()));
        assert_ne!(requester.address_key, requester.registration_key);
        assert_ne!(requester.address_key, requester.email_key("192.0.2.1"));
        assert_eq!(requester.email_key("A@B.de"), requester.email_key("a@b.de"));
        let other = limiter(&KEY.replace('0', "x")).requester(Some([192, 0, 2, 1].into()));
        assert_ne!(requester.address_key, other.address_key);
    }
}
