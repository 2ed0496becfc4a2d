//! The fields of a body.

use serde_json::value::RawValue;

use super::body::{Body, Members};
use super::mask::{is_password, mask, without_passwords};
use super::rules::{RuleError, is_null};
use super::violation::{InvalidInput, Violation};

/// The fields of a body, and the violations found so far.
pub struct Fields<'a> {
    object: &'a RawValue,
    members: Members<'a>,
    violations: Vec<Violation>,
    holds_passwords: bool,
}

impl<'a> Fields<'a> {
    /// The fields of a body. Of two with one name the last counts.
    ///
    /// # Errors
    /// [`InvalidInput`] where there is no body, or it is not an object.
    pub fn new(body: &'a Body) -> Result<Self, InvalidInput> {
        Self::from_body(body, false)
    }

    /// The fields of a body that holds passwords. Violations show a mask in place of them, and in place of a whole body that
    /// is not an object: any part of it may be a password.
    ///
    /// # Errors
    /// As for [`Fields::new`].
    pub fn with_passwords(body: &'a Body) -> Result<Self, InvalidInput> {
        Self::from_body(body, true)
    }

    fn from_body(body: &'a Body, holds_passwords: bool) -> Result<Self, InvalidInput> {
        let body = body.as_json();
        let error = if is_null(body) {
            RuleError::new("missing", "Field required")
        } else if let Some(members) = Members::from_json(body) {
            return Ok(Self {
                object: body,
                members,
                violations: Vec::new(),
                holds_passwords,
            });
        } else {
            RuleError::new(
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            )
        };
        let is_shown = !holds_passwords || is_null(body);
        let input = if is_shown { body } else { &mask() };
        Err(InvalidInput(vec![Violation::in_body(error, input)]))
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
        let input = if self.holds_passwords {
            &without_passwords(self.object)
        } else {
            self.object
        };
        let error = RuleError::new("missing", "Field required");
        self.violations
            .push(Violation::in_field(name, error, input));
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
            let input = match (self.holds_passwords, is_password(name)) {
                (false, _) => value,
                (true, false) => &without_passwords(value),
                (true, true) => &mask(),
            };
            self.violations
                .push(Violation::in_field(name, error, input));
            T::default()
        }))
    }

    /// The value that was read, if no rule is broken.
    ///
    /// # Errors
    /// [`InvalidInput`] with every violation.
    pub fn into_result<T>(self, value: T) -> Result<T, InvalidInput> {
        InvalidInput::refuse_any(self.violations, value)
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
    fn a_violation_shows_no_password() {
        let body = br#"{"email":{"password":"a"}, "new_password":["b"], "pwd":"c"}"#;
        let body = Body::json(body).expect("JSON");
        let mut fields = Fields::with_passwords(&body).expect("an object");
        fields.required("email", any_text);
        fields.required("new_password", any_text);
        fields.required("username", any_text);
        let error = violations(&fields.into_result(()).expect_err("invalid"));
        let inputs: Vec<_> = (0..3).map(|index| error[index]["input"].clone()).collect();
        let mask = "**********";
        assert_eq!(
            inputs,
            [
                json!({"password": mask}),
                json!(mask),
                json!({"email": {"password": mask}, "new_password": mask, "pwd": mask}),
            ]
        );
    }

    #[test]
    fn a_body_that_may_be_a_password_is_masked() {
        for (body, input) in [
            (Body::json(br#"[{"password": "a"}]"#), json!("**********")),
            (
                Body::json(br#""{\"password\": \"a\"}""#),
                json!("**********"),
            ),
            (Body::json(b"12345678"), json!("**********")),
            (Ok(Body::text(b"password=a")), json!("**********")),
            (Body::json(b"null"), json!(null)),
            (Body::json(b""), json!(null)),
        ] {
            let body = body.expect("JSON");
            let error = Fields::with_passwords(&body).err().expect("no object");
            assert_eq!(violations(&error)[0]["input"], input);
        }
    }

    #[test]
    fn a_field_name_that_is_not_text_is_unknown() {
        let body = Body::json(br#"{"title": "t", "\ud800": 1}"#).expect("JSON");
        let mut fields = Fields::new(&body).expect("an object");
        assert_eq!(fields.required("title", any_text), "t");
        assert!(fields.into_result(()).is_ok());
    }
}
