//! Personal tokens: opaque texts for scripts and automations.
//!
//! A token is `todo_`, the letter of its scope, the user's id, and 256 random bits: `todo_w_7_…`. Its SHA-256 is the
//! `token_jti` of its session, and that row decides whether it is valid. So nobody can change the scope or the user id in
//! the text without losing the row.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use super::error::{Error, random_bytes};

/// What every personal token begins with. Secret scanners look for it. No JWT begins with it: its first part is base64 of
/// a text that begins with `{`.
const PREFIX: &str = "todo_";

/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;

/// The characters of the random bytes in base64, without padding.
const RANDOM_CHARACTERS: usize = (RANDOM_BYTES * 4).div_ceil(3);

/// What a personal token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Read and write the user's tasks.
    #[default]
    Tasks,
    /// Read the user's tasks.
    TasksRead,
}

impl Scope {
    /// The scope with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Tasks, Self::TasksRead]
            .into_iter()
            .find(|scope| scope.name() == name)
    }

    /// The name in bodies and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::TasksRead => "tasks:read",
        }
    }

    fn letter(self) -> &'static str {
        match self {
            Self::Tasks => "w",
            Self::TasksRead => "r",
        }
    }

    /// Whether a token with this scope may do what needs the other one.
    pub fn includes(self, needed: Self) -> bool {
        self == Self::Tasks || self == needed
    }
}

/// A new personal token, and what its session row stores of it.
pub struct IssuedPersonalToken {
    /// The token itself. Only its owner gets it, once.
    pub text: SecretString,
    /// Identifies the session: the SHA-256 of the token, in hex.
    pub hash: String,
}

/// A new personal token for a user.
///
/// # Errors
/// [`Error::Fault`] where the system has no randomness.
pub fn issue(user_id: i32, scope: Scope) -> Result<IssuedPersonalToken, Error> {
    let random = URL_SAFE_NO_PAD.encode(random_bytes::<RANDOM_BYTES>()?);
    let text = SecretString::from(format!("{PREFIX}{}_{user_id}_{random}", scope.letter()));
    Ok(IssuedPersonalToken {
        hash: hash(text.expose_secret()),
        text,
    })
}

/// Whether a token claims to be a personal one.
pub fn is_personal(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// The caller and the scope that a personal token names. Only the lookup of the session tells whether they are true.
///
/// # Errors
/// [`Error::InvalidToken`] where it is malformed.
pub fn parse(token: &str) -> Result<(Caller, Scope), Error> {
    let (scope, user_id) = named(token).ok_or(Error::InvalidToken)?;
    let caller = Caller {
        user_id,
        session: hash(token),
    };
    Ok((caller, scope))
}

fn named(token: &str) -> Option<(Scope, i32)> {
    let (letter, rest) = token.strip_prefix(PREFIX)?.split_once('_')?;
    let (user_id, random) = rest.split_once('_')?;
    let scope = [Scope::Tasks, Scope::TasksRead]
        .into_iter()
        .find(|scope| scope.letter() == letter)?;
    let id: i32 = user_id.parse().ok()?;
    let is_base64 = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
    // The id has one spelling.
    let is_canonical = id > 0 && id.to_string() == user_id;
    let is_random = random.len() == RANDOM_CHARACTERS && random.bytes().all(is_base64);
    (is_canonical && is_random).then_some((scope, id))
}

fn hash(token: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(token.as_bytes()))
}

/// Whether a `jti` of a signed token could be the hash of a personal token.
pub(crate) fn could_be_hash(jti: &str) -> bool {
    jti.len() == 64 && jti.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> String {
        format!("todo_w_7_{}", "aB3-_".repeat(9).split_at(43).0)
    }

    #[test]
    fn an_issued_token_names_its_user_and_scope() {
        for scope in [Scope::Tasks, Scope::TasksRead] {
            let issued = issue(i32::MAX, scope).expect("a token");
            let text = issued.text.expose_secret();
            let (caller, found) = parse(text).expect("a token");
            assert_eq!((caller.user_id, found), (i32::MAX, scope));
            assert_eq!(caller.session, issued.hash);
            assert!(could_be_hash(&issued.hash));
            let other = issue(i32::MAX, scope).expect("a token");
            assert_ne!(text, other.text.expose_secret());
        }
        let issued = issue(7, Scope::TasksRead).expect("a token");
        assert!(issued.text.expose_secret().starts_with("todo_r_7_"));
    }

    #[test]
    fn a_malformed_token_is_refused() {
        let good = example();
        assert!(parse(&good).is_ok(), "{good}");
        for bad in [
            good.replace("todo_", ""),
            good.replace("todo_", "TODO_"),
            good.replace("_w_", "_W_"),
            good.replace("_w_", "_x_"),
            good.replace("_w_", "__"),
            good.replace("_7_", "_07_"),
            good.replace("_7_", "_+7_"),
            good.replace("_7_", "_-7_"),
            good.replace("_7_", "_0_"),
            good.replace("_7_", "__"),
            good.replace("_7_", "_2147483648_"),
            good.replace("_7_", "_\u{ff17}_"),
            format!("{good}a"),
            format!("{good} "),
            format!("{good}="),
            good[..good.len() - 1].to_owned(),
            good.replace('B', "+"),
            good.replace('B', "\u{e9}"),
            "todo_".to_owned(),
            "todo_w".to_owned(),
            "todo_w_7".to_owned(),
            "todo_w_7_".to_owned(),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scope_to_write_includes_reading() {
        assert!(Scope::Tasks.includes(Scope::TasksRead));
        assert!(Scope::Tasks.includes(Scope::Tasks));
        assert!(Scope::TasksRead.includes(Scope::TasksRead));
        assert!(!Scope::TasksRead.includes(Scope::Tasks));
    }

    proptest! {
        #[test]
        fn a_changed_token_has_another_session(index in 0_usize..52, letter in "[a-zA-Z0-9_-]") {
            let good = example();
            let mut changed = good.clone();
            changed.replace_range(index..=index, &letter);
            let session = |token: &str| parse(token).map(|(caller, _)| caller.session);
            if changed != good {
                prop_assert_ne!(session(&changed).ok(), session(&good).ok());
            }
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in "(todo_)?[wr]?_?[0-9]{0,12}_?\\PC{0,60}") {
            if let Ok((caller, scope)) = parse(&text) {
                let start = format!("todo_{}_{}_", scope.letter(), caller.user_id);
                prop_assert!(text.starts_with(&start) && text.len() == start.len() + 43);
            }
        }
    }
}
