//! Rules for the fields of a body.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A rule that a value breaks.
#[derive(Debug)]
pub struct RuleError {
    pub(crate) kind: &'static str,
    pub(super) msg: Cow<'static, str>,
    pub(super) ctx: Option<Context>,
}

/// The parameter of a rule.
#[derive(Debug)]
pub(super) enum Context {
    MinLength(usize),
    MaxLength(usize),
    Expected(&'static str),
    GreaterEqual(i64),
    LessEqual(i64),
    Error(Cow<'static, str>),
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::MinLength(length) => map.serialize_entry("min_length", length)?,
            Self::MaxLength(length) => map.serialize_entry("max_length", length)?,
            Self::GreaterEqual(bound) => map.serialize_entry("ge", bound)?,
            Self::LessEqual(bound) => map.serialize_entry("le", bound)?,
            Self::Expected(values) => map.serialize_entry("expected", values)?,
            Self::Error(message) => map.serialize_entry("error", message)?,
        }
        map.end()
    }
}

impl RuleError {
    pub(super) fn new(kind: &'static str, msg: &'static str) -> Self {
        Self {
            kind,
            msg: msg.into(),
            ctx: None,
        }
    }

    /// A rule that has no type of its own.
    pub fn value_error(message: &'static str) -> Self {
        Self {
            kind: "value_error",
            msg: format!("Value error, {message}").into(),
            ctx: Some(Context::Error(message.into())),
        }
    }

    /// Not one of the allowed values, which are listed as in `'High', 'Medium' or 'Low'`.
    pub fn enumeration(values: &'static str) -> Self {
        Self {
            kind: "enum",
            msg: format!("Input should be {values}").into(),
            ctx: Some(Context::Expected(values)),
        }
    }

    fn length(kind: &'static str, bound: &str, length: usize, ctx: Context) -> Self {
        let unit = if length == 1 {
            "character"
        } else {
            "characters"
        };
        Self {
            kind,
            msg: format!("String should have at {bound} {length} {unit}").into(),
            ctx: Some(ctx),
        }
    }
}

/// Whether a value is `null`.
pub(super) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

pub(super) fn is_string(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

pub(super) fn parse<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// The rule for a text of `min` to `max` characters, which is not trimmed.
pub fn text(min: usize, max: usize) -> impl Fn(&RawValue) -> Result<String, RuleError> {
    move |value| {
        if !is_string(value) {
            return Err(RuleError::new(
                "string_type",
                "Input should be a valid string",
            ));
        }
        let Some(text) = parse::<String>(value) else {
            return Err(RuleError::value_error(
                "the text holds half of a surrogate pair",
            ));
        };
        let length = text.chars().count();
        if length < min {
            Err(RuleError::length(
                "string_too_short",
                "least",
                min,
                Context::MinLength(min),
            ))
        } else if length > max {
            Err(RuleError::length(
                "string_too_long",
                "most",
                max,
                Context::MaxLength(max),
            ))
        } else if text.contains('\0') {
            // PostgreSQL cannot store it.
            Err(RuleError::value_error("the text holds a NUL character"))
        } else {
            Ok(text)
        }
    }
}

/// The rule for a text of any length.
///
/// # Errors
/// The rule that the value breaks.
pub fn any_text(value: &RawValue) -> Result<String, RuleError> {
    text(0, usize::MAX)(value)
}

/// The rule for a value that is `null` or obeys another rule.
pub fn nullable<T>(
    rule: impl Fn(&RawValue) -> Result<T, RuleError>,
) -> impl Fn(&RawValue) -> Result<Option<T>, RuleError> {
    move |value| {
        if is_null(value) {
            Ok(None)
        } else {
            rule(value).map(Some)
        }
    }
}

/// The rule for a boolean, as in pydantic's lax mode: 1, 0, 1.0, 0.0 and some words, in any case, are accepted too.
///
/// # Errors
/// The rule that the value breaks.
pub fn lax_bool(value: &RawValue) -> Result<bool, RuleError> {
    let uninterpretable = || {
        RuleError::new(
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input",
        )
    };
    match value.get() {
        "true" => return Ok(true),
        "false" => return Ok(false),
        _ => {}
    }
    if is_string(value) {
        let text = parse::<String>(value).unwrap_or_default();
        return match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
            _ => Err(uninterpretable()),
        };
    }
    // Read as a float, since JSON has whole numbers that no integer type can hold. Those that no float can hold are whole.
    match value.get().parse::<f64>() {
        Ok(1.0) => Ok(true),
        Ok(0.0) => Ok(false),
        Ok(number) if number.is_infinite() || number.fract() == 0.0 => Err(uninterpretable()),
        _ => Err(RuleError::new(
            "bool_type",
            "Input should be a valid boolean",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::testing::violations;
    use crate::validation::{Body, Fields};

    /// The violation that a field's value causes.
    fn refused<T: Default + std::fmt::Debug>(
        rule: impl Fn(&RawValue) -> Result<T, RuleError>,
        value: &str,
    ) -> Value {
        let body = Body::json(format!(r#"{{"field":{value}}}"#).as_bytes()).expect("JSON");
        let mut fields = Fields::new(&body).expect("an object");
        let read = fields.required("field", rule);
        violations(&fields.into_result(read).expect_err("should be refused"))[0].take()
    }

    fn accepted<T: Default>(rule: impl Fn(&RawValue) -> Result<T, RuleError>, value: &str) -> T {
        let body = Body::json(format!(r#"{{"field":{value}}}"#).as_bytes()).expect("JSON");
        let mut fields = Fields::new(&body).expect("an object");
        let read = fields.required("field", rule);
        fields
            .into_result(read)
            .unwrap_or_else(|error| panic!("{value} is refused: {error:?}"))
    }

    #[test]
    fn texts_are_counted_in_characters() {
        assert_eq!(accepted(text(1, 2), r#""é😀""#), "é😀");
        assert_eq!(accepted(text(1, 2), r#"" ""#), " ");
        assert_eq!(
            refused(text(1, 2), r#""äöü""#),
            json!({"type": "string_too_long", "loc": ["body", "field"], "msg": "String should have at most 2 characters",
                   "input": "äöü", "ctx": {"max_length": 2}})
        );
        assert_eq!(
            refused(text(1, 2), r#""""#),
            json!({"type": "string_too_short", "loc": ["body", "field"], "msg": "String should have at least 1 character",
                   "input": "", "ctx": {"min_length": 1}})
        );
        for value in ["1", "null", "[]", "{}", "true"] {
            let error = refused(text(1, 2), value);
            assert_eq!(
                (&error["type"], &error["msg"]),
                (
                    &json!("string_type"),
                    &json!("Input should be a valid string")
                )
            );
        }
        assert_eq!(refused(text(1, 2), r#""\u0000""#)["type"], "value_error");
        // Its length goes first.
        assert_eq!(
            refused(text(1, 2), r#""\u0000ab""#)["type"],
            "string_too_long"
        );
    }

    #[test]
    fn values_that_no_type_can_hold_are_not_booleans() {
        for value in ["1e400", "-1e400", r#""\ud800""#] {
            let value = RawValue::from_string(value.to_owned()).expect("JSON");
            assert_eq!(lax_bool(&value).expect_err("refused").kind, "bool_parsing");
        }
    }
}
