//! Access tokens: JWTs, signed with HS256 under `SECRET_KEY` (RFC 7519, RFC 8725).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::caller::Caller;
use super::error::{Error, random_bytes};
use super::hs256;
use crate::cause::Cause;
use crate::settings::Settings;

/// How far ahead of this machine's clock the one that issued a token may be.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Random bytes of a `jti`.
const JTI_BYTES: usize = 16;

/// Issues access tokens and verifies them.
pub struct Tokens {
    signing_key: EncodingKey,
    /// The current key and, while a rotation lasts, the previous one.
    accepted_keys: Vec<DecodingKey>,
    validation: Validation,
    lifetime: Duration,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tokens")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// A token, as the answer to its owner shows it.
#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the client knows the token by this name"
)]
pub struct AccessToken {
    access_token: String,
    token_type: &'static str,
    user_id: String,
}

/// A new token, and what its session row stores of it.
pub struct IssuedToken {
    /// The token itself. Only its owner gets it.
    pub access_token: AccessToken,
    /// Identifies the session.
    pub jti: String,
    /// The SHA-256 of the token, in hex.
    pub fingerprint: String,
    /// When it expires, in seconds since 1970.
    pub expires_at: i64,
}

/// What a token calls its user.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The email address.
    pub email: String,
    /// The username.
    pub username: String,
}

#[derive(Serialize)]
struct IssuedClaims<'a> {
    sub: String,
    email: &'a str,
    username: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
}

/// The claims that are read back; `exp`, `nbf` and an `aud` that is a text or a list of them are the library's to check.
#[derive(Deserialize)]
struct ReadClaims {
    sub: String,
    jti: String,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    aud: Option<IgnoredAny>,
}

impl Tokens {
    /// With the keys of the settings.
    pub fn new(settings: &Settings) -> Self {
        // Only the first time; later ones find the same.
        let _ = hs256::PROVIDER.install_default();
        let current = settings.secret_key.expose_secret().as_bytes();
        let previous = settings
            .previous_secret_key
            .as_ref()
            .map(|key| key.expose_secret().as_bytes());
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        Self {
            signing_key: EncodingKey::from_secret(current),
            accepted_keys: std::iter::once(current)
                .chain(previous)
                .map(DecodingKey::from_secret)
                .collect(),
            validation,
            lifetime: settings.token_lifetime,
        }
    }

    /// A new token for a user, valid from `now` on.
    ///
    /// # Errors
    /// [`Error::Fault`] where the system has no randomness or the clock stands before 1970.
    pub fn issue(
        &self,
        user_id: i32,
        names: &Names,
        now: SystemTime,
    ) -> Result<IssuedToken, Error> {
        self.issue_until(user_id, names, now, i64::MAX)
    }

    /// The same, but the token expires at `latest` (in seconds since 1970) at the latest.
    ///
    /// # Errors
    /// As for [`Tokens::issue`].
    pub fn issue_until(
        &self,
        user_id: i32,
        names: &Names,
        now: SystemTime,
        latest: i64,
    ) -> Result<IssuedToken, Error> {
        let jti = URL_SAFE_NO_PAD.encode(random_bytes::<JTI_BYTES>()?);

        let iat = unix_seconds(now)?;
        let exp = iat + self.lifetime.as_secs();
        let exp = exp.min(latest.try_into().unwrap_or_default());
        let claims = IssuedClaims {
            sub: user_id.to_string(),
            email: &names.email,
            username: &names.username,
            iat,
            exp,
            jti: &jti,
        };
        let access_token = jsonwebtoken::encode(&Header::default(), &claims, &self.signing_key)
            .map_err(|error| Cause::from_error("signing a token", error))?;
        Ok(IssuedToken {
            fingerprint: base16ct::lower::encode_string(&Sha256::digest(access_token.as_bytes())),
            access_token: AccessToken {
                access_token,
                token_type: "bearer",
                user_id: user_id.to_string(),
            },
            jti,
            expires_at: exp
                .try_into()
                .map_err(|_| Cause::new("a token lives too long"))?,
        })
    }

    /// The caller that a token names, if the token is one of ours and valid now.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], whatever is wrong with it.
    pub fn verify(&self, token: &str) -> Result<Caller, Error> {
        let claims = self.decode(token).ok_or(Error::InvalidToken)?;
        let now = unix_seconds(SystemTime::now())?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 fit a float's mantissa for ages"
        )]
        if claims
            .iat
            .is_some_and(|iat| iat > (now + CLOCK_SKEW.as_secs()) as f64)
        {
            return Err(Error::InvalidToken);
        }
        // Our tokens have no audience, and PostgreSQL's texts have no NUL.
        if claims.aud.is_some() || claims.jti.contains('\0') {
            return Err(Error::InvalidToken);
        }
        if !has_plain_header(token) {
            return Err(Error::InvalidToken);
        }
        let user_id = claims.sub.parse().map_err(|_| Error::InvalidToken)?;
        Ok(Caller {
            user_id,
            session: claims.jti,
        })
    }

    /// What a verified token calls its user. Tokens of other programs that have the key may lack the names.
    pub fn names(token: &str) -> Names {
        let payload = token.split('.').nth(1).unwrap_or_default();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        let claims: Value = serde_json::from_slice(&payload).unwrap_or_default();
        let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
        Names {
            email: text("email"),
            username: text("username"),
        }
    }

    fn decode(&self, token: &str) -> Option<ReadClaims> {
        for key in &self.accepted_keys {
            match jsonwebtoken::decode::<ReadClaims>(token, key, &self.validation) {
                Ok(token) => return Some(token.claims),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(_) => return None,
            }
        }
        None
    }
}

/// Whether a token's header asks for no extension. `crit` names those that a recipient has to understand, and none is
/// known here (RFC 7515, 4.1.11); `b64` is one that a JWT must not use (RFC 7797, 7). The library ignores both.
fn has_plain_header(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    serde_json::from_slice::<Map<String, Value>>(&header)
        .is_ok_and(|members| !members.contains_key("crit") && !members.contains_key("b64"))
}

fn unix_seconds(time: SystemTime) -> Result<u64, Error> {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map(|since| since.as_secs())
        .map_err(|error| Cause::from_error("the clock", error).into())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde_json::json;

    use super::*;

    const KEY: &str = "a key that is long enough for anyone";

    /// Every character that may stand in a token, and some that may not.
    const LETTERS: &str =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\u{e9}";

    fn tokens() -> Tokens {
        let settings = Settings::from_lookup(&|name| {
            let value = match name {
                "DATABASE_URL" => "postgresql://u:p@ep-1.neon.tech/d",
                "SECRET_KEY" => KEY,
                _ => return None,
            };
            Some(value.to_owned())
        });
        Tokens::new(&settings.expect("good settings"))
    }

    /// Seconds since 1970, of a type that a float can hold.
    fn now() -> u32 {
        let now = unix_seconds(SystemTime::now()).expect("a time after 1970");
        now.try_into().expect("a time before 2106")
    }

    fn good_token() -> String {
        let issued = tokens().issue(7, &names(), SystemTime::now());
        issued.expect("a token").access_token.access_token
    }

    fn names() -> Names {
        Names {
            email: "ada@example.com".to_owned(),
            username: "ada".to_owned(),
        }
    }

    fn signed(header: &Value, claims: &Value) -> String {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(
            message.as_bytes(),
            &EncodingKey::from_secret(KEY.as_bytes()),
            Algorithm::HS256,
        );
        format!("{message}.{}", signature.expect("a signature"))
    }

    /// Values that a claim may have, and others.
    fn claims() -> impl Strategy<Value = Map<String, Value>> {
        let now = now();
        let times = select(vec![
            json!(now - 60),
            json!(now + 600),
            json!(f64::from(now) + 300.5),
        ]);
        let texts = select(vec![
            "7",
            "-7",
            "+7",
            "07",
            "",
            "a",
            "7 ",
            "\u{ff17}",
            "99999999999",
        ]);
        let others = select(vec![
            json!(null),
            json!(7),
            json!(-1),
            json!(1e300),
            json!([]),
            json!(["7"]),
            json!({}),
        ]);
        let value = || {
            prop_oneof![
                times.clone(),
                texts.clone().prop_map(Value::from),
                others.clone()
            ]
        };
        let names = ["sub", "exp", "jti", "iat", "nbf", "aud", "iss"];
        names
            .map(|name| {
                let good = match name {
                    "sub" | "jti" => Some(json!("7")),
                    "exp" => Some(json!(now + 600)),
                    "iat" | "nbf" => Some(json!(now)),
                    _ => None,
                };
                let value =
                    prop_oneof![6 => Just(good), 1 => value().prop_map(Some), 1 => Just(None)];
                value.prop_map(move |value| Some((name.to_owned(), value?)))
            })
            .prop_map(|claims| claims.into_iter().flatten().collect())
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_not_a_token(text in any::<String>(), parts in vec("[A-Za-z0-9_=-]{0,40}", 0..5)) {
            let tokens = tokens();
            prop_assert!(tokens.verify(&text).is_err());
            prop_assert!(tokens.verify(&parts.join(".")).is_err());
        }

        #[test]
        fn an_altered_token_is_refused(
            changes in vec((any::<Index>(), select(LETTERS.chars().collect::<Vec<_>>()), 0..5), 1..3)
        ) {
            let token = good_token();
            let mut changed: Vec<char> = token.chars().collect();
            for (at, letter, change) in changes {
                let at = at.index(changed.len());
                match change {
                    0 => changed.insert(at, letter),
                    1 => drop(changed.remove(at)),
                    2 => changed.truncate(at.max(1)),
                    3 => *changed.last_mut().expect("a character") = letter,
                    _ => changed[at] = letter,
                }
            }
            let changed: String = changed.into_iter().collect();
            prop_assert_eq!(tokens().verify(&changed).is_ok(), changed == token, "{}", changed);
        }

        #[test]
        fn a_token_is_accepted_only_with_valid_claims(claims in claims()) {
            let claims = Value::Object(claims);
            let header = json!({"alg": "HS256", "typ": "JWT"});
            let now = now();
            let time = |name| claims.get(name).and_then(Value::as_f64);
            let user_id = claims["sub"].as_str().and_then(|id| id.parse().ok());
            let session = claims["jti"].as_str();
            match tokens().verify(&signed(&header, &claims)) {
                Ok(found) => {
                    prop_assert_eq!((Some(found.user_id), Some(found.session.as_str())), (user_id, session));
                    prop_assert!(time("exp") >= Some(f64::from(now)), "{}", claims);
                    prop_assert!(time("iat") <= Some(f64::from(now + 61)) && time("nbf") <= Some(f64::from(now + 1)), "{}", claims);
                    prop_assert!(claims["aud"].is_null(), "{}", claims);
                }
                Err(error) => {
                    prop_assert!(matches!(error, Error::InvalidToken));
                    // It lacks something, then, or says something that a token of ours would not.
                    let past = 0.0..=f64::from(now);
                    let typical = ["iat", "nbf"].iter().all(|name| time(name).is_some_and(|time| past.contains(&time)))
                        && time("exp").is_some_and(|exp| exp >= f64::from(now + 60) && exp <= f64::from(now + 1_000))
                        && ["aud", "iss"].iter().all(|name| claims.get(*name).is_none());
                    prop_assert!(!(typical && user_id.is_some() && session.is_some()), "{}", claims);
                }
            }
        }

        #[test]
        fn a_header_cannot_choose_another_algorithm(
            name in select(vec!["alg", "typ", "kid", "jku", "jwk", "crit", "b64", "x5c", "enc", "x-new"]),
            value in select(vec![
                json!("none"), json!("None"), json!("HS384"), json!("RS256"), json!(""), json!(null), json!(1), json!([]),
                json!(["exp"]), json!(["b64"]), json!(false), json!({}), json!("a".repeat(10_000)),
            ]),
        ) {
            let mut header = json!({"alg": "HS256", "typ": "JWT"});
            let now = now();
            let claims = json!({"sub": "7", "jti": "a", "exp": now + 600});
            header[name] = value;
            let found = tokens().verify(&signed(&header, &claims));
            // The signature is ours all the same: only another algorithm has to be refused, and an extension.
            prop_assert!(!["alg", "crit", "b64"].contains(&name) || found.is_err(), "{}", header);
            prop_assert!(name != "x-new" || found.is_ok(), "{}", header);
        }

        #[test]
        fn a_nul_in_a_session_is_no_session(before in "[ -~]{0,5}", after in "[ -~]{0,5}") {
            let jti = format!("{before}\0{after}");
            let claims = json!({"sub": "7", "jti": jti, "exp": now() + 600});
            let header = json!({"alg": "HS256", "typ": "JWT"});
            prop_assert!(tokens().verify(&signed(&header, &claims)).is_err());
        }
    }
}
