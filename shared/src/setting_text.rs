//! The text of a setting: what a person cannot see in it, and what is only a placeholder.

use crate::config_errors::ConfigErrors;

/// Refuses a value that holds a character that cannot be seen, or begins or ends with a quote.
///
/// # Errors
/// The problem, in a sentence that does not repeat the value.
pub fn check_value(name: &str, value: &str) -> Result<(), ConfigErrors> {
    check_visible(name, value)?;
    if value.starts_with(is_quote) || value.ends_with(is_quote) {
        return Err(format!(
            "{name} begins or ends with a quote, which is a part of its value. Write the value without quotes."
        )
        .into());
    }
    Ok(())
}

/// Refuses a value that holds a character that cannot be seen: it was pasted, and is not what it seems to be.
///
/// # Errors
/// The problem, in a sentence that names the character.
pub fn check_visible(name: &str, value: &str) -> Result<(), ConfigErrors> {
    let Some(found) = value.chars().find(|character| is_unseen(*character)) else {
        return Ok(());
    };
    Err(if found == char::REPLACEMENT_CHARACTER {
        format!("{name} is not valid UTF-8. Write it in UTF-8.")
    } else {
        format!(
            "{name} holds a character that cannot be seen (U+{:04X}). Remove it, or type the value again.",
            u32::from(found)
        )
    }
    .into())
}

/// Whether a character is a quote, straight or curved. Programs for text replace one by the other.
pub fn is_quote(character: char) -> bool {
    matches!(
        character,
        '"' | '\'' | '`' | '\u{b4}' | '\u{ab}' | '\u{bb}' | '\u{2018}'
            ..='\u{201f}' | '\u{2039}' | '\u{203a}'
    )
}

/// Whether a character shows nothing, or stands for bytes that are not UTF-8. A plain space is seen.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || (character != ' ' && character.is_whitespace())
        || character == char::REPLACEMENT_CHARACTER
        // Default_Ignorable_Code_Point of Unicode 16, and the characters for annotations and an empty braille cell.
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The letters and digits of a text in lower case, so that `CHANGE-ME` and `change_me` are the same.
pub(crate) fn letters_and_digits(text: &str) -> String {
    text.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// How many letters and digits are left of a text without these words, each in lower case. Of digits that
/// count on, as in `1234`, and of characters that repeat, as in `xxxx`, only the first counts.
pub(crate) fn count_without(words: &[&str], text: &str) -> usize {
    let text = letters_and_digits(text);
    let mut rest = text.as_str();
    let mut left = 0;
    let mut last = None;
    while let Some(next) = rest.chars().next() {
        let found = words.iter().filter(|word| rest.starts_with(**word));
        if let Some(length) = found.map(|word| word.len()).max() {
            last = None;
            rest = &rest[length..];
            continue;
        }
        let counts_on = next
            .to_digit(10)
            .zip(last.and_then(|last: char| last.to_digit(10)));
        let goes_on = last == Some(next) || counts_on.is_some_and(|(next, last)| next == last + 1);
        left += usize::from(!goes_on);
        last = Some(next);
        rest = &rest[next.len_utf8()..];
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(value: &str) -> Option<String> {
        check_value("NAME", value)
            .err()
            .map(|errors| errors.to_string())
    }

    #[test]
    fn a_value_that_can_be_seen_is_accepted() {
        for value in [
            "a",
            "a b",
            "größe",
            "todo_app-1",
            "it's",
            "日本",
            "😀",
            "a\"b",
            "\\n",
        ] {
            assert_eq!(problem(value), None, "{value}");
        }
    }

    #[test]
    fn a_character_that_cannot_be_seen_is_named() {
        for (value, code) in [
            ("a\u{200b}", "U+200B"),
            ("\u{feff}a", "U+FEFF"),
            ("a\u{a0}b", "U+00A0"),
            ("a\nb", "U+000A"),
            ("a\tb", "U+0009"),
            ("a\u{7f}", "U+007F"),
            ("a\u{2028}", "U+2028"),
            ("a\u{202e}b", "U+202E"),
            ("a\u{ad}b", "U+00AD"),
            ("a\u{3164}", "U+3164"),
            ("a\u{e0041}", "U+E0041"),
        ] {
            assert!(
                problem(value).is_some_and(|problem| problem.contains(code)),
                "{code}"
            );
        }
        assert!(problem("a\u{fffd}").is_some_and(|problem| problem.contains("UTF-8")));
    }

    #[test]
    fn a_quote_around_a_value_is_refused() {
        for value in ["\"a\"", "'a'", "a'", "“a”", "`a`", "«a»", "\""] {
            assert!(
                problem(value).is_some_and(|problem| problem.contains("quote")),
                "{value}"
            );
        }
    }

    #[test]
    fn the_longest_word_is_left_out() {
        assert_eq!(
            count_without(&["pass", "password", "my"], "My_PASSWORD-x"),
            1
        );
        assert_eq!(count_without(&[], "äß 1"), 3);
        assert_eq!(count_without(&["key"], "key-1234567890-xxxx"), 3);
        assert_eq!(count_without(&["a"], ""), 0);
    }
}
