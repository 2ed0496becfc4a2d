//! Why something failed, for the operator.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::{DbError, SqlState};

/// Why something failed: a text for the log, and the error that it came from. Clients never see it.
///
/// Both its `Display` and its `Debug` form are the text, which holds no secret; the source may.
#[derive(Clone)]
pub struct Cause {
    text: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Cause {
    /// A cause without an error behind it. The text must hold no secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            source: None,
        }
    }

    /// A cause from an error: what was being done, and then the messages of the error and of its sources.
    ///
    /// Of a server's error it holds the message and the SQLSTATE. The detail may be a whole row, so it is left out, unless
    /// the error is about objects that depend on another one, which the detail names.
    pub fn from_error(context: &str, error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            text: describe(context, &error),
            source: Some(Arc::new(error)),
        }
    }

    /// The same cause with advice on what to do.
    #[must_use]
    pub fn with_advice(mut self, advice: &str) -> Self {
        self.text.push_str("; ");
        self.text.push_str(advice);
        self
    }
}

fn describe(context: &str, error: &(dyn Error + 'static)) -> String {
    let mut text = context.to_owned();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = match error.downcast_ref::<DbError>() {
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
        // Many errors repeat the message of their source.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = error.source();
    }
    text
}

fn names_dependent_objects(code: &SqlState) -> bool {
    *code == SqlState::DEPENDENT_OBJECTS_STILL_EXIST || *code == SqlState::FEATURE_NOT_SUPPORTED
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
