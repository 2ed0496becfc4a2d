//! Who is calling: passwords, access tokens, active sessions, and the limits on guessing.

pub mod active_session;
mod caller;
mod error;
mod hs256;
pub mod password;
pub mod personal_token;
pub mod rate_limit;
mod tokens;

pub use caller::Caller;
pub use error::Error;
pub use personal_token::Scope;
pub use tokens::{AccessToken, IssuedToken, Names, Tokens};
