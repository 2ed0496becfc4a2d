//! The caller of a request.

/// Who is calling, as a token of ours says. Every statement that works for a caller also checks, in the same round trip,
/// that the session is active.
#[derive(Debug, PartialEq)]
pub struct Caller {
    /// The user's id.
    pub user_id: i32,
    /// The session: the `jti` of a JWT, or the SHA-256 of a personal token in hex.
    pub session: String,
}
