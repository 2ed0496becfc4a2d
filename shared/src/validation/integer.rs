//! The rule for whole numbers.

use std::num::IntErrorKind;

use serde_json::value::RawValue;

use super::rules::{Context, RuleError, is_string, parse};

/// The rule for a whole number from `min` to `max`, as in pydantic's lax mode: booleans, numbers like `7.0`, and texts like
/// `" 7"` and `"7.0"` are accepted too.
pub fn lax_int(min: i64, max: i64) -> impl Fn(&RawValue) -> Result<i64, RuleError> {
    move |value| {
        let number = read(value)?;
        if number < min {
            Err(RuleError {
                kind: "greater_than_equal",
                msg: format!("Input should be greater than or equal to {min}").into(),
                ctx: Some(Context::GreaterEqual(min)),
            })
        } else if number > max {
            Err(RuleError {
                kind: "less_than_equal",
                msg: format!("Input should be less than or equal to {max}").into(),
                ctx: Some(Context::LessEqual(max)),
            })
        } else {
            Ok(number)
        }
    }
}

fn read(value: &RawValue) -> Result<i64, RuleError> {
    match value.get() {
        "true" => return Ok(1),
        "false" => return Ok(0),
        _ => {}
    }
    if is_string(value) {
        let text = parse::<String>(value).unwrap_or_default();
        return from_text(&text).ok_or_else(|| {
            RuleError::new(
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
            )
        });
    }
    if let Some(number) = from_digits(value.get()) {
        return Ok(number);
    }
    match value.get().parse::<f64>() {
        Ok(number) if number.is_infinite() => Err(RuleError::new(
            "finite_number",
            "Input should be a finite number",
        )),
        Ok(number) if number.fract() == 0.0 => Ok(saturated(number)),
        Ok(_) => Err(RuleError::new(
            "int_from_float",
            "Input should be a valid integer, got a number with a fractional part",
        )),
        Err(_) => Err(RuleError::new(
            "int_type",
            "Input should be a valid integer",
        )),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a number beyond the range becomes the end of the range"
)]
fn saturated(number: f64) -> i64 {
    number as i64
}

/// A text as a whole number: white space around it, a sign, single underscores between digits, and a fraction of zeros.
fn from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_separated = !whole.starts_with('_') && !whole.ends_with('_') && !whole.contains("__");
    let digits = whole.replace('_', "");
    let is_whole = fraction.bytes().all(|digit| digit == b'0');
    // An underscore must not follow the sign.
    let is_number = whole
        .trim_start_matches(['+', '-'])
        .starts_with(|letter: char| letter.is_ascii_digit());
    (is_separated && is_whole && is_number)
        .then(|| from_digits(&digits))
        .flatten()
}

/// A sign and digits. A number beyond the range of integers counts as the end of the range.
fn from_digits(text: &str) -> Option<i64> {
    text.parse()
        .or_else(|error: std::num::ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => Ok(i64::MAX),
            IntErrorKind::NegOverflow => Ok(i64::MIN),
            _ => Err(error),
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::testing::violations;
    use crate::validation::{Body, Fields};

    fn read(value: &str) -> Result<i64, Value> {
        let body = Body::json(format!(r#"{{"days":{value}}}"#).as_bytes()).expect("JSON");
        let mut fields = Fields::new(&body).expect("an object");
        let days = fields.required("days", lax_int(1, 366));
        let result = fields.into_result(days);
        result.map_err(|error| violations(&error)[0].take())
    }

    #[test]
    fn whole_numbers_in_any_spelling_are_accepted() {
        for (value, number) in [
            ("1", 1),
            ("366", 366),
            ("90.0", 90),
            ("9e1", 90),
            ("true", 1),
            (r#""90""#, 90),
            (r#"" +90 ""#, 90),
            (r#""090""#, 90),
            (r#""90.00""#, 90),
            (r#""1_0""#, 10),
        ] {
            assert_eq!(read(value), Ok(number), "{value}");
        }
    }

    #[test]
    fn other_values_are_refused_as_pydantic_does() {
        for (value, kind) in [
            ("0", "greater_than_equal"),
            ("-1", "greater_than_equal"),
            ("false", "greater_than_equal"),
            ("367", "less_than_equal"),
            ("1e300", "less_than_equal"),
            ("99999999999999999999", "less_than_equal"),
            ("-99999999999999999999", "greater_than_equal"),
            (r#""99999999999999999999""#, "less_than_equal"),
            ("1.5", "int_from_float"),
            ("null", "int_type"),
            ("[]", "int_type"),
            ("{}", "int_type"),
            (r#""""#, "int_parsing"),
            (r#""a""#, "int_parsing"),
            (r#""1.5""#, "int_parsing"),
            (r#""1e1""#, "int_parsing"),
            (r#""_1""#, "int_parsing"),
            (r#""1_""#, "int_parsing"),
            (r#""1__0""#, "int_parsing"),
            (r#""+_1""#, "int_parsing"),
            (r#"".0""#, "int_parsing"),
        ] {
            let error = read(value).expect_err(value);
            assert_eq!(error["type"], kind, "{value}");
        }
        // No type can hold these.
        for (value, kind) in [(r#""\ud800""#, "int_parsing"), ("1e400", "finite_number")] {
            let value = RawValue::from_string(value.to_owned()).expect("JSON");
            assert_eq!(lax_int(1, 366)(&value).expect_err("refused").kind, kind);
        }
        assert_eq!(
            read("367"),
            Err(
                json!({"type": "less_than_equal", "loc": ["body", "days"], "input": 367, "ctx": {"le": 366},
                       "msg": "Input should be less than or equal to 366"})
            )
        );
        let error = read("0").expect_err("too small");
        assert_eq!(
            (&error["msg"], &error["ctx"]),
            (
                &json!("Input should be greater than or equal to 1"),
                &json!({"ge": 1})
            )
        );
    }
}
