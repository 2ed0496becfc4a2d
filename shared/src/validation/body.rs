//! The body of a request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error_offset::error_offset;
use super::violation::{InvalidInput, Violation, json_string};

/// The body of a request: valid JSON text, or a string from which no type can be read.
pub struct Body(Box<RawValue>);

impl fmt::Debug for Body {
    /// It may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").finish_non_exhaustive()
    }
}

impl Body {
    /// A body that claims to be JSON. An empty one counts as `null`.
    ///
    /// # Errors
    /// [`InvalidInput`] where it is not JSON.
    pub fn json(bytes: &[u8]) -> Result<Self, InvalidInput> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            InvalidInput(vec![Violation::json_invalid(
                valid.chars().count(),
                "invalid UTF-8".to_owned(),
            )])
        })?;
        // Some programs begin a text with a byte order mark; parsers may ignore it (RFC 8259, 8.1).
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match serde_json::from_str::<Box<RawValue>>(text) {
            Ok(json) => Ok(Self(json)),
            Err(error) => Err(InvalidInput(vec![Violation::json_invalid(
                error_offset_in_characters(text),
                message(&error),
            )])),
        }
    }

    /// The body as it was sent.
    pub(super) fn as_json(&self) -> &RawValue {
        &self.0
    }

    /// A body with another content type. It counts as one string.
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

fn error_offset_in_characters(text: &str) -> usize {
    text[..error_offset(text)].chars().count()
}

/// The parser's message without the position, which is reported beside it.
fn message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The members of an object, their values not parsed yet. A name is bytes, since it may hold half of a surrogate pair.
pub(super) struct Members<'a>(HashMap<Cow<'a, [u8]>, &'a RawValue>);

impl<'a> Members<'a> {
    /// The members, if this is an object.
    pub(super) fn from_json(json: &'a RawValue) -> Option<Self> {
        serde_json::from_str(json.get()).ok()
    }

    /// The value of a member; the last one where the name occurs several times.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name.as_bytes()).copied()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
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

/// The name of a member, as bytes.
pub(super) struct Name<'a>(pub(super) Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Name(name.into()))
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
                Ok(Name(name.to_owned().into()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde::de::IgnoredAny;
    use serde_json::{Value, json};

    use super::*;
    use crate::validation::testing::violations;

    #[test]
    fn a_syntax_error_is_reported_at_its_character() {
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
            (r#"{"a":1,"b":true"#, 15),
            ("[true,false", 11),
            (r#"{"a":trueish}"#, 9),
            ("truex", 4),
            ("{\"a\":\"b\tc\"}", 7),
            (r#"{"title":"C:\dir"}"#, 12),
            (r#"{"a":"\u12"}"#, 7),
            (r#"{"a":"abc\u123"#, 10),
            (r#"{"a":-}"#, 5),
            ("--1", 0),
            (r#"{"a":1.}"#, 6),
            ("1.e5", 1),
            (r#"{"a":1e+}"#, 6),
            ("[1, fals\ne]", 4),
            ("01", 1),
            ("[1 2]", 3),
            ("{,}", 1),
            (r#"{"a" 1}"#, 5),
            ("[NaN]", 1),
            ("[", 1),
            ("]", 0),
            (r#"{"a":1]"#, 6),
            (r#"{"a\\":"\""#, 7),
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

    /// Texts made of tokens of JSON, and of some that are not.
    fn words() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            8 => select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "true", "null", "0", "-1", "1.5e3", " ", "\n",
            ]),
            1 => select(vec![
                "\\", "\\u", "\\ud800", "\\n", "\t", "\0", "\u{1f}", "\u{7f}", "\u{feff}", "é", "😀", "tru", "NaN", "-",
                "01", "1.", "e", "E+", "'", "/", "#",
            ]),
        ];
        vec(word, 0..12).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn a_body_is_json_or_the_error_has_its_offset(
            bytes in prop_oneof![
                words().prop_map(String::into_bytes),
                any::<String>().prop_map(String::into_bytes),
                vec(any::<u8>(), 0..40),
            ]
        ) {
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            match Body::json(&bytes) {
                Ok(body) if bytes.is_empty() => prop_assert_eq!(body.as_json().get(), "null"),
                Ok(body) => {
                    prop_assert!(serde_json::from_str::<IgnoredAny>(text).is_ok());
                    prop_assert_eq!(body.as_json().get(), text.trim_ascii());
                }
                Err(error) => {
                    let error = violations(&error);
                    prop_assert_eq!(&error[0]["type"], "json_invalid");
                    let offset = error[0]["loc"][1].as_u64();
                    let offset = usize::try_from(offset.expect("an offset")).expect("a size");
                    let Ok(whole) = std::str::from_utf8(&bytes) else {
                        let start = String::from_utf8_lossy(&bytes);
                        prop_assert_eq!(start.chars().nth(offset), Some('\u{fffd}'));
                        return Ok(());
                    };
                    prop_assert!(offset <= whole.chars().count());
                    // What stands before the offset can go on to be JSON, unless it is JSON with something behind it.
                    let start: String = text.chars().take(offset).collect();
                    match serde_json::from_str::<IgnoredAny>(&start) {
                        Ok(_) => prop_assert_ne!(start, text),
                        Err(error) => prop_assert!(error.is_eof(), "{}: {}", start, error),
                    }
                }
            }
        }

        #[test]
        fn the_last_of_several_members_with_one_name_counts(values in vec(any::<u32>(), 1..5), name in "[a\"\\\\é😀]{0,3}") {
            let members: Vec<_> = values.iter().map(|value| format!("{}:{value}", json!(name))).collect();
            let body = Body::json(format!("{{{}}}", members.join(",")).as_bytes()).expect("JSON");
            let members = Members::from_json(body.as_json()).expect("an object");
            let value = members.get(&name).map(RawValue::get).map(ToOwned::to_owned);
            prop_assert_eq!(value, values.last().map(ToString::to_string));
        }

        #[test]
        fn another_content_type_is_one_string(bytes in vec(any::<u8>(), 1..40)) {
            let text: Value = serde_json::from_str(Body::text(&bytes).as_json().get()).expect("JSON");
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
