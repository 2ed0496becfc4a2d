//! `SECRET_KEY` and `SECRET_KEY_PREVIOUS`: keys that anyone can know are refused.

use std::collections::HashSet;

use secrecy::SecretString;

use crate::config_errors::ConfigErrors;
use crate::setting_text::{check_visible, count_without, is_quote, letters_and_digits};

/// The shortest `SECRET_KEY` that is accepted, in bytes: the length of the output of HS256 (RFC 7518, 3.2).
const MIN_BYTES: usize = 32;

/// Keys that documents and programs publish: FastAPI's tutorial, jwt.io, Supabase, RFC 7515 (A.1), Flask, PostgREST, Hasura,
/// Better Auth, and a tutorial for Spring.
const PUBLISHED_KEYS: [&str; 13] = [
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    "your-256-bit-secret",
    "a-string-secret-at-least-256-bits-long",
    "qwertyuiopasdfghjklzxcvbnm123456",
    "super-secret-jwt-token-with-at-least-32-characters-long",
    "UpNVntn3cDxHJpq99YMc1T1AQgQpc8kfYTuRgBiYa15BLrx8etQoXz3gZv1/u2oq",
    "37c304f8-51aa-419a-a1af-06154e63707a",
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    "reallyreallyreallyreallyverysafe",
    "3EK6FD+o0+c7tzBNVfjpMkNDi2yARAAKzQlk8O2IKoxQu4nF7EdAh8s3TwpHwrdWT6R",
    "better-auth-secret-123456789",
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
];

/// What the authors of placeholders ask for. `your-super-secret-key` was the default of the legacy service.
#[rustfmt::skip]
const REQUESTS_TO_REPLACE: [&str; 22] = [
    "changeme", "changethis", "changeit", "changeby", "changebefore", "changein", "replaceme", "replacethis",
    "replaceit", "replacewith", "replacein", "tobechanged", "tobemodified", "tobereplaced", "placeholder",
    "yoursecret", "yoursuper", "yourjwt", "yourkey", "insecure", "donotuse", "opensslrand",
];

/// Words that placeholders are made of.
#[rustfmt::skip]
const WORDS: [&str; 60] = [
    "app", "auth", "backend", "bits", "bytes", "change", "characters", "chars", "default", "demo", "dev",
    "development", "dummy", "enter", "example", "for", "generate", "here", "hmac", "hs256", "insert", "is", "jwt",
    "key", "least", "local", "long", "minimum", "my", "now", "password", "paste", "please", "private", "prod",
    "production", "put", "random", "safe", "sample", "secret", "secure", "session", "sha256", "sign", "signing",
    "some", "staging", "string", "super", "test", "the", "this", "todo", "token", "value", "very", "with", "you",
    "your",
];

/// How many letters and digits a key has to have besides these words: fewer are too few for a secret.
const MIN_OTHER_CHARACTERS: usize = 12;

/// The longest text that is found to be repeated over and over.
const MAX_REPEATED: usize = 12;

/// The fewest different characters.
const MIN_DIFFERENT_CHARACTERS: usize = 5;

const ADVICE: &str =
    "Set it to at least 32 random bytes, for example the output of `openssl rand -hex 32`.";

/// The key that signs.
///
/// # Errors
/// The problem.
pub(super) fn current(key: Option<String>) -> Result<SecretString, ConfigErrors> {
    let Some(key) = key else {
        return Err(format!("SECRET_KEY is missing. {ADVICE}").into());
    };
    check("SECRET_KEY", &key, ADVICE)?;
    let problem = if key.len() < MIN_BYTES {
        format!("is too short ({} bytes)", key.len())
    } else if is_repeated(&key) {
        "is the same few characters over and over".to_owned()
    } else {
        return Ok(key.into());
    };
    Err(format!("SECRET_KEY {problem}. {ADVICE}").into())
}

/// A key that signed until the last rotation. It may be short, as those of the legacy service were allowed to be.
///
/// # Errors
/// The problem.
pub(super) fn previous(key: Option<String>) -> Result<Option<SecretString>, ConfigErrors> {
    let advice = "Leave it out: anyone could sign tokens with it. Users then have to log in again.";
    key.map(|key| check("SECRET_KEY_PREVIOUS", &key, advice).map(|()| key.into()))
        .transpose()
}

fn check(name: &str, key: &str, advice: &str) -> Result<(), ConfigErrors> {
    check_visible(name, key)?;
    // One quote alone may be a part of a random text.
    if key.chars().count() > 1 && key.starts_with(is_quote) && key.ends_with(is_quote) {
        return Err(format!(
            "{name} is in quotes, which are a part of its value. Write it without quotes."
        )
        .into());
    }
    let problem = if is_published(key) {
        "is a key that anyone can read in public documentation"
    } else if is_placeholder(key) {
        "is a placeholder that anyone can guess"
    } else {
        return Ok(());
    };
    Err(format!("{name} {problem}. {advice}").into())
}

fn is_published(key: &str) -> bool {
    let key = letters_and_digits(key);
    PUBLISHED_KEYS
        .iter()
        .any(|published| key.contains(&letters_and_digits(published)))
}

fn is_placeholder(key: &str) -> bool {
    let text = letters_and_digits(key);
    let others = count_without(&WORDS, key);
    // A short key, of the legacy service, has few other characters anyway.
    let too_few = if key.len() < MIN_BYTES {
        1
    } else {
        MIN_OTHER_CHARACTERS
    };
    let has_words = WORDS.iter().any(|word| text.contains(word));
    REQUESTS_TO_REPLACE
        .iter()
        .any(|request| text.contains(request))
        || (has_words && others < too_few)
}

fn is_repeated(key: &str) -> bool {
    let different: HashSet<char> = key.chars().collect();
    let repeats = |length| {
        key.bytes()
            .skip(length)
            .eq(key.bytes().take(key.len() - length))
    };
    different.len() < MIN_DIFFERENT_CHARACTERS || (1..=MAX_REPEATED).any(repeats)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(key: &str) -> Option<String> {
        let problem = current(Some(key.to_owned())).err()?.to_string();
        assert!(!problem.contains(key), "the key is in: {problem}");
        Some(problem)
    }

    #[test]
    fn published_keys_are_refused_in_any_spelling() {
        for key in PUBLISHED_KEYS {
            for key in [
                key.to_owned(),
                key.to_uppercase(),
                key.replace('-', "_"),
                format!("x{key}{key}"),
            ] {
                assert!(problem(&key).is_some(), "{key}");
            }
        }
    }

    #[test]
    fn placeholders_are_refused_in_any_spelling() {
        for key in [
            "your-super-secret-key-change-this-in-production",
            "change_me_change_me_change_me_change_me",
            "ChangeMe-5f2c8d1e9b7a4f60a1b2c3d4e5f60718",
            "CHANGE THIS TO A LONG RANDOM STRING PLEASE",
            "my_super_secret_jwt_key_12345678901234567890",
            "secret_key_for_development_only_please",
            "todo-app-development-jwt-secret-key",
            "this_is_my_very_long_jwt_signing_secret_string",
            "replace-with-a-random-string-of-32-characters",
            "django-insecure-9f$k2l#m3n4b5v6c7x8z9a1s2d3f4g5h6j7",
            "openssl rand -hex 32 openssl rand -hex 32",
            "<your secret key here, at least 32 characters>",
            "super_secret_key_super_secret_key_super",
        ] {
            assert!(
                problem(key).is_some_and(|problem| problem.contains("placeholder")),
                "{key}"
            );
        }
    }

    #[test]
    fn keys_without_randomness_are_refused() {
        for key in [
            "00000000000000000000000000000000",
            "abcabcabcabcabcabcabcabcabcabcabcabc",
            "deadbeefdeadbeefdeadbeefdeadbeef",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
            "12345678901234567890123456789012",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(problem(key).is_some(), "{key}");
        }
    }

    #[test]
    fn keys_that_nobody_can_guess_are_accepted() {
        for key in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "3q2+7wAVk0nTq1xYh7dLr5sJ8mPzC4bEoUiFgKwN6vM=",
            "todo-prod-secret-9f86d081884c7d659a2feaa0c55ad015",
            "correct horse battery staple orchid velvet",
            "a key that only this test uses, long enough",
            "a key that is long enough for anyone",
            "'5xT%k#9@Lm!2q&Wz7^Bv*Rj4(Hd)8=Np",
        ] {
            assert_eq!(problem(key), None, "{key}");
        }
    }

    #[test]
    fn a_previous_key_may_be_short_but_not_public() {
        for (key, is_accepted) in [
            (None, true),
            (Some("the legacy service's"), true),
            (Some("x"), true),
            (Some("changeme"), false),
            (Some("secret"), false),
            (
                Some("your-super-secret-key-change-this-in-production"),
                false,
            ),
            (Some("\"a legacy key\""), false),
            (Some("a\u{200b}b"), false),
        ] {
            assert_eq!(
                previous(key.map(str::to_owned)).is_ok(),
                is_accepted,
                "{key:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn random_keys_are_accepted(bytes in any::<[u8; 32]>()) {
            use base64::Engine as _;
            prop_assert_eq!(problem(&base16ct::lower::encode_string(&bytes)), None);
            prop_assert_eq!(problem(&base64::engine::general_purpose::STANDARD.encode(bytes)), None);
        }
    }
}
