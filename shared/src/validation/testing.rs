//! Property-based tests of the types that read themselves from a body.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

use super::{Body, InvalidInput};

/// The violations of an error, as the client sees them.
pub(crate) fn violations(error: &InvalidInput) -> Value {
    serde_json::to_value(&error.0).expect("JSON")
}

/// A field of the contract: its name, whether it is required, and which rule a value of it breaks.
pub(crate) type Rule = (&'static str, bool, fn(&Value) -> Option<&'static str>);

/// The rule that a value breaks where the contract wants a text of `min` to `max` characters.
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

/// Bodies with these fields: members with values at the border of the rules, some of them twice, some unknown; and the same
/// with some bytes changed.
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

/// Values of every kind. Most are texts about as long as they may be.
fn values() -> impl Strategy<Value = Value> {
    let border = select(vec![0_usize, 1, 3, 8, 30, 50, 100, 128, 200, 255]);
    let length = (border, 0..3_usize).prop_map(|(border, more)| (border + more).saturating_sub(1));
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

/// Asserts that a body is refused with exactly the rules of the contract that it breaks, and accepted where it breaks none.
/// Returns what was read, and the members of the body, where it was accepted.
pub(crate) fn assert_agrees_with_contract<T: std::fmt::Debug>(
    fields: &[Rule],
    body: &[u8],
    read: impl Fn(&Body) -> Result<T, InvalidInput>,
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
