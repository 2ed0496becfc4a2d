//! Password hashes: Argon2id as OWASP's Password Storage Cheat Sheet sets it, and the bcrypt of older accounts.

use std::sync::Mutex;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordVerifier, RECOMMENDED_SALT_LEN, Version};
use secrecy::{ExposeSecret, SecretString};

use super::error::{Error, random_bytes};
use crate::cause::Cause;
use crate::telemetry::context::spawn_blocking;

/// Memory in KiB, passes, lanes.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Bytes of a hash.
const OUTPUT_BYTES: usize = Params::DEFAULT_OUTPUT_LEN;

/// A hash with the same parameters that no password matches: an unknown account costs the same work as a known one.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGF0IGFsbC4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password that matches the account's hash.
#[derive(Debug)]
pub struct Verified {
    /// The stored hash that it matches. If the account has another hash by now, the password was changed, and stays so.
    pub hash: SecretString,
    /// A new hash, where the stored one was made by an older algorithm or with other parameters.
    pub replacement: Option<SecretString>,
}

/// Hashes a password for storage, as a PHC string.
///
/// It takes 19 MiB and tens of milliseconds of a core, so it runs on another thread.
///
/// # Errors
/// [`Error::Fault`] where the system has no randomness.
pub async fn hash(password: SecretString) -> Result<SecretString, Error> {
    in_background(move || hash_now(&password)).await
}

/// Compares a password with the hash of an account, or with a dummy hash where there is no such account: the work is the
/// same, so that the time does not reveal which accounts exist. `None` where it does not match.
///
/// # Errors
/// [`Error::Fault`] where the stored hash cannot be read.
pub async fn verify(
    password: SecretString,
    stored: Option<SecretString>,
) -> Result<Option<Verified>, Error> {
    in_background(move || verify_now(&password, stored)).await
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(failed(error)))
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .expect("the parameters are within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The memory that hashing fills, kept from one request to the next: getting it from the system page by page takes as long
/// as half of the hashing. Where passwords are hashed at the same time, all but the first get memory of their own.
static MEMORY: Mutex<Vec<Block>> = Mutex::new(Vec::new());

fn derive(password: &SecretString, salt: &[u8]) -> argon2::Result<[u8; OUTPUT_BYTES]> {
    let hasher = hasher();
    let (mut kept, mut own) = (MEMORY.try_lock(), Vec::new());
    let memory = kept.as_deref_mut().unwrap_or(&mut own);
    memory.resize(hasher.params().block_count(), Block::new());
    let mut output = [0; OUTPUT_BYTES];
    hasher.hash_password_into_with_memory(
        password.expose_secret().as_bytes(),
        salt,
        &mut output,
        memory,
    )?;
    Ok(output)
}

fn hash_now(password: &SecretString) -> Result<SecretString, Error> {
    let salt: [u8; RECOMMENDED_SALT_LEN] = random_bytes()?;
    let output = derive(password, &salt).map_err(failed)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: hasher().params().try_into().map_err(failed)?,
        salt: Some(Salt::new(&salt).map_err(failed)?),
        hash: Some(Output::new(&output).map_err(failed)?),
    };
    Ok(hash.to_string().into())
}

fn verify_now(
    password: &SecretString,
    stored: Option<SecretString>,
) -> Result<Option<Verified>, Error> {
    let Some(hash) = stored else {
        matches_current(password, DUMMY_HASH)?;
        return Ok(None);
    };
    let phc = hash.expose_secret();
    let is_current = phc.starts_with(&format!(
        "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"
    ));
    let matches = if is_current {
        matches_current(password, phc)?
    } else if phc.starts_with("$2") {
        matches_bcrypt(password, phc)?
    } else {
        matches_other_cost(password, phc)?
    };
    if !matches {
        return Ok(None);
    }
    let replacement = if is_current {
        None
    } else {
        Some(hash_now(password)?)
    };
    Ok(Some(Verified { hash, replacement }))
}

fn matches_current(password: &SecretString, stored: &str) -> Result<bool, Error> {
    let stored = PasswordHash::new(stored).map_err(unreadable)?;
    let (Some(salt), Some(hash)) = (&stored.salt, &stored.hash) else {
        return Ok(false);
    };
    let output = derive(password, salt.as_ref()).map_err(failed)?;
    // Compares in constant time.
    Ok(Output::new(&output).is_ok_and(|output| output == *hash))
}

fn matches_other_cost(password: &SecretString, stored: &str) -> Result<bool, Error> {
    let stored = PasswordHash::new(stored).map_err(unreadable)?;
    match Argon2::default().verify_password(password.expose_secret().as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(unreadable(error)),
    }
}

/// bcrypt reads the first 72 bytes of a password, as the legacy service did when it made these hashes.
fn matches_bcrypt(password: &SecretString, stored: &str) -> Result<bool, Error> {
    bcrypt::verify(password.expose_secret(), stored).map_err(unreadable)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Cause::from_error("hashing a password", error).into()
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Cause::from_error("a stored password hash cannot be read", error).into()
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;

    fn verified(password: &str, stored: &str) -> Option<Verified> {
        verify_now(&SecretString::from(password), Some(stored.into())).expect("a readable hash")
    }

    fn is_right(password: &str, stored: &str) -> bool {
        verified(password, stored).is_some_and(|verified| verified.replacement.is_none())
    }

    /// The hash that replaces an outdated one.
    fn replacement(password: &str, stored: &str) -> Option<String> {
        let verified = verified(password, stored)?;
        assert_eq!(verified.hash.expose_secret(), stored);
        verified.replacement.map(|hash| hash.expose_secret().into())
    }

    fn hash_of(password: &str) -> String {
        let hash = hash_now(&SecretString::from(password)).expect("a hash");
        hash.expose_secret().into()
    }

    #[test]
    fn a_hash_matches_only_its_password() {
        let hash = hash_of("correct horse");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(is_right("correct horse", &hash));
        assert!(verified("incorrect horse", &hash).is_none());
    }

    #[test]
    fn bcrypt_is_verified_and_replaced() {
        // Made by Python's bcrypt from "correct horse".
        let stored = "$2b$04$FybsWzwGDcCG8BAFLrPgm.rEuwoskoq1CRG6RIgyRP4HbMWALRpVO";
        assert!(verified("incorrect horse", stored).is_none());
        let new = replacement("correct horse", stored).expect("a new hash");
        assert!(is_right("correct horse", &new));
    }

    #[test]
    fn bcrypt_reads_72_bytes_of_a_password() {
        // Made by Python's bcrypt from 80 times "x", cut to 72 as the legacy service did.
        let stored = "$2b$04$8D6MszyKNf6SokRAicYhpeHYtKCxlfEi4jHA3n5PEyZ/1qdzHrJnC";
        assert!(replacement(&"x".repeat(80), stored).is_some());
        assert!(verified(&"x".repeat(71), stored).is_none());
    }

    #[test]
    fn an_argon2_hash_with_other_parameters_is_replaced() {
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(8_192, 1, 1, None).expect("in bounds"),
        );
        let stored = weak
            .hash_password_with_salt(b"correct horse", b"sixteen bytes...")
            .expect("a hash")
            .to_string();
        assert!(replacement("correct horse", &stored).is_some());
    }

    #[test]
    fn an_unknown_account_costs_the_same_work() {
        let stored = hash_of("correct horse");
        let parameters = |hash: &str| {
            let hash = PasswordHash::new(hash).expect("a PHC string");
            let salt = hash.salt.map(|salt| salt.as_ref().len());
            (
                hash.algorithm.to_string(),
                hash.version,
                hash.params.to_string(),
                salt,
                hash.hash.map(|hash| hash.len()),
            )
        };
        assert_eq!(parameters(DUMMY_HASH), parameters(&stored));
        assert!(matches!(
            verify_now(&SecretString::from(""), None),
            Ok(None)
        ));
    }
}
