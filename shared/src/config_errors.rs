//! What is wrong with the settings, all at once.

use std::error::Error;
use std::fmt;

/// Why the settings cannot be used: a sentence for each problem that says what to write instead, and holds no secret.
#[derive(Clone, Debug, Default)]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// Adds a problem, unless it is there already.
    pub fn push(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if !self.0.contains(&sentence) {
            self.0.push(sentence);
        }
    }

    /// The value of a result, or `None` with its problems added to these.
    pub fn collect<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        result
            .map_err(|errors| errors.0.into_iter().for_each(|error| self.push(error)))
            .ok()
    }

    /// The value, where there are no problems.
    ///
    /// # Errors
    /// The problems. There has to be at least one where there is no value.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Self> {
        value.filter(|_| self.0.is_empty()).ok_or(self)
    }

    /// The sentences.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<S: Into<String>> From<S> for ConfigErrors {
    fn from(sentence: S) -> Self {
        Self(vec![sentence.into()])
    }
}

/// One sentence a line.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("\n"))
    }
}

impl Error for ConfigErrors {}
