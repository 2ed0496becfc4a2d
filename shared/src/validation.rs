//! Reading what a client sent, and naming every rule that it breaks.
//!
//! The shapes and texts are those of the contract ("Errors"), which are pydantic's: what the frontend knows.
//!
//! A type reads itself from a [`Body`] by asking a [`Fields`] for one field after another. A broken rule is noted and
//! a placeholder handed out, so that all of them are found; [`Fields::finish`] then refuses the lot.

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::Error;

mod body;
mod rules;
mod syntax;

pub use body::Body;
use body::Members;
pub use rules::{Broken, any_text, lax_bool, nullable, text};

/// One broken rule, as the client is told of it.
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

/// The parameter of a rule.
#[derive(Debug)]
enum Context {
    MinLength(usize),
    MaxLength(usize),
    Expected(&'static str),
    Error(Cow<'static, str>),
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::MinLength(length) => map.serialize_entry("min_length", length)?,
            Self::MaxLength(length) => map.serialize_entry("max_length", length)?,
            Self::Expected(values) => map.serialize_entry("expected", values)?,
            Self::Error(words) => map.serialize_entry("error", words)?,
        }
        map.end()
    }
}

impl Violation {
    /// The body is not JSON: what the parser said, and at which character.
    fn json_invalid(offset: usize, words: String) -> Self {
        Self {
            kind: "json_invalid",
            loc: vec![Location::Name("body"), Location::Offset(offset)],
            msg: "JSON decode error".into(),
            input: RawValue::from_string("{}".to_owned()).expect("{} is JSON"),
            ctx: Some(Context::Error(words.into())),
        }
    }

    /// A path parameter is not a whole number.
    pub(crate) fn int_parsing(parameter: &'static str, input: &str) -> Self {
        Self {
            kind: "int_parsing",
            loc: vec![Location::Name("path"), Location::Name(parameter)],
            msg: "Input should be a valid integer, unable to parse string as an integer".into(),
            input: json_string(input),
            ctx: None,
        }
    }

    fn of_body(broken: Broken, input: &RawValue) -> Self {
        Self {
            kind: broken.kind,
            loc: vec![Location::Name("body")],
            msg: broken.msg,
            input: input.to_owned(),
            ctx: broken.ctx,
        }
    }

    fn of_field(name: &'static str, broken: Broken, input: &RawValue) -> Self {
        let mut violation = Self::of_body(broken, input);
        violation.loc.push(Location::Name(name));
        violation
    }
}

fn json_string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string is JSON")
}

/// The fields of a body, and the rules found broken so far.
pub struct Fields<'a> {
    object: &'a RawValue,
    members: Members<'a>,
    violations: Vec<Violation>,
}

impl<'a> Fields<'a> {
    /// The fields of a body. Of two with one name the last counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no body, or it is no object.
    pub fn of(body: &'a Body) -> Result<Self, Error> {
        let body = body.as_json();
        let broken = if rules::is_null(body) {
            Broken::new("missing", "Field required")
        } else if let Some(members) = Members::of(body) {
            return Ok(Self {
                object: body,
                members,
                violations: Vec::new(),
            });
        } else {
            Broken::new(
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            )
        };
        Err(Error::Invalid(vec![Violation::of_body(broken, body)]))
    }

    /// A field that has to be there.
    pub fn required<T: Default>(
        &mut self,
        name: &'static str,
        rule: impl Fn(&RawValue) -> Result<T, Broken>,
    ) -> T {
        if self.members.get(name).is_some() {
            return self.optional(name, rule).unwrap_or_default();
        }
        self.violations.push(Violation::of_field(
            name,
            Broken::new("missing", "Field required"),
            self.object,
        ));
        T::default()
    }

    /// A field that may be left out. `null` is a value like any other.
    pub fn optional<T: Default>(
        &mut self,
        name: &'static str,
        rule: impl Fn(&RawValue) -> Result<T, Broken>,
    ) -> Option<T> {
        let value = self.members.get(name)?;
        Some(rule(value).unwrap_or_else(|broken| {
            self.violations
                .push(Violation::of_field(name, broken, value));
            T::default()
        }))
    }

    /// What was read, if no rule was found broken.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that were.
    pub fn finish<T>(self, read: T) -> Result<T, Error> {
        if self.violations.is_empty() {
            Ok(read)
        } else {
            Err(Error::Invalid(self.violations))
        }
    }
}

/// Two results of which either may name broken rules: all rules together, the first result's before the second's, and
/// any other error only when no rule is broken.
///
/// # Errors
/// As said above.
pub fn both<A, B>(first: Result<A, Error>, second: Result<B, Error>) -> Result<(A, B), Error> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(Error::Invalid(mut violations)), Err(Error::Invalid(more))) => {
            violations.extend(more);
            Err(Error::Invalid(violations))
        }
        (Ok(_), Err(error)) | (_, Err(error @ Error::Invalid(_))) | (Err(error), _) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select, subsequence};
    use serde_json::{Map, Value, json};

    use super::*;

    /// The violations of an error, as the client sees them.
    pub(super) fn violations(error: &Error) -> Value {
        let Error::Invalid(violations) = error else {
            panic!("not about validity: {error:?}")
        };
        serde_json::to_value(violations).expect("JSON")
    }

    /// What the contract says of a field: its name, whether it is required, and the rule that a value of it breaks.
    pub(crate) type Rule = (&'static str, bool, fn(&Value) -> Option<&'static str>);

    /// The rule that a value breaks where a text of `min` to `max` characters belongs.
    pub(crate) fn breaks_text(value: &Value, min: usize, max: usize) -> Option<&'static str> {
        let Some(text) = value.as_str() else {
            return Some("string_type");
        };
        match text.chars().count() {
            length if length < min => Some("string_too_short"),
            length if length > max => Some("string_too_long"),
            _ if text.contains('\0') => Some("value_error"),
            _ => None,
        }
    }

    /// Bodies of these fields: members that keep the rules or are about to break them, some twice, some unknown; and the
    /// same with some bytes changed.
    pub(crate) fn bodies(fields: &[Rule]) -> impl Strategy<Value = Vec<u8>> + use<> {
        let names: Vec<_> = fields.iter().map(|(name, ..)| *name).collect();
        let count = names.len();
        let others = vec(
            (prop_oneof![select(names.clone()), Just("other")], values()),
            0..3,
        );
        let members = (subsequence(names, 0..=count), vec(values(), count), others);
        let body = members.prop_map(|(names, values, mut members)| {
            // Of two with one name the last counts.
            members.extend(names.into_iter().zip(values));
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}:{value}", json!(name)))
                .collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        });
        let changes = vec((any::<Index>(), any::<Option<u8>>()), 0..4);
        (body, prop_oneof![Just(Vec::new()), changes]).prop_map(|(mut body, changes)| {
            for (index, byte) in changes {
                if body.is_empty() {
                    break;
                }
                let at = index.index(body.len());
                match byte {
                    Some(byte) => body[at] = byte,
                    None => body.truncate(at),
                }
            }
            body
        })
    }

    /// Values of every kind, most of them texts about as long as they may be.
    fn values() -> impl Strategy<Value = Value> {
        let border = select(vec![0_usize, 1, 3, 8, 30, 50, 100, 128, 200, 255]);
        let length =
            (border, 0..3_usize).prop_map(|(border, more)| (border + more).saturating_sub(1));
        let text = (length, any::<char>(), any::<[char; 3]>(), any::<bool>());
        let text = text.prop_map(|(length, filling, ends, same)| {
            let end = if same { [filling; 3] } else { ends };
            let text = std::iter::repeat_n(filling, length.saturating_sub(3));
            Value::String(text.chain(end).take(length).collect())
        });
        let words = select(vec![
            "High",
            "Medium",
            "Low",
            "high",
            "",
            "true",
            "FALSE",
            "oN",
            "2",
            "ada",
            "ada_b-1",
            "ada.b",
            "äda",
            "a b",
            "a@example.com",
            "a@b",
            "A.b+c@sub.example.org",
            "correct horse",
            "a\0b",
        ]);
        let numbers = select(vec![
            json!(0),
            json!(1),
            json!(2),
            json!(-0.0),
            json!(1.0),
            json!(0.5),
            json!(u64::MAX),
        ]);
        prop_oneof![
            4 => text,
            3 => words.prop_map(Value::from),
            1 => numbers,
            1 => any::<bool>().prop_map(Value::from),
            1 => Just(Value::Null),
            1 => select(vec![json!([]), json!({}), json!(["High"]), json!({"title": "t"})]),
        ]
    }

    /// Sees that a body was refused with exactly the rules of the contract that it breaks, and accepted where it breaks
    /// none. Gives the members of an accepted one.
    pub(crate) fn agrees_with_contract<T: std::fmt::Debug>(
        fields: &[Rule],
        body: &[u8],
        read: impl Fn(&Body) -> Result<T, Error>,
    ) -> Option<(T, Map<String, Value>)> {
        let found = Body::json(body).and_then(|body| read(&body));
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            // Half of a surrogate pair in an unknown field is read as well.
            if let Err(error) = found {
                assert_ne!(violations(&error), json!([]));
            }
            return None;
        };
        let expected: Vec<_> = match value.as_object() {
            None if value.is_null() => vec![("missing", "body")],
            None => vec![("model_attributes_type", "body")],
            Some(members) => fields
                .iter()
                .filter_map(|(name, required, breaks)| match members.get(*name) {
                    Some(value) => breaks(value).map(|kind| (kind, *name)),
                    None => required.then_some(("missing", *name)),
                })
                .collect(),
        };
        match found {
            Ok(found) => {
                assert!(expected.is_empty(), "accepted in spite of {expected:?}");
                Some((found, value.as_object()?.clone()))
            }
            Err(error) => {
                let error = violations(&error);
                let rules: Vec<_> = error
                    .as_array()?
                    .iter()
                    .map(|one| {
                        let place = one["loc"].as_array().and_then(|loc| loc.last());
                        (one["type"].as_str(), place.and_then(Value::as_str))
                    })
                    .collect();
                let expected: Vec<_> = expected
                    .into_iter()
                    .map(|(kind, place)| (Some(kind), Some(place)))
                    .collect();
                assert_eq!(rules, expected);
                None
            }
        }
    }

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
            let error = violations(&Fields::of(&body).err().expect("no object"))[0].take();
            assert_eq!(
                (&error["type"], &error["loc"], &error["input"]),
                (&json!(kind), &json!(["body"]), &input)
            );
        }
    }

    #[test]
    fn a_missing_field_is_shown_the_object_as_it_came() {
        let body = Body::json(br#"{"z":1, "a":12345678901234567890123, "z":2}"#).expect("JSON");
        let mut fields = Fields::of(&body).expect("an object");
        let read = fields.required("title", any_text);
        let Error::Invalid(violations) = fields.finish(read).expect_err("incomplete") else {
            panic!("not invalid")
        };
        assert_eq!(
            serde_json::to_string(&violations).expect("JSON"),
            r#"[{"type":"missing","loc":["body","title"],"msg":"Field required","input":{"z":1, "a":12345678901234567890123, "z":2}}]"#
        );
    }

    #[test]
    fn rules_of_the_path_come_before_those_of_the_body_and_both_before_anything_else() {
        let of = |name| Error::Invalid(vec![Violation::int_parsing(name, "x")]);
        let locs = |result: Result<((), ()), Error>| {
            let error = violations(&result.expect_err("broken"));
            error
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one["loc"][1].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(locs(both(Err(of("a")), Err(of("b")))), ["a", "b"]);
        assert_eq!(locs(both(Err(Error::NotYourTasks), Err(of("b")))), ["b"]);
        assert_eq!(locs(both(Err(of("a")), Err(Error::NotYourTasks))), ["a"]);
        assert!(matches!(
            both(Err::<(), _>(Error::NotYourTasks), Ok(())),
            Err(Error::NotYourTasks)
        ));
    }

    #[test]
    fn a_name_that_is_no_text_is_just_another_unknown_field() {
        let body = Body::json(br#"{"title": "t", "\ud800": 1}"#).expect("JSON");
        let mut fields = Fields::of(&body).expect("an object");
        assert_eq!(fields.required("title", any_text), "t");
        assert!(fields.finish(()).is_ok());
    }
}
