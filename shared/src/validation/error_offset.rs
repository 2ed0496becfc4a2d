//! Where a text stops being JSON, as Python's `json` module reports it: the legacy service used it, and clients see the
//! offset in a 422. The parser in use here reports other offsets within words, strings and numbers.

/// What the grammar allows next.
#[derive(Clone, Copy)]
enum Expect {
    Value,
    /// A value, or the end of an array that is empty so far.
    FirstItem,
    /// A member's name, or the end of an object that is empty so far.
    FirstName,
    Name,
    /// What follows a value: a comma, an end, or nothing more.
    AfterValue,
}

/// The byte offset of the first syntax error in a text that is not JSON; its length, where it ends too early.
pub(super) fn error_offset(text: &str) -> usize {
    let text = text.as_bytes();
    let mut open = Vec::new();
    let mut expect = Expect::Value;
    let mut at = 0;
    loop {
        at = skip_space(text, at);
        let next = text.get(at).copied();
        let end = match (expect, next) {
            (Expect::Value | Expect::FirstItem, Some(b'{')) => {
                open.push(b'}');
                expect = Expect::FirstName;
                Ok(at + 1)
            }
            (Expect::Value | Expect::FirstItem, Some(b'[')) => {
                open.push(b']');
                expect = Expect::FirstItem;
                Ok(at + 1)
            }
            (Expect::FirstItem, Some(b']'))
            | (Expect::FirstName, Some(b'}'))
            | (Expect::AfterValue, Some(b']' | b'}'))
                if open.last().copied() == next =>
            {
                open.pop();
                expect = Expect::AfterValue;
                Ok(at + 1)
            }
            (Expect::Value | Expect::FirstItem, _) => {
                expect = Expect::AfterValue;
                scalar(text, at)
            }
            (Expect::FirstName | Expect::Name, Some(b'"')) => {
                expect = Expect::Value;
                string(text, at)
                    .map(|end| skip_space(text, end))
                    .and_then(|colon| literal(text, colon, b":"))
            }
            (Expect::AfterValue, Some(b',')) if !open.is_empty() => {
                expect = if open.last() == Some(&b'}') {
                    Expect::Name
                } else {
                    Expect::Value
                };
                Ok(at + 1)
            }
            _ => Err(at),
        };
        match end {
            Ok(end) => at = end,
            Err(stop) => return stop,
        }
    }
}

pub(super) fn skip_space(text: &[u8], start: usize) -> usize {
    run(text, start, |byte| {
        matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    })
}

/// The end of a run of bytes that satisfy a condition.
pub(super) fn run(text: &[u8], start: usize, kind: impl Fn(u8) -> bool) -> usize {
    text[start..]
        .iter()
        .position(|byte| !kind(*byte))
        .map_or(text.len(), |length| start + length)
}

/// The end of a value that is neither array nor object, or the offset of the error.
fn scalar(text: &[u8], start: usize) -> Result<usize, usize> {
    match text.get(start) {
        Some(b'"') => string(text, start),
        Some(b't') => literal(text, start, b"true"),
        Some(b'f') => literal(text, start, b"false"),
        Some(b'n') => literal(text, start, b"null"),
        _ => number(text, start),
    }
}

fn literal(text: &[u8], start: usize, word: &[u8]) -> Result<usize, usize> {
    if text[start..].starts_with(word) {
        Ok(start + word.len())
    } else {
        Err(start)
    }
}

/// The end of the longest number: `1.` is the number 1 and then a syntax error.
fn number(text: &[u8], start: usize) -> Result<usize, usize> {
    let digits = |from| run(text, from, |byte| byte.is_ascii_digit());
    let first = start + usize::from(text.get(start) == Some(&b'-'));
    let mut end = match text.get(first) {
        Some(b'0') => first + 1,
        Some(b'1'..=b'9') => digits(first),
        _ => return Err(start),
    };
    if text.get(end) == Some(&b'.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        if exponent <= text.len() && digits(exponent) > exponent {
            end = digits(exponent);
        }
    }
    Ok(end)
}

/// The end of a string, or the offset of the error: the start of a string that is not closed, the backslash of a bad escape
/// (the `u` of a bad `\\u` escape), a control character itself.
pub(super) fn string(text: &[u8], start: usize) -> Result<usize, usize> {
    let mut at = start + 1;
    loop {
        at = run(text, at, |byte| {
            byte >= b' ' && byte != b'"' && byte != b'\\'
        });
        match (text.get(at), text.get(at + 1)) {
            (Some(b'"'), _) => return Ok(at + 1),
            (None, _) | (Some(b'\\'), None) => return Err(start),
            (Some(b'\\'), Some(b'u')) => {
                let digits = run(text, at + 2, |byte| byte.is_ascii_hexdigit()) - (at + 2);
                if digits < 4 {
                    return Err(at + 1);
                }
                at += 6;
            }
            (Some(b'\\'), Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            _ => return Err(at),
        }
    }
}
