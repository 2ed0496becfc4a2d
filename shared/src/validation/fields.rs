//! The fields of a body.

use serde_json::value::RawValue;

use super::body::{Body, Members};
use super::rules::{RuleError, is_null};
use super::violation::{InvalidInput, Violation};

/// The fields of a body, and the violations found so far.
pub struct Fields<'a> {
    object: &'a RawValue,
    members: Members<'a>,
    violations: Vec<Violation>,
}

impl<'a> Fields<'a> {
    /// The fields of a body. Of two with one name the last counts.
    ///
    /// # Errors
    /// [`InvalidInput`] where there is no body, or it is not an object.
    pub fn new(body: &'a Body) -> Result<Self, InvalidInput> {
        let body = body.as_json();
        let error = if is_null(body) {
            RuleError::new("missing", "Field required")
        } else if let Some(members) = Members::from_json(body) {
            return Ok(Self {
                object: body,
                members,
                violations: Vec::new(),
            });
        } else {
            RuleError::new(
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            )
        };
        Err(InvalidInput(vec![Violation::in_body(error, body)]))
    }

    /// A required field.
    pub fn required<T: Default>(
        &mut self,
        name: &'static str,
        rule: impl Fn(&RawValue) -> Result<T, RuleError>,
    ) -> T {
        if self.members.get(name).is_some() {
            return self.optional(name, rule).unwrap_or_default();
        }
        self.violations.push(Violation::in_field(
            name,
            RuleError::new("missing", "Field required"),
            self.object,
        ));
        T::default()
    }

    /// An optional field. `null` is a value like any other.
    pub fn optional<T: Default>(
        &mut self,
        name: &'static str,
        rule: impl Fn(&RawValue) -> Result<T, RuleError>,
    ) -> Option<T> {
        let value = self.members.get(name)?;
        Some(rule(value).unwrap_or_else(|error| {
            self.violations
                .push(Violation::in_field(name, error, value));
            T::default()
        }))
    }

    /// The value that was read, if no rule is broken.
    ///
    /// # Errors
    /// [`InvalidInput`] with every violation.
    pub fn into_result<T>(self, value: T) -> Result<T, InvalidInput> {
        if self.violations.is_empty() {
            Ok(value)
        } else {
            Err(InvalidInput(self.violations))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validation::any_text;
    use crate::validation::testing::violations;

    #[test]
    fn a_body_has_to_be_an_object() {
        for (body, kind, input) in [
            (Body::json(b""), "missing", json!(null)),
            (Body::json(b" null "), "missing", json!(null)),
            (
                Body::json(b"[1, \"a\"]"),
                "model_attributes_type",
                json!([1, "a"]),
            ),
            (Body::json(b"\"{}\""), "model_attributes_type", json!("{}")),
            (Ok(Body::text(b"")), "missing", json!(null)),
            (
                Ok(Body::text(b"email=a&password=b")),
                "model_attributes_type",
                json!("email=a&password=b"),
            ),
        ] {
            let body = body.expect("JSON");
            let error = violations(&Fields::new(&body).err().expect("no object"))[0].take();
            assert_eq!(
                (&error["type"], &error["loc"], &error["input"]),
                (&json!(kind), &json!(["body"]), &input)
            );
        }
    }

    #[test]
    fn a_missing_field_shows_the_object_as_it_was_sent() {
        let body = Body::json(br#"{"z":1, "a":12345678901234567890123, "z":2}"#).expect("JSON");
        let mut fields = Fields::new(&body).expect("an object");
        let read = fields.required("title", any_text);
        let InvalidInput(violations) = fields.into_result(read).expect_err("incomplete");
        assert_eq!(
            serde_json::to_string(&violations).expect("JSON"),
            r#"[{"type":"missing","loc":["body","title"],"msg":"Field required","input":{"z":1, "a":12345678901234567890123, "z":2}}]"#
        );
    }

    #[test]
    fn a_field_name_that_is_not_text_is_unknown() {
        let body = Body::json(br#"{"title": "t", "\ud800": 1}"#).expect("JSON");
        let mut fields = Fields::new(&body).expect("an object");
        assert_eq!(fields.required("title", any_text), "t");
        assert!(fields.into_result(()).is_ok());
    }
}
