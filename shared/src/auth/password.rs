//! Password hashes: Argon2id as OWASP's Password Storage Cheat Sheet sets it, and the bcrypt of older accounts.
//!
//! Hashing takes tens of milliseconds of a core and 19 MiB. It runs on the thread of the request: an instance serves one
//! request at a time, and work on another thread would outlive a request that ends before it.

mod stored;

use std::cell::RefCell;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, RECOMMENDED_SALT_LEN, Version};
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use self::stored::{Argon2idHash, ReadableHash};
use super::error::{Error, random_bytes};
use crate::cause::Cause;
use crate::telemetry::context::request_id;

/// Memory in KiB, passes, lanes.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Bytes of a hash.
const OUTPUT_BYTES: usize = Params::DEFAULT_OUTPUT_LEN;

/// The salt of the work that stands for a verification, where there is no hash to verify.
const DUMMY_SALT: &[u8; RECOMMENDED_SALT_LEN] = b"nobody at all...";

/// The stored hash of an account's password.
#[derive(Clone, Debug)]
pub struct StoredHash {
    /// The account.
    pub user_id: i32,
    /// What the database has. It need not be a hash: an operator can lock an account with any text.
    pub hash: SecretString,
}

/// A password that matches the account's hash.
#[derive(Debug)]
pub struct Verified {
    /// The stored hash that it matches. If the account has another hash by now, it has to be verified anew.
    pub hash: SecretString,
    /// Whether it was made by an older algorithm or with other parameters, and should be replaced.
    pub is_outdated: bool,
}

/// Hashes a password for storage, as a PHC string.
///
/// # Errors
/// [`Error::Fault`] where the system has no randomness.
pub fn hash(password: &SecretString) -> Result<SecretString, Error> {
    let salt: [u8; RECOMMENDED_SALT_LEN] = random_bytes()?;
    let output = derive(password, &salt).map_err(failed)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: params().try_into().map_err(failed)?,
        salt: Some(Salt::new(&salt).map_err(failed)?),
        hash: Some(Output::new(&output).map_err(failed)?),
    };
    Ok(hash.to_string().into())
}

/// Compares a password with the hash of an account. `None` where it does not match.
///
/// Where there is no account, and where its hash cannot be used, the work is that of a wrong password, so that the time
/// does not reveal which accounts exist. A hash that cannot be used is logged, with the user's id.
///
/// # Errors
/// [`Error::Fault`] where the password cannot be hashed.
pub fn verify(
    password: &SecretString,
    stored: Option<&StoredHash>,
) -> Result<Option<Verified>, Error> {
    let readable = stored.and_then(|stored| {
        ReadableHash::parse(stored.hash.expose_secret())
            .inspect_err(|reason| log_unusable(stored.user_id, *reason))
            .ok()
            .map(|readable| (stored, readable))
    });
    let Some((stored, readable)) = readable else {
        derive(password, DUMMY_SALT).map_err(failed)?;
        return Ok(None);
    };
    let (matches, is_current) = match readable {
        ReadableHash::Argon2id(hash) if hash.has_cost(&params()) => {
            (matches_current(password, &hash)?, true)
        }
        ReadableHash::Argon2id(hash) => (matches_other_cost(password, &hash)?, false),
        ReadableHash::Bcrypt(hash) => (matches_bcrypt(password, hash)?, false),
    };
    if !matches {
        return Ok(None);
    }
    Ok(Some(Verified {
        hash: stored.hash.clone(),
        is_outdated: !is_current,
    }))
}

fn log_unusable(user_id: i32, reason: stored::Unusable) {
    warn!(
        request_id = request_id(),
        user_id,
        reason = %reason,
        "the stored password hash of this user cannot be used, so no password is right; to let the user in, store a hash \
         that this service or the legacy service has made"
    );
}

fn params() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES))
        .expect("the parameters are within Argon2's bounds")
}

thread_local! {
    /// The memory that hashing fills, kept from one request to the next: getting it from the system page by page takes as
    /// long as half of the hashing.
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

fn derive(password: &SecretString, salt: &[u8]) -> argon2::Result<[u8; OUTPUT_BYTES]> {
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params());
    let mut output = [0; OUTPUT_BYTES];
    MEMORY.with_borrow_mut(|memory| {
        memory.resize(hasher.params().block_count(), Block::new());
        let password = password.expose_secret().as_bytes();
        hasher.hash_password_into_with_memory(password, salt, &mut output, memory)
    })?;
    Ok(output)
}

fn matches_current(password: &SecretString, stored: &Argon2idHash) -> Result<bool, Error> {
    let output = derive(password, &stored.salt).map_err(failed)?;
    // Compares in constant time.
    Ok(Output::new(&output).is_ok_and(|output| output == stored.output))
}

fn matches_other_cost(password: &SecretString, stored: &Argon2idHash) -> Result<bool, Error> {
    let hasher = Argon2::new(Algorithm::Argon2id, stored.version, stored.params.clone());
    let password = password.expose_secret().as_bytes();
    let mut output = vec![0; stored.output.len()];
    hasher
        .hash_password_into(password, &stored.salt, &mut output)
        .map_err(failed)?;
    Ok(Output::new(&output).is_ok_and(|output| output == stored.output))
}

/// bcrypt reads the first 72 bytes of a password, as the legacy service did when it made these hashes.
fn matches_bcrypt(password: &SecretString, stored: &str) -> Result<bool, Error> {
    bcrypt::verify(password.expose_secret(), stored).map_err(failed)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Cause::from_error("hashing a password", error).into()
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::stored::Unusable;
    use super::*;

    fn stored(hash: &str) -> StoredHash {
        let hash = hash.into();
        StoredHash { user_id: 7, hash }
    }

    fn verified(password: &str, hash: &str) -> Option<Verified> {
        verify(&password.into(), Some(&stored(hash))).expect("an outcome")
    }

    /// Whether the password is right and the hash outdated.
    fn is_outdated(password: &str, stored: &str) -> Option<bool> {
        let verified = verified(password, stored)?;
        assert_eq!(verified.hash.expose_secret(), stored);
        Some(verified.is_outdated)
    }

    fn hash_of(password: &str) -> String {
        let hash = hash(&password.into()).expect("a hash");
        hash.expose_secret().into()
    }

    fn hash_with(algorithm: Algorithm, params: Params) -> String {
        Argon2::new(algorithm, Version::V0x13, params)
            .hash_password_with_salt(b"correct horse", b"sixteen bytes...")
            .expect("a hash")
            .to_string()
    }

    fn new_params(memory: u32, passes: u32, lanes: u32, output: usize) -> Params {
        Params::new(memory, passes, lanes, Some(output)).expect("within Argon2's bounds")
    }

    #[test]
    fn a_hash_matches_only_its_password() {
        let hash = hash_of("correct horse");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_eq!(is_outdated("correct horse", &hash), Some(false));
        assert_eq!(is_outdated("incorrect horse", &hash), None);
    }

    #[test]
    fn bcrypt_is_verified_and_outdated() {
        // Made by Python's bcrypt from "correct horse".
        let stored = "$2b$04$FybsWzwGDcCG8BAFLrPgm.rEuwoskoq1CRG6RIgyRP4HbMWALRpVO";
        assert_eq!(is_outdated("incorrect horse", stored), None);
        assert_eq!(is_outdated("correct horse", stored), Some(true));
    }

    #[test]
    fn bcrypt_reads_72_bytes_of_a_password() {
        // Made by Python's bcrypt from 80 times "x", cut to 72 as the legacy service did.
        let stored = "$2b$04$8D6MszyKNf6SokRAicYhpeHYtKCxlfEi4jHA3n5PEyZ/1qdzHrJnC";
        for (length, expected) in [
            (71, None),
            (72, Some(true)),
            (73, Some(true)),
            (128, Some(true)),
        ] {
            assert_eq!(
                is_outdated(&"x".repeat(length), stored),
                expected,
                "{length}"
            );
        }
    }

    #[test]
    fn an_argon2_hash_with_other_parameters_is_outdated() {
        for params in [
            new_params(8_192, 1, 1, 32),
            new_params(65_536, 1, 8, 32),
            new_params(MEMORY_KIB, PASSES, LANES, 16),
            new_params(MEMORY_KIB, PASSES, LANES, 64),
        ] {
            let stored = hash_with(Algorithm::Argon2id, params);
            assert_eq!(is_outdated("incorrect horse", &stored), None, "{stored}");
            assert_eq!(
                is_outdated("correct horse", &stored),
                Some(true),
                "{stored}"
            );
        }
    }

    #[test]
    fn no_password_matches_a_text_that_is_no_usable_hash() {
        let argon2 = hash_of("correct horse");
        let bcrypt = "$2b$04$FybsWzwGDcCG8BAFLrPgm.rEuwoskoq1CRG6RIgyRP4HbMWALRpVO";
        let (parameters, output) = argon2.rsplit_once('$').expect("an output");
        let cheap = |algorithm| hash_with(algorithm, new_params(8, 1, 1, 32));
        let mut texts: Vec<String> = [
            "",
            " ",
            "!",
            "*",
            "!!",
            "x",
            "correct horse",
            "\0",
            "$",
            "$$$$$",
            "$2",
            "$2b$",
            "$2b$04$",
            "$argon2id$",
            "$argon2id$v=19$m=19456,t=2,p=1$",
            "$argon2id$v=19$m=19456,t=2,p=1$$",
            "$1$abcdefgh$0123456789012345678901",
            "$6$abcdefgh$0123456789",
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
            "$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A.WF/Z5JZv.lfCIhXXN33N23OSgQYThBYRfk",
            "pbkdf2_sha256$600000$salt$2vPHzqXHAyZ2kUyDbuRPqsYcEXyEgCM6s1AQmhnoNwk=",
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
        ]
        .map(str::to_owned)
        .into();
        texts.extend([
            cheap(Algorithm::Argon2i),
            cheap(Algorithm::Argon2d),
            format!("!{argon2}"),
            format!("{argon2} "),
            format!("{argon2}$"),
            argon2[..argon2.len() - 1].to_owned(),
            format!("{parameters}$"),
            parameters.to_owned(),
            format!("{parameters}$AAAA"),
            format!("{parameters}$\u{e9}{output}"),
            argon2.replace("v=19", "v=18"),
            argon2.replace("v=19$", ""),
            argon2.replace("m=19456", "m=x"),
            argon2.replace("m=19456", "m=7"),
            argon2.replace("m=19456", "m=-1"),
            argon2.replace("t=2", "t=0"),
            argon2.replace("t=2", "x=2"),
            format!("!{bcrypt}"),
            bcrypt[..59].to_owned(),
            format!("{bcrypt}0"),
            bcrypt.replace("$2b$", "$2$"),
            bcrypt.replace("$2b$", "$2c$"),
            bcrypt.replace("$04$", "$03$"),
            bcrypt.replace("$04$", "$xx$"),
            bcrypt.replace('F', "\u{e9}"),
            "x".repeat(1_000_000),
            format!("$argon2id${}", "x".repeat(1_000_000)),
            format!("$2b$04${}", "x".repeat(1_000_000)),
        ]);
        for text in texts {
            assert!(
                verified("correct horse", &text).is_none(),
                "{:.100}",
                text.escape_debug()
            );
        }
    }

    #[test]
    fn a_hash_that_would_cost_too_much_is_not_verified() {
        let argon2 = hash_of("correct horse");
        let bcrypt = "$2b$04$FybsWzwGDcCG8BAFLrPgm.rEuwoskoq1CRG6RIgyRP4HbMWALRpVO";
        // Verified, each of them would take gigabytes, or minutes.
        for text in [
            argon2.replace("m=19456", "m=4194304"),
            argon2.replace("m=19456", "m=4294967295"),
            argon2.replace("t=2", "t=4294967295"),
            argon2.replace("m=19456,t=2,p=1", "m=8388608,t=2,p=1048576"),
            argon2.replace("p=1", "p=4294967295"),
            bcrypt.replace("$04$", "$31$"),
            bcrypt.replace("$04$", "$20$"),
        ] {
            assert!(verified("correct horse", &text).is_none(), "{text}");
        }
        let reason = |text: &str| ReadableHash::parse(text).err();
        for (text, expected) in [
            (argon2.replace("m=19456", "m=65536"), None),
            (
                argon2.replace("m=19456", "m=65537"),
                Some(Unusable::TooExpensive),
            ),
            (argon2.replace("t=2", "t=8"), None),
            (argon2.replace("t=2", "t=9"), Some(Unusable::TooExpensive)),
            (argon2.replace("p=1", "p=8"), None),
            (argon2.replace("p=1", "p=9"), Some(Unusable::TooExpensive)),
            (bcrypt.replace("$04$", "$14$"), None),
            (bcrypt.replace("$04$", "$15$"), Some(Unusable::TooExpensive)),
        ] {
            assert_eq!(reason(&text), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_account_is_just_a_wrong_password() {
        assert!(matches!(verify(&"".into(), None), Ok(None)));
    }
}
