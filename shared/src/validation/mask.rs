//! Keeping passwords out of the answer to a request that breaks rules. A frontend may print that answer on the screen.

use std::borrow::Cow;

use serde::Deserialize as _;
use serde_json::value::RawValue;

use super::body::Name;
use super::error_offset::{run, skip_space, string};
use super::violation::json_string;

/// What is shown instead of a password: pydantic shows a `SecretStr` like this.
const MASK: &str = "**********";

/// The mask as JSON.
pub(super) fn mask() -> Box<RawValue> {
    json_string(MASK)
}

/// Whether a member holds a password, by its name in any spelling: `password`, `new_password`, `Passwd`, `userPwd`.
pub(super) fn is_password(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("pass") || name.contains("pwd")
}

/// A value with a mask in place of each member that holds a password, at any depth. The rest stays as it was sent.
///
/// It works on the text, since a parsed value may be nested deeper than a stack is long.
pub(super) fn without_passwords(json: &RawValue) -> Cow<'_, RawValue> {
    let text = json.get();
    let mut shown = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(quote) = text[at..].find('"').map(|offset| at + offset) {
        at = end_of_string(text, quote);
        let colon = skip_space(text.as_bytes(), at);
        // In JSON, only a name has a colon after it.
        if text[colon..].starts_with(':') && is_password(&decoded(&text[quote..at])) {
            let value = skip_space(text.as_bytes(), colon + 1);
            at = end_of_value(text, value);
            shown.push_str(&text[copied..value]);
            shown.push_str(mask().get());
            copied = at;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    shown.push_str(&text[copied..]);
    Cow::Owned(RawValue::from_string(shown).expect("one value instead of another"))
}

/// A name without its escapes. It may hold half of a surrogate pair.
fn decoded(name: &str) -> String {
    let mut json = serde_json::Deserializer::from_str(name);
    let Name(name) = Name::deserialize(&mut json).expect("a string");
    String::from_utf8_lossy(&name).into_owned()
}

fn end_of_string(text: &str, start: usize) -> usize {
    string(text.as_bytes(), start).expect("valid JSON")
}

fn end_of_value(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        at = match bytes[at] {
            b'"' => end_of_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                at + 1
            }
            b'}' | b']' => {
                depth -= 1;
                at + 1
            }
            // Numbers, words, and within an array or an object what separates values.
            _ => run(bytes, at, |byte| !b"\"{}[], \t\r\n".contains(&byte)).max(at + 1),
        };
        if depth == 0 {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn shown(text: &str) -> String {
        let json = RawValue::from_string(text.to_owned()).expect("JSON");
        without_passwords(&json).get().to_owned()
    }

    #[test]
    fn passwords_are_masked_and_the_rest_stays_as_it_was_sent() {
        for (sent, expected) in [
            (
                r#"{"z":1, "password":"s3cret"}"#,
                r#"{"z":1, "password":"**********"}"#,
            ),
            (
                r#"{ "password" : null , "a" : 1 }"#,
                r#"{ "password" : "**********" , "a" : 1 }"#,
            ),
            (
                r#"{"new_password":12345678,"a":2}"#,
                r#"{"new_password":"**********","a":2}"#,
            ),
            (
                "{\"password\":12345678\n}",
                "{\"password\":\"**********\"\n}",
            ),
            (
                r#"{"password":{"a":["}",{"b":"]"}]},"b":1}"#,
                r#"{"password":"**********","b":1}"#,
            ),
            (
                r#"{"p\u0061ssword":"s3cret"}"#,
                r#"{"p\u0061ssword":"**********"}"#,
            ),
            (
                r#"{"a":[{"userPassword":"s3\"cret"}]}"#,
                r#"{"a":[{"userPassword":"**********"}]}"#,
            ),
            (
                r#"{"password":"one","password":"two"}"#,
                r#"{"password":"**********","password":"**********"}"#,
            ),
            (
                r#"{"\ud800passwd":[[], 1]}"#,
                r#"{"\ud800passwd":"**********"}"#,
            ),
            (
                r#"{"email":"password", "a":["password"]}"#,
                r#"{"email":"password", "a":["password"]}"#,
            ),
            (r#""password""#, r#""password""#),
            ("[]", "[]"),
            ("12", "12"),
        ] {
            assert_eq!(shown(sent), expected);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            "[\"\\\\{}\\[\\]:, a😀]{0,6}".prop_map(Value::from),
        ];
        let name = prop_oneof![Just("Password".to_owned()), "[\"\\\\:{,a]{0,4}"];
        leaf.prop_recursive(4, 24, 4, move |value| {
            prop_oneof![
                prop::collection::vec(value.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(name.clone(), value, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn masked(value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(masked).collect(),
            Value::Object(members) => Value::Object(
                members
                    .into_iter()
                    .map(|(name, value)| {
                        let value = if is_password(&name) {
                            json!(MASK)
                        } else {
                            masked(value)
                        };
                        (name, value)
                    })
                    .collect(),
            ),
            other => other,
        }
    }

    proptest! {
        #[test]
        fn a_value_of_any_shape_is_masked(value in values(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let shown: Value = serde_json::from_str(&shown(&text)).expect("JSON");
            prop_assert_eq!(shown, masked(value));
        }
    }
}
