//! Steps of the smoke test, which say what failed.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;
use shared::validation::{Body, InvalidInput};

/// What is being done. Its methods name it in the texts of failures.
#[derive(Clone, Copy)]
pub(super) struct Step(pub(super) &'static str);

impl Step {
    fn failed(self, text: impl Display) -> String {
        format!("{}: {text}", self.0)
    }

    /// The value of a result.
    pub(super) fn result<T, E: Display>(self, result: Result<T, E>) -> Result<T, String> {
        result.map_err(|error| self.failed(error))
    }

    /// An answer as its JSON.
    pub(super) fn answer<T: Serialize, E: Display>(
        self,
        result: Result<T, E>,
    ) -> Result<Value, String> {
        self.result(serde_json::to_value(self.result(result)?))
    }

    /// Reads an input, as from the body of a request.
    pub(super) fn input<T>(
        self,
        value: &Value,
        from_body: fn(&Body) -> Result<T, InvalidInput>,
    ) -> Result<T, String> {
        Body::json(value.to_string().as_bytes())
            .and_then(|body| from_body(&body))
            .map_err(|_| self.failed("its input breaks a rule"))
    }

    /// Requires two values to be equal.
    pub(super) fn require_equal(self, found: &Value, expected: &Value) -> Result<(), String> {
        if found == expected {
            return Ok(());
        }
        Err(self.failed(format!("found {found}; expected {expected}")))
    }

    /// Requires the fields of one object to have the same values in another.
    pub(super) fn require_fields(self, found: &Value, expected: &Value) -> Result<(), String> {
        let mut fields = expected.as_object().into_iter().flatten();
        fields.try_for_each(|(field, value)| self.require_equal(&found[field], value))
    }

    /// Requires a later `updated_at`.
    pub(super) fn require_later(self, found: &Value, before: &Value) -> Result<(), String> {
        let [found, before] = [found, before].map(|task| task["updated_at"].as_str());
        if found > before {
            return Ok(());
        }
        Err(self.failed("updated_at has not advanced"))
    }

    /// The failure where another error was expected.
    pub(super) fn unexpected<E: Display>(
        self,
        error: Option<E>,
        found: &str,
    ) -> Result<(), String> {
        Err(match error {
            Some(error) => self.failed(error),
            None => self.failed(format!("found {found}")),
        })
    }
}
