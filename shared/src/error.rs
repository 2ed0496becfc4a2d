//! Everything that can keep a request from its success.

use std::fmt;

use tokio_postgres::error::{DbError, SqlState};

use crate::validation::Violation;

/// Why a request is not answered with what it asked for. [`crate::http::reply`] gives each its status and text.
#[derive(Debug)]
pub enum Error {
    /// The path or the body breaks these rules.
    Invalid(Vec<Violation>),
    /// There are no credentials.
    NotAuthenticated,
    /// The credentials are of a scheme other than `Bearer`.
    UnsupportedScheme,
    /// The token is not one of ours, or no longer valid.
    InvalidToken,
    /// The email is unknown or the password wrong; which of the two is told to no one.
    WrongCredentials,
    /// The caller's password is another.
    WrongPassword,
    /// There were too many failures or registrations of late; after so many seconds there may be more.
    TooManyAttempts(i32),
    /// The path names another user.
    NotYourTasks,
    /// The path names another user, for whom a task should be created.
    NotYoursToCreate,
    /// The caller has no such task.
    TaskNotFound,
    /// Another account has the email address.
    EmailTaken,
    /// Another account has the username.
    UsernameTaken,
    /// The body is larger than a request's may be.
    BodyTooLarge,
    /// The caller's tasks are more than Lambda can return at once.
    TaskListTooLarge,
    /// The database cannot answer now; a later try may succeed.
    Unavailable(Cause),
    /// A fault of ours.
    Internal(Cause),
}

impl Error {
    /// Its name in the log and in metrics.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::NotAuthenticated => "not_authenticated",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::InvalidToken => "invalid_token",
            Self::WrongCredentials => "wrong_credentials",
            Self::WrongPassword => "wrong_password",
            Self::TooManyAttempts(_) => "too_many_attempts",
            Self::NotYourTasks | Self::NotYoursToCreate => "not_yours",
            Self::TaskNotFound => "task_not_found",
            Self::EmailTaken => "email_taken",
            Self::UsernameTaken => "username_taken",
            Self::BodyTooLarge => "body_too_large",
            Self::TaskListTooLarge => "task_list_too_large",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// What it came from, where only the operator can do something about it.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Unavailable(cause) | Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What went wrong, for the operator's log and for no one else.
#[derive(Clone, Debug)]
pub struct Cause(String);

impl Cause {
    /// A cause in words, which must hold no secret.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// A cause from an error and the errors beneath it.
    ///
    /// Of what the server says, its message and code alone: the detail may be a whole row, unless the error is about
    /// objects that depend on another, which it then names.
    pub fn from_error(context: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut words = context.to_owned();
        let mut next = Some(error);
        while let Some(error) = next {
            let said = match error.downcast_ref::<DbError>() {
                Some(error) => {
                    let code = error.code();
                    let detail = match error.detail() {
                        Some(detail) if names_dependent_objects(code) => format!(": {detail}"),
                        _ => String::new(),
                    };
                    format!("{}{detail} (SQLSTATE {})", error.message(), code.code())
                }
                None => error.to_string(),
            };
            // Many errors repeat the text of the one beneath them.
            if !words.contains(&said) {
                words.push_str(": ");
                words.push_str(&said);
            }
            next = error.source();
        }
        Self(words)
    }
}

fn names_dependent_objects(code: &SqlState) -> bool {
    *code == SqlState::DEPENDENT_OBJECTS_STILL_EXIST || *code == SqlState::FEATURE_NOT_SUPPORTED
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
