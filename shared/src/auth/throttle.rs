//! Limits on guessing passwords and on registering, kept in the database and so across all instances (OWASP ASVS 5.0,
//! 6.3.1; Authentication Cheat Sheet, "Login Throttling").
//!
//! An attempt is counted by the statement that begins it, before anyone looks at the password, so that a thousand at
//! once are a thousand; the statement with which it succeeds takes it back. A guess counts against three things: the
//! account together with the address it comes from, the account, and the address. One that is refused counts against
//! nothing, so no one is kept out by being persistent.
//!
//! A limit that is reached stands until the end of a wait, which is longer each time, up to four times the first. No one
//! can keep another out of their account for good: an address from which the account's owner has logged in is stopped
//! by its own guesses, not by those that strangers made. Whether there is such an account makes no difference.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use tokio_postgres::types::{ToSql, Type};

use crate::database::{self, Database, Statement};

/// How much each may do before it has to wait: so many failed logins in 15 minutes, or registrations in an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Failed logins for one account from one address: `MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS`.
    pub per_account_and_address: i32,
    /// Failed logins for one account: `MAX_FAILED_LOGINS_PER_ACCOUNT`.
    pub per_account: i32,
    /// Failed logins from one address: `MAX_FAILED_LOGINS_PER_ADDRESS`.
    pub per_address: i32,
    /// Registrations from one address: `MAX_REGISTRATIONS_PER_ADDRESS`.
    pub registrations: i32,
}

/// Someone who attempts what is limited.
#[derive(Debug)]
pub struct Stranger {
    address: String,
    limits: Limits,
}

impl Stranger {
    /// Someone at this address, as the gateway names it. Of an IPv6 address the first 64 bits count, since anyone has
    /// all the others to choose from.
    pub fn new(address: &str, limits: Limits) -> Self {
        let address = match address
            .parse()
            .map(|address: IpAddr| address.to_canonical())
        {
            Ok(IpAddr::V4(address)) => address.to_string(),
            Ok(IpAddr::V6(address)) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).to_string()
            }
            // Whoever is not known by an address shares one with all of their kind.
            Err(_) => "unknown".to_owned(),
        };
        Self { address, limits }
    }

    /// What a statement needs that counts a guess: see [`guess`].
    pub(crate) fn guess(&self) -> [(&(dyn ToSql + Sync), Type); 4] {
        [
            (&self.address, Type::TEXT),
            (&self.limits.per_account_and_address, Type::INT4),
            (&self.limits.per_account, Type::INT4),
            (&self.limits.per_address, Type::INT4),
        ]
    }

    /// What a statement needs that counts a registration: see [`registration`].
    pub(crate) fn registration(&self) -> [(&(dyn ToSql + Sync), Type); 2] {
        [
            (&self.address, Type::TEXT),
            (&self.limits.registrations, Type::INT4),
        ]
    }
}

/// The common table `bucket` of a guess at the account of the email address in the common table `target`: what it
/// counts against, in the order in which every statement locks them. The parameters are those of [`Stranger::guess`].
macro_rules! guess {
    ($address:literal, $pair:literal, $account:literal, $all:literal) => {
        concat!(
            "kind AS (
                SELECT rank, sha256(convert_to(rank || ' ' || name, 'UTF8')) AS key, allowed
                FROM target CROSS JOIN LATERAL (VALUES
                    (1, ", $address, " || ' ' || lower(target.email), ", $pair, "),
                    (2, lower(target.email), ", $account, "),
                    (3, ", $address, ", ", $all, ")
                ) AS kind (rank, name, allowed)
            ), bucket AS (
                SELECT rank, key, allowed, interval '15 minutes' AS time
                FROM kind
                WHERE rank <> 2 OR NOT EXISTS (
                    SELECT FROM attempt JOIN kind AS pair ON pair.key = attempt.key AND pair.rank = 1
                    WHERE attempt.known_until > now()
                )
            )"
        )
    };
}
pub(crate) use guess;

/// The common table `bucket` of a registration. The parameters are those of [`Stranger::registration`].
macro_rules! registration {
    ($address:literal, $all:literal) => {
        concat!(
            "bucket AS (
                SELECT 4 AS rank, sha256(convert_to('4 ' || ",
            $address,
            ", 'UTF8')) AS key, ",
            $all,
            " AS allowed,
                       interval '1 hour' AS time
            )"
        )
    };
}
pub(crate) use registration;

/// Goes on from the common table `bucket` with those that count an attempt, unless it is refused; the last of them,
/// `refused`, has one row, with the seconds to `wait` where it is, and null where it is not.
macro_rules! count_attempt {
    () => {
        ", full_bucket AS (
            SELECT max(attempt.window_ends_at) AS until
            FROM attempt JOIN bucket USING (key)
            WHERE attempt.remaining <= 0 AND attempt.window_ends_at > now()
        ), counted AS (
            INSERT INTO attempt (key, remaining, window_ends_at, expires_at)
            SELECT key, allowed - 1, now() + time, now() + interval '1 day'
            FROM bucket CROSS JOIN full_bucket
            WHERE full_bucket.until IS NULL
            ORDER BY rank
            ON CONFLICT (key) DO UPDATE
            SET remaining = CASE WHEN attempt.window_ends_at > now() THEN attempt.remaining - 1
                                 ELSE excluded.remaining END,
                window_ends_at = CASE WHEN attempt.window_ends_at <= now() THEN excluded.window_ends_at
                                      WHEN attempt.remaining > 1 THEN attempt.window_ends_at
                                      ELSE now() + (excluded.window_ends_at - now()) * power(2, least(attempt.strikes, 2))
                                      END,
                strikes = CASE WHEN attempt.expires_at <= now() THEN 0
                               WHEN attempt.window_ends_at > now() AND attempt.remaining = 1 THEN attempt.strikes + 1
                               ELSE attempt.strikes END,
                expires_at = greatest(attempt.known_until, excluded.expires_at)
            -- One that came at the same time may have been the last.
            WHERE attempt.remaining > 0 OR attempt.window_ends_at <= now()
            RETURNING key
        ), refused AS (
            SELECT CASE WHEN (SELECT count(*) FROM counted) < (SELECT count(*) FROM bucket)
                        THEN ceil(extract(epoch FROM coalesce(until - now(), interval '1 minute')))::integer
                   END AS wait
            FROM full_bucket
        )"
    };
}
pub(crate) use count_attempt;

/// Goes on from the common table `bucket` of a guess with the one that takes it back, where the common table named has
/// a row: the guess was right. The address is then known for 90 days as one of the owner's.
macro_rules! take_back {
    ($where:literal) => {
        concat!(
            ", taken_back AS (
                INSERT INTO attempt (key, remaining, window_ends_at, known_until, expires_at)
                SELECT key, allowed, now() + time, known_until, coalesce(known_until, now() + interval '1 day')
                FROM bucket
                CROSS JOIN LATERAL (SELECT CASE rank WHEN 1 THEN now() + interval '90 days' END) AS known (known_until)
                WHERE EXISTS (SELECT FROM ", $where, ")
                ORDER BY rank
                ON CONFLICT (key) DO UPDATE
                SET remaining = CASE WHEN excluded.known_until IS NULL
                                     THEN least(attempt.remaining + 1, excluded.remaining)
                                     ELSE excluded.remaining END,
                    strikes = CASE WHEN excluded.known_until IS NULL THEN attempt.strikes ELSE 0 END,
                    known_until = coalesce(excluded.known_until, attempt.known_until),
                    expires_at = greatest(attempt.expires_at, excluded.known_until)
            )"
        )
    };
}
pub(crate) use take_back;

/// How many rows one statement of a purge deletes at most.
const PURGE_BATCH: i64 = 5_000;

const PURGE: Statement = Statement::write(
    "
    WITH gone AS (
        DELETE FROM attempt
        WHERE key = ANY (ARRAY(SELECT key FROM attempt WHERE expires_at <= now() LIMIT $1)) AND expires_at <= now()
        RETURNING key
    )
    SELECT count(*) FROM gone",
);

/// Deletes what has expired, which means the same as nothing, batch by batch until all is gone or there is no more
/// `time`, and says how many rows that were.
///
/// # Errors
/// Those of the database. What was deleted until then stays so.
pub async fn purge(database: &Database, time: Duration) -> Result<i64, database::Error> {
    let started = Instant::now();
    let mut deleted = 0;
    while started.elapsed() < time {
        let batch: i64 = database
            .only_row(&PURGE, &[(&PURGE_BATCH, Type::INT8)], |row| row.get(0))
            .await?;
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

    #[test]
    fn an_address_is_what_one_party_has() {
        for (address, party) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("", "unknown"),
            ("203.0.113.9, 192.0.2.1", "unknown"),
        ] {
            let limits = Limits {
                per_account_and_address: 1,
                per_account: 1,
                per_address: 1,
                registrations: 1,
            };
            assert_eq!(Stranger::new(address, limits).address, party, "{address}");
        }
    }
}
