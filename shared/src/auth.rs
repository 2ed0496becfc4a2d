//! Passwords, tokens and sessions: how a user becomes a caller.

pub mod password;
pub mod session;
pub mod throttle;
mod token;

use crate::Error;
use crate::error::Cause;

pub use token::{AccessToken, Claims, IssuedToken, Tokens};

/// Who is calling, by the word of a token of ours. The session is not yet looked up: every statement that works for a
/// caller does that itself, in the same round trip.
#[derive(Debug)]
pub struct Caller {
    /// The user's id.
    pub user_id: i32,
    /// The session's name: the token's `jti`.
    pub session: String,
}

/// Bytes that nobody can guess.
///
/// # Errors
/// [`Error::Internal`] where the system has none.
fn random<const BYTES: usize>() -> Result<[u8; BYTES], Error> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| Error::Internal(Cause::from_error("randomness", &error)))?;
    Ok(random)
}
