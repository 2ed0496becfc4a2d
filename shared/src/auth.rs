//! Who is calling: passwords, access tokens, active sessions, and the limits on guessing.

pub mod active_session;
mod error;
mod hs256;
pub mod password;
pub mod rate_limit;
mod tokens;

pub use error::Error;
pub use tokens::{AccessToken, IssuedToken, Tokens};

/// Who is calling, as a token of ours says. Every statement that works for a caller also checks, in the same round trip,
/// that the session is active.
#[derive(Debug, PartialEq)]
pub struct Caller {
    /// The user's id.
    pub user_id: i32,
    /// The session: the token's `jti`.
    pub session: String,
}
