//! Conditional requests (RFC 9110, section 13): entity tags, `If-Match` and `If-None-Match`.

use lambda_http::http::HeaderValue;

use crate::validation::{InvalidInput, Violation};

/// A strong entity tag.
#[derive(Clone, Debug)]
pub struct EntityTag(HeaderValue);

impl EntityTag {
    /// A tag with this opaque text. Characters that a tag cannot have are left out.
    pub fn new(opaque: &str) -> Self {
        let opaque: String = opaque.chars().filter(|letter| is_opaque(*letter)).collect();
        let tag = HeaderValue::from_str(&format!("\"{opaque}\""));
        Self(tag.expect("visible ASCII characters"))
    }

    /// The value of the header `ETag`.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// The entity tags that a header names.
#[derive(Debug, PartialEq)]
pub enum EntityTags {
    /// `*`: every tag.
    Any,
    /// The opaque texts of these tags.
    Listed(Vec<String>),
}

/// How two tags are compared (RFC 9110, 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// `If-Match`: weak tags match nothing.
    Strong,
    /// `If-None-Match`: a weak tag matches like a strong one.
    Weak,
}

impl EntityTags {
    /// Whether this tag is among them.
    pub fn contain(&self, tag: &EntityTag) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags
                .iter()
                .any(|opaque| *tag.0.as_bytes() == *format!("\"{opaque}\"").as_bytes()),
        }
    }

    /// Reads the value of a header.
    ///
    /// # Errors
    /// [`InvalidInput`] where it is neither `*` nor a list of tags in quotes.
    pub(super) fn parse(
        name: &'static str,
        value: &str,
        comparison: Comparison,
    ) -> Result<Self, InvalidInput> {
        if value.trim() == "*" {
            return Ok(Self::Any);
        }
        let refuse = || {
            let message = "the value must be * or a list of entity tags in quotes";
            InvalidInput(vec![Violation::in_header(name, message, value)])
        };
        let mut tags = Vec::new();
        let mut rest = value.trim_matches(is_separator);
        while !rest.is_empty() {
            let (is_weak, tag) = match rest.strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, rest),
            };
            let (opaque, after) = tag
                .strip_prefix('"')
                .and_then(|tag| tag.split_once('"'))
                .ok_or_else(refuse)?;
            let is_separated = after.is_empty() || after.trim_start().starts_with(',');
            if !is_separated || !opaque.chars().all(is_opaque) {
                return Err(refuse());
            }
            if !is_weak || comparison == Comparison::Weak {
                tags.push(opaque.to_owned());
            }
            rest = after.trim_start_matches(is_separator);
        }
        if tags.is_empty() && !value.contains('"') {
            return Err(refuse());
        }
        Ok(Self::Listed(tags))
    }
}

/// Whether a character may stand between the tags of a list.
fn is_separator(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | ',')
}

/// Whether a tag can have this character. Clients may send other ones than we do.
fn is_opaque(letter: char) -> bool {
    letter == '!' || ('#'..='~').contains(&letter) || letter >= '\u{80}'
}
