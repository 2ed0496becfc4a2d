//! What the column `hashed_password` holds: a hash that this service or the legacy service can have made, or anything else.

use std::ops::RangeInclusive;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Params, Version};

/// The largest cost of an Argon2id hash that is verified: memory in KiB, passes and lanes. It covers what other services
/// use, such as argon2-cffi's default, and takes less than a second.
const MAX_MEMORY_KIB: u32 = 65_536;
const MAX_PASSES: u32 = 8;
const MAX_LANES: u32 = 8;

/// The bytes of an Argon2id hash that is verified. The format itself limits it to 64, and the salt to 8 to 48.
const MIN_OUTPUT_BYTES: usize = 16;

/// The costs of bcrypt hashes that are verified. The legacy service used 12, which takes a quarter of a second; 14 takes a
/// second.
const BCRYPT_COSTS: RangeInclusive<u32> = 4..=14;

/// A hash that can be verified.
pub(super) enum ReadableHash<'a> {
    /// Argon2id, with any cost within the bounds.
    Argon2id(Box<Argon2idHash>),
    /// bcrypt.
    Bcrypt(&'a str),
}

/// The parts of an Argon2id hash.
pub(super) struct Argon2idHash {
    pub(super) version: Version,
    pub(super) params: Params,
    pub(super) salt: Salt,
    pub(super) output: Output,
}

impl Argon2idHash {
    /// Whether the hash was made with these parameters, in the present version of Argon2.
    pub(super) fn has_cost(&self, params: &Params) -> bool {
        self.version == Version::V0x13 && self.params == *params
    }
}

/// Why a stored text cannot be used as a hash. It holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it is neither an Argon2id nor a bcrypt hash")]
    UnknownFormat,
    #[error("it begins like a hash, and is malformed")]
    Malformed,
    #[error("its cost is above the bounds")]
    TooExpensive,
}

impl<'a> ReadableHash<'a> {
    /// Reads a stored text.
    ///
    /// # Errors
    /// [`Unusable`] where it is no hash, or one whose verification would cost too much.
    pub(super) fn parse(text: &'a str) -> Result<Self, Unusable> {
        if text.starts_with("$argon2id$") {
            Ok(Self::Argon2id(Box::new(parse_argon2id(text)?)))
        } else if text.starts_with("$2") {
            parse_bcrypt(text)
        } else {
            Err(Unusable::UnknownFormat)
        }
    }
}

fn parse_argon2id(text: &str) -> Result<Argon2idHash, Unusable> {
    let hash = PasswordHash::new(text).map_err(|_| Unusable::Malformed)?;
    let version = hash.version.and_then(|version| version.try_into().ok());
    let (Some(version), Some(salt), Some(output)) = (version, hash.salt, hash.hash) else {
        return Err(Unusable::Malformed);
    };
    let params = Params::try_from(&hash).map_err(|_| Unusable::Malformed)?;
    if output.len() < MIN_OUTPUT_BYTES {
        return Err(Unusable::Malformed);
    }
    if params.m_cost() > MAX_MEMORY_KIB
        || params.t_cost() > MAX_PASSES
        || params.p_cost() > MAX_LANES
    {
        return Err(Unusable::TooExpensive);
    }
    Ok(Argon2idHash {
        version,
        params,
        salt,
        output,
    })
}

fn parse_bcrypt(text: &str) -> Result<ReadableHash<'_>, Unusable> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| Unusable::Malformed)?;
    match parts.get_cost() {
        cost if BCRYPT_COSTS.contains(&cost) => Ok(ReadableHash::Bcrypt(text)),
        cost if cost > *BCRYPT_COSTS.end() => Err(Unusable::TooExpensive),
        _ => Err(Unusable::Malformed),
    }
}
