//! What can go wrong while a caller is authenticated.

use crate::cause::Cause;
use crate::database;

/// Why a caller could not be authenticated, or a password or a token not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token is not one of ours or no longer valid, or its session is not active.
    #[error("invalid token")]
    InvalidToken,
    /// A fault of ours.
    #[error(transparent)]
    Fault(#[from] Cause),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Bytes that nobody can guess.
///
/// # Errors
/// [`Error::Fault`] where the system provides none.
pub(super) fn random_bytes<const BYTES: usize>() -> Result<[u8; BYTES], Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Cause::from_error("randomness", error))?;
    Ok(bytes)
}
