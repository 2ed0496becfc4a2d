//! The query of a URL, and its parameters.

use std::borrow::Cow;

use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};
use serde_json::value::RawValue;

use super::rules::RuleError;
use super::violation::{InvalidInput, Violation, json_string};

/// The ASCII characters that a query cannot have (RFC 3986, 3.4). A percent sign stays: what is encoded remains so.
const NOT_IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The query of a URL, as the client sent it: `name=value` pairs between ampersands, in percent-encoding.
#[derive(Clone, Debug, Default)]
pub struct Query(String);

impl Query {
    /// From the text after the question mark.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Each pair as it was sent, with its decoded name.
    fn pairs(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.0
            .split('&')
            .map(|pair| (pair, decode(pair.split('=').next().unwrap_or_default())))
    }

    /// The values of a parameter, decoded.
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        self.pairs()
            .filter(|(_, found)| found == name.as_bytes())
            .map(|(pair, _)| decode(pair.split_once('=').map_or("", |(_, value)| value)))
            .collect()
    }

    /// The same parameters, but for this one, which gets this value. The result can stand in a URL.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> String {
        let others = self
            .pairs()
            .filter(|(pair, found)| !pair.is_empty() && found != name.as_bytes())
            .map(|(pair, _)| utf8_percent_encode(pair, NOT_IN_QUERY).to_string());
        let changed = format!(
            "{}={}",
            utf8_percent_encode(name, NON_ALPHANUMERIC),
            utf8_percent_encode(value, NON_ALPHANUMERIC)
        );
        others.chain([changed]).collect::<Vec<_>>().join("&")
    }
}

/// A name or a value, as HTML forms encode it: a plus sign stands for a space.
fn decode(text: &str) -> Vec<u8> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).collect()
}

/// The parameters of a query, and the violations found so far. A parameter whose value is refused has its default value
/// until [`Parameters::into_result`] refuses all of them together.
pub struct Parameters<'a> {
    query: &'a Query,
    violations: Vec<Violation>,
}

impl<'a> Parameters<'a> {
    /// The parameters of a query.
    pub fn new(query: &'a Query) -> Self {
        Self {
            query,
            violations: Vec::new(),
        }
    }

    /// A parameter that may be given once. The rule gets its text as JSON.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        rule: impl Fn(&RawValue) -> Result<T, RuleError>,
    ) -> Option<T> {
        match self.query.values(name).as_slice() {
            [] => None,
            [value] => self.read(name, value, &rule),
            [.., last] => {
                let error = RuleError::value_error("the parameter is given more than once");
                self.refuse(name, error, &String::from_utf8_lossy(last));
                None
            }
        }
    }

    /// A parameter that may be given several times: its values in their order; empty where it is not given.
    pub fn repeated<T>(
        &mut self,
        name: &'static str,
        rule: impl Fn(&RawValue) -> Result<T, RuleError>,
    ) -> Vec<T> {
        let values = self.query.values(name);
        values
            .iter()
            .filter_map(|value| self.read(name, value, &rule))
            .collect()
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        value: &[u8],
        rule: impl Fn(&RawValue) -> Result<T, RuleError>,
    ) -> Option<T> {
        let text = String::from_utf8_lossy(value);
        let read = match &text {
            Cow::Borrowed(text) => rule(&json_string(text)),
            Cow::Owned(_) => Err(RuleError::value_error("the text is not UTF-8")),
        };
        read.map_err(|error| self.refuse(name, error, &text)).ok()
    }

    /// Whether no rule is broken so far.
    pub fn is_valid(&self) -> bool {
        self.violations.is_empty()
    }

    fn refuse(&mut self, name: &'static str, error: RuleError, input: &str) {
        self.violations
            .push(Violation::in_query(name, error, input));
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
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::validation::testing::violations;
    use crate::validation::text;

    fn query(text: &str) -> Query {
        Query::new(text.to_owned())
    }

    proptest! {
        #[test]
        fn a_link_repeats_every_parameter_and_replaces_one(
            pairs in proptest::collection::vec(("[a-c]|\\PC{1,4}", any::<String>()), 0..5),
            value in any::<String>(),
        ) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let sent: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
            let link = query(&sent.join("&")).with("a", &value);
            prop_assert!(link.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte)));
            let link = query(&link);
            prop_assert_eq!(link.values("a"), vec![value.into_bytes()]);
            for (name, _) in &pairs {
                if name != "a" {
                    let values: Vec<_> = pairs.iter().filter(|pair| pair.0 == *name).map(|pair| pair.1.clone().into_bytes()).collect();
                    prop_assert_eq!(link.values(name), values);
                }
            }
        }

        #[test]
        fn any_text_is_a_query(text in any::<String>()) {
            let link = query(&text).with("cursor", "c");
            prop_assert!(link.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(query(&link).values("cursor"), vec![b"c".to_vec()]);
        }
    }

    #[test]
    fn values_are_decoded_as_a_form_encodes_them() {
        let query = query("q=a+b%2Bc%26&q=&q&%71=%C3%A4%zz&x=1");
        let values: Vec<_> = query
            .values("q")
            .iter()
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect();
        assert_eq!(values, ["a b+c&", "", "", "ä%zz"]);
        assert!(query.values("").is_empty());
    }

    #[test]
    fn every_broken_parameter_is_named() {
        let query = query("a=&b=1&b=2&c=%FF&d=ok&e=x&e=&e=y");
        let mut parameters = Parameters::new(&query);
        for name in ["a", "b", "c", "d"] {
            parameters.optional(name, text(1, 2));
        }
        assert_eq!(parameters.repeated("e", text(1, 2)), ["x", "y"]);
        assert_eq!(parameters.optional("f", text(1, 2)), None);
        let error = violations(&parameters.into_result(()).expect_err("refused"));
        let found: Vec<_> = (0..4)
            .map(|index| {
                json!([
                    error[index]["type"],
                    error[index]["loc"][1],
                    error[index]["input"]
                ])
            })
            .collect();
        assert_eq!(
            json!(found),
            json!([
                ["string_too_short", "a", ""],
                ["value_error", "b", "2"],
                ["value_error", "c", "\u{fffd}"],
                ["string_too_short", "e", ""]
            ])
        );
    }
}
