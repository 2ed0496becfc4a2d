//! The rules that the fields of a body keep.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Context;

/// A rule that a value breaks.
#[derive(Debug)]
pub struct Broken {
    pub(super) kind: &'static str,
    pub(super) msg: Cow<'static, str>,
    pub(super) ctx: Option<Context>,
}

impl Broken {
    pub(super) fn new(kind: &'static str, msg: &'static str) -> Self {
        Self {
            kind,
            msg: msg.into(),
            ctx: None,
        }
    }

    /// A rule of our own, which has no type of its own.
    pub fn value_error(words: &'static str) -> Self {
        Self {
            kind: "value_error",
            msg: format!("Value error, {words}").into(),
            ctx: Some(Context::Error(words.into())),
        }
    }

    /// Not one of the values there are, as in `'High', 'Medium' or 'Low'`.
    pub fn not_one_of(values: &'static str) -> Self {
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

fn is_string(value: &RawValue) -> bool {
    value.get().starts_with('"')
}

fn parse<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// The rule for a text of `min` to `max` characters, which is not trimmed.
pub fn text(min: usize, max: usize) -> impl Fn(&RawValue) -> Result<String, Broken> {
    move |value| {
        if !is_string(value) {
            return Err(Broken::new("string_type", "Input should be a valid string"));
        }
        let Some(text) = parse::<String>(value) else {
            return Err(Broken::value_error(
                "the text holds half of a surrogate pair",
            ));
        };
        let length = text.chars().count();
        if length < min {
            Err(Broken::length(
                "string_too_short",
                "least",
                min,
                Context::MinLength(min),
            ))
        } else if length > max {
            Err(Broken::length(
                "string_too_long",
                "most",
                max,
                Context::MaxLength(max),
            ))
        } else if text.contains('\0') {
            // PostgreSQL cannot store it.
            Err(Broken::value_error("the text holds a NUL character"))
        } else {
            Ok(text)
        }
    }
}

/// The rule for a text of any length.
///
/// # Errors
/// The rule that the value breaks.
pub fn any_text(value: &RawValue) -> Result<String, Broken> {
    text(0, usize::MAX)(value)
}

/// The rule for a value that may be `null` and otherwise keeps another rule.
pub fn nullable<T>(
    rule: impl Fn(&RawValue) -> Result<T, Broken>,
) -> impl Fn(&RawValue) -> Result<Option<T>, Broken> {
    move |value| {
        if is_null(value) {
            Ok(None)
        } else {
            rule(value).map(Some)
        }
    }
}

/// The rule for a boolean, as generous as pydantic's lax mode: also 1, 0, 1.0, 0.0 and some words, in any case.
///
/// # Errors
/// The rule that the value breaks.
pub fn lax_bool(value: &RawValue) -> Result<bool, Broken> {
    let unclear = || {
        Broken::new(
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
            _ => Err(unclear()),
        };
    }
    // Read as a float, since JSON has whole numbers that no integer type holds; one that no float holds is whole, too.
    match value.get().parse::<f64>() {
        Ok(1.0) => Ok(true),
        Ok(0.0) => Ok(false),
        Ok(number) if number.is_infinite() || number.fract() == 0.0 => Err(unclear()),
        _ => Err(Broken::new("bool_type", "Input should be a valid boolean")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::tests::violations;
    use crate::validation::{Body, Fields};

    /// What is said of a field's value.
    fn refused<T: Default + std::fmt::Debug>(
        rule: impl Fn(&RawValue) -> Result<T, Broken>,
        value: &str,
    ) -> Value {
        let body = Body::json(format!(r#"{{"field":{value}}}"#).as_bytes()).expect("JSON");
        let mut fields = Fields::of(&body).expect("an object");
        let read = fields.required("field", rule);
        violations(&fields.finish(read).expect_err("should be refused"))[0].take()
    }

    fn accepted<T: Default>(rule: impl Fn(&RawValue) -> Result<T, Broken>, value: &str) -> T {
        let body = Body::json(format!(r#"{{"field":{value}}}"#).as_bytes()).expect("JSON");
        let mut fields = Fields::of(&body).expect("an object");
        let read = fields.required("field", rule);
        fields
            .finish(read)
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
    fn what_no_type_of_ours_can_hold_says_nothing_of_a_boolean() {
        for value in ["1e400", "-1e400", r#""\ud800""#] {
            let value = RawValue::from_string(value.to_owned()).expect("JSON");
            assert_eq!(lax_bool(&value).expect_err("refused").kind, "bool_parsing");
        }
    }
}
