//! Reading what a client sent, and naming every rule that it breaks.
//!
//! The shapes and texts are those of the contract ("Errors"), which are pydantic's: what the frontend knows.
//!
//! A type reads itself from a [`Body`] by asking a [`Fields`] for one field after another. A broken rule is noted and
//! a placeholder handed out, so that all of them are found; [`Fields::finish`] then refuses the lot.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::Error;

/// One broken rule, as the client is told of it.
#[derive(Debug, Serialize)]
pub struct Violation {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Location>,
    msg: Cow<'static, str>,
    input: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
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

/// The body of a request: JSON text whose syntax is good, or something else that no type can be read from.
#[derive(Debug)]
pub struct Body(Box<RawValue>);

impl Body {
    /// Takes the bytes of a body that claims to be JSON. No bytes at all count as `null`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they are not JSON.
    pub fn json(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            Error::Invalid(vec![Violation::json_invalid(
                valid.chars().count(),
                "invalid UTF-8".to_owned(),
            )])
        })?;
        match serde_json::from_str::<Box<RawValue>>(text) {
            Ok(json) => Ok(Self(json)),
            Err(error) => Err(Error::Invalid(vec![Violation::json_invalid(
                offset(text, &error),
                words(&error),
            )])),
        }
    }

    /// Takes a body of another content type: it counts as one string.
    pub fn text(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            Self::default()
        } else {
            Self(json_string(&String::from_utf8_lossy(bytes)))
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

/// Where the text stops being JSON, in characters from its start: at a word or a string that is none, that is where it
/// begins, as the clients of the former service know it.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let start = if error.is_eof() {
        unclosed_string(text).unwrap_or_else(|| start_of_last_word(text))
    } else {
        let line = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum::<usize>();
        let stop = text.floor_char_boundary(line + error.column().saturating_sub(1));
        start_of_last_word(&text[..stop])
    };
    text[..start].chars().count()
}

fn start_of_last_word(text: &str) -> usize {
    text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic())
        .len()
}

/// Where the string begins that the text ends in.
fn unclosed_string(text: &str) -> Option<usize> {
    let mut open = None;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = open.is_some(),
            b'"' => open = if open.is_some() { None } else { Some(index) },
            _ => {}
        }
    }
    open
}

/// What the parser said, without the position, which stands beside it.
fn words(error: &serde_json::Error) -> String {
    let words = error.to_string();
    words
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A rule that a value breaks.
#[derive(Debug)]
pub struct Broken {
    kind: &'static str,
    msg: Cow<'static, str>,
    ctx: Option<Context>,
}

impl Broken {
    fn new(kind: &'static str, msg: &'static str) -> Self {
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

/// The fields of a body, and the rules found broken so far.
pub struct Fields<'a> {
    object: &'a RawValue,
    members: HashMap<Cow<'a, str>, &'a RawValue>,
    violations: Vec<Violation>,
}

impl<'a> Fields<'a> {
    /// The fields of a body. Of two with one name the last counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no body, or it is no object.
    pub fn of(Body(body): &'a Body) -> Result<Self, Error> {
        let broken = if is_null(body) {
            Broken::new("missing", "Field required")
        } else if let Ok(Members(members)) = serde_json::from_str(body.get()) {
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
        if self.members.contains_key(name) {
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
        let value = *self.members.get(name)?;
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

/// An object's members, whose values are not looked into yet.
struct Members<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = HashMap::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

fn parse<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// The rule for a text of `min` to `max` characters, which is not trimmed.
pub fn text(min: usize, max: usize) -> impl Fn(&RawValue) -> Result<String, Broken> {
    move |value| {
        if !value.get().starts_with('"') {
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
    if let Some(text) = parse::<String>(value) {
        return match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
            _ => Err(unclear()),
        };
    }
    // Parsed by hand, since JSON has whole numbers that no integer type holds.
    match value.get().parse::<f64>() {
        Ok(1.0) => Ok(true),
        Ok(0.0) => Ok(false),
        Ok(number) if number.fract() == 0.0 => Err(unclear()),
        _ => Err(Broken::new("bool_type", "Input should be a valid boolean")),
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn violations(error: &Error) -> Value {
        let Error::Invalid(violations) = error else {
            panic!("not about validity: {error:?}")
        };
        serde_json::to_value(violations).expect("JSON")
    }

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
    fn text_that_is_not_json_is_refused_at_its_character() {
        // The offsets are those of Python's parser.
        for (text, offset) in [
            ("{bad json}", 1),
            (r#"{"title": }"#, 10),
            (r#"{"a":1,}"#, 7),
            (r#"{"title": "x""#, 13),
            (r#"{"title": "x"#, 10),
            ("not json", 0),
            (r#"{"a":1} x"#, 8),
            ("[1,", 3),
            ("{", 1),
            ("tru", 0),
            (r#"{"a":1 "b":2}"#, 7),
            ("\n\n{\"ü\": }", 8),
            (r#"{"title":"é", x}"#, 14),
            (r#"{"a": tru}"#, 6),
            ("  ", 2),
        ] {
            let error = violations(&Body::json(text.as_bytes()).expect_err(text));
            assert_eq!(error[0]["loc"], json!(["body", offset]), "{text}");
            assert_eq!(
                (&error[0]["type"], &error[0]["input"]),
                (&json!("json_invalid"), &json!({})),
                "{text}"
            );
            assert!(error[0]["ctx"]["error"].is_string(), "{text}");
        }
        let error = violations(&Body::json(b"{\"\xc3\xa9\": \"\xff\"}").expect_err("not UTF-8"));
        assert_eq!(error[0]["loc"], json!(["body", 7]));
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
    fn half_a_surrogate_pair_is_refused() {
        let body = Body::json(br#"{"field":"\ud800"}"#).expect("JSON");
        let mut fields = Fields::of(&body).expect("an object");
        let read = fields.required("field", any_text);
        assert!(matches!(fields.finish(read), Err(Error::Invalid(_))));
    }

    #[test]
    fn booleans_are_read_as_pydantic_reads_them() {
        for value in [
            "true",
            "1",
            "1.0",
            "1e0",
            r#""1""#,
            r#""TRUE""#,
            r#""t""#,
            r#""Yes""#,
            r#""y""#,
            r#""on""#,
        ] {
            assert!(accepted(lax_bool, value), "{value}");
        }
        for value in [
            "false",
            "0",
            "0.0",
            "-0",
            r#""0""#,
            r#""False""#,
            r#""f""#,
            r#""NO""#,
            r#""n""#,
            r#""off""#,
        ] {
            assert!(!accepted(lax_bool, value), "{value}");
        }
        for value in [
            "2",
            "2.0",
            "-1",
            "12345678901234567890123",
            r#""""#,
            r#""maybe""#,
            r#"" true""#,
        ] {
            assert_eq!(refused(lax_bool, value)["type"], "bool_parsing", "{value}");
        }
        for value in ["null", "[]", "{}", "0.5", "[true]"] {
            assert_eq!(refused(lax_bool, value)["type"], "bool_type", "{value}");
        }
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
}
