//! Broken rules, as the client sees them.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::rules::{Context, RuleError};

/// Input that breaks rules: every violation that was found.
#[derive(Debug, thiserror::Error)]
#[error("{} rules are broken", .0.len())]
pub struct InvalidInput(pub Vec<Violation>);

impl InvalidInput {
    /// The value that was read, if no rule is broken.
    pub(super) fn refuse_any<T>(violations: Vec<Violation>, value: T) -> Result<T, Self> {
        if violations.is_empty() {
            Ok(value)
        } else {
            Err(Self(violations))
        }
    }

    /// These violations, and then those.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// One broken rule, as the client sees it.
#[derive(Serialize)]
pub struct Violation {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Location>,
    msg: Cow<'static, str>,
    input: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
}

impl fmt::Debug for Violation {
    /// Without the input, which may be a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Violation")
            .field("kind", &self.kind)
            .field("loc", &self.loc)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Location {
    Name(&'static str),
    Offset(usize),
}

impl Violation {
    /// The body is not JSON: the character at which the parser stopped, and its message.
    pub(super) fn json_invalid(offset: usize, message: String) -> Self {
        Self {
            kind: "json_invalid",
            loc: vec![Location::Name("body"), Location::Offset(offset)],
            msg: "JSON decode error".into(),
            input: RawValue::from_string("{}".to_owned()).expect("{} is JSON"),
            ctx: Some(Context::Error(message.into())),
        }
    }

    /// A path parameter is not an integer.
    pub(crate) fn int_parsing(parameter: &'static str, input: &str) -> Self {
        Self {
            kind: "int_parsing",
            loc: vec![Location::Name("path"), Location::Name(parameter)],
            msg: "Input should be a valid integer, unable to parse string as an integer".into(),
            input: json_string(input),
            ctx: None,
        }
    }

    /// A header breaks a rule that has no type of its own.
    pub(crate) fn in_header(name: &'static str, message: &'static str, input: &str) -> Self {
        Self::in_text("header", name, RuleError::value_error(message), input)
    }

    /// A parameter of the query breaks a rule.
    pub(super) fn in_query(name: &'static str, error: RuleError, input: &str) -> Self {
        Self::in_text("query", name, error, input)
    }

    /// A text outside of the body breaks a rule.
    fn in_text(place: &'static str, name: &'static str, error: RuleError, input: &str) -> Self {
        Self {
            kind: error.kind,
            loc: vec![Location::Name(place), Location::Name(name)],
            msg: error.msg,
            input: json_string(input),
            ctx: error.ctx,
        }
    }

    /// The whole body breaks a rule.
    pub(super) fn in_body(error: RuleError, input: &RawValue) -> Self {
        Self {
            kind: error.kind,
            loc: vec![Location::Name("body")],
            msg: error.msg,
            input: input.to_owned(),
            ctx: error.ctx,
        }
    }

    /// A field of the body breaks a rule.
    pub(super) fn in_field(name: &'static str, error: RuleError, input: &RawValue) -> Self {
        let mut violation = Self::in_body(error, input);
        violation.loc.push(Location::Name(name));
        violation
    }
}

/// A text as JSON.
pub(super) fn json_string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string is JSON")
}
