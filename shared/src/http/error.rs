//! Everything that can go wrong with a request, and how each error is answered.

use lambda_http::http::StatusCode;

use super::conditional::EntityTag;
use crate::auth::rate_limit::TooManyAttempts;
use crate::cause::Cause;
use crate::validation::{InvalidInput, Violation};
use crate::{auth, database};

/// Why a request does not succeed. An error of a handler is an answer: `Error::answer` has the status and the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path or the body breaks rules.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// There are no credentials.
    #[error("no credentials")]
    NotAuthenticated,
    /// The credentials have another scheme than `Bearer`.
    #[error("unsupported authentication scheme")]
    UnsupportedScheme,
    /// The token is not one of ours, or no longer valid, or its session is not active.
    #[error("invalid token")]
    InvalidToken,
    /// The email address is unknown or the password is wrong; no answer tells which.
    #[error("wrong email address or password")]
    WrongCredentials,
    /// The caller has another password.
    #[error("wrong password")]
    WrongPassword,
    /// Too many failed logins or registrations: how many seconds to wait.
    #[error("too many attempts")]
    TooManyAttempts {
        /// Seconds until the next attempt may succeed.
        retry_after: i32,
    },
    /// The caller's personal token may not do this.
    #[error("a personal token is not enough")]
    TokenNotAllowed,
    /// The path names another user.
    #[error("another user's path")]
    Forbidden(Action),
    /// The caller has no such task.
    #[error("no such task")]
    TaskNotFound,
    /// The caller has no such session.
    #[error("no such session")]
    SessionNotFound,
    /// The account has as many personal tokens as an account may have.
    #[error("too many personal tokens")]
    TooManyTokens,
    /// The task is no longer in a version that the request names. This is its version now.
    #[error("the task has been changed")]
    TaskChanged(EntityTag),
    /// The account has as many tasks, or as much text, as an account may have.
    #[error("the account is full")]
    AccountFull,
    /// Another account has the email address.
    #[error("the email address is taken")]
    EmailTaken,
    /// Another account has the username.
    #[error("the username is taken")]
    UsernameTaken,
    /// The body is larger than a request's body may be.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The task is more than Lambda can return. No request can create one; an adopted database may have it.
    #[error("the task is too large")]
    TaskTooLarge,
    /// The caller's tasks are more than Lambda can return.
    #[error("the task list is too large")]
    TaskListTooLarge,
    /// The database cannot answer now; a later request may succeed.
    #[error(transparent)]
    Unavailable(Cause),
    /// A fault of ours.
    #[error(transparent)]
    Internal(Cause),
}

/// What a caller wants to do under a user's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read, change or delete tasks.
    AccessTasks,
    /// Create a task.
    CreateTask,
}

/// How an error is answered.
pub(super) struct ErrorAnswer<'a> {
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// The name of the error in the log and in metrics.
    pub(super) kind: &'static str,
    /// The member `detail` of the body.
    pub(super) detail: Detail<'a>,
}

/// What an error tells the client.
pub(super) enum Detail<'a> {
    /// A fixed text.
    Text(&'static str),
    /// Every broken rule.
    Violations(&'a [Violation]),
}

impl Error {
    /// The one place for an error's status, name and text.
    #[expect(clippy::too_many_lines, reason = "one match over all errors")]
    pub(super) fn answer(&self) -> ErrorAnswer<'_> {
        let text = |status, kind, detail| ErrorAnswer {
            status,
            kind,
            detail: Detail::Text(detail),
        };
        match self {
            Self::Invalid(InvalidInput(violations)) => ErrorAnswer {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                kind: "invalid",
                detail: Detail::Violations(violations),
            },
            Self::NotAuthenticated => text(
                StatusCode::UNAUTHORIZED,
                "not_authenticated",
                "Not authenticated",
            ),
            Self::UnsupportedScheme => text(
                StatusCode::UNAUTHORIZED,
                "unsupported_scheme",
                "Invalid authentication credentials",
            ),
            Self::InvalidToken => text(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "Could not validate credentials",
            ),
            Self::WrongCredentials => text(
                StatusCode::UNAUTHORIZED,
                "wrong_credentials",
                "Incorrect email or password",
            ),
            Self::WrongPassword => text(
                StatusCode::FORBIDDEN,
                "wrong_password",
                "Incorrect password",
            ),
            Self::TooManyAttempts { .. } => text(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "Too many attempts, try again later",
            ),
            Self::TokenNotAllowed => text(
                StatusCode::FORBIDDEN,
                "token_not_allowed",
                "This token may not be used here",
            ),
            Self::Forbidden(Action::AccessTasks) => text(
                StatusCode::FORBIDDEN,
                "not_yours",
                "Not authorized to access this user's tasks",
            ),
            Self::Forbidden(Action::CreateTask) => text(
                StatusCode::FORBIDDEN,
                "not_yours",
                "Not authorized to create tasks for this user",
            ),
            Self::TaskNotFound => text(StatusCode::NOT_FOUND, "task_not_found", "Task not found"),
            Self::SessionNotFound => text(
                StatusCode::NOT_FOUND,
                "session_not_found",
                "Session not found",
            ),
            Self::TooManyTokens => text(StatusCode::CONFLICT, "too_many_tokens", "Too many tokens"),
            Self::TaskChanged(_) => text(
                StatusCode::PRECONDITION_FAILED,
                "task_changed",
                "Task has been changed",
            ),
            Self::AccountFull => text(StatusCode::CONFLICT, "account_full", "Account is full"),
            Self::EmailTaken => text(
                StatusCode::CONFLICT,
                "email_taken",
                "Email already registered",
            ),
            Self::UsernameTaken => text(
                StatusCode::CONFLICT,
                "username_taken",
                "Username already taken",
            ),
            Self::BodyTooLarge => text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "Request body too large",
            ),
            Self::TaskTooLarge => text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "task_too_large",
                "Task too large",
            ),
            Self::TaskListTooLarge => text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "task_list_too_large",
                "Task list too large, ask for pages with limit",
            ),
            Self::Unavailable(_) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Service temporarily unavailable",
            ),
            Self::Internal(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal Server Error",
            ),
        }
    }

    /// The name of the error in the log and in metrics.
    pub(super) fn kind(&self) -> &'static str {
        self.answer().kind
    }

    /// What the error came from, where only the operator can do something about it.
    pub(super) fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Unavailable(cause) | Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<TooManyAttempts> for Error {
    fn from(refusal: TooManyAttempts) -> Self {
        Self::TooManyAttempts {
            retry_after: refusal.retry_after,
        }
    }
}

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        match error {
            database::Error::Unavailable(cause) => Self::Unavailable(cause),
            database::Error::ForeignKeyViolation(cause) | database::Error::Fault(cause) => {
                Self::Internal(cause)
            }
        }
    }
}

impl From<auth::Error> for Error {
    fn from(error: auth::Error) -> Self {
        match error {
            auth::Error::InvalidToken => Self::InvalidToken,
            auth::Error::Fault(cause) => Self::Internal(cause),
            auth::Error::Database(error) => error.into(),
        }
    }
}
