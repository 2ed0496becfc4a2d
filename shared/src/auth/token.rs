//! Access tokens: JWTs, signed with HS256 under `SECRET_KEY` (RFC 7519, RFC 8725).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::error::Cause;
use crate::settings::Settings;

mod hs256;

/// How far ahead of this machine's clock the one that issued a token may be.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Random bytes in a session's name.
const JTI_BYTES: usize = 16;

/// Issues tokens, and tells its own from all others.
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

/// A token, as its owner gets it.
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

/// A new token and what its session row holds of it.
pub struct IssuedToken {
    /// The token itself, which only its owner gets.
    pub access_token: AccessToken,
    /// The session's name.
    pub jti: String,
    /// The SHA-256 of the token, in hex.
    pub fingerprint: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
}

/// What a token says of a caller.
#[derive(Debug, PartialEq)]
pub struct Claims {
    /// The user's id.
    pub user_id: i32,
    /// The session's name.
    pub session: String,
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
    /// A key ring from the settings.
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

    /// A new token for a user, good from `now` on.
    ///
    /// # Errors
    /// [`Error::Internal`] where the system has no randomness or the clock stands before 1970.
    pub fn issue(
        &self,
        user_id: i32,
        email: &str,
        username: &str,
        now: SystemTime,
    ) -> Result<IssuedToken, Error> {
        let jti = URL_SAFE_NO_PAD.encode(super::random::<JTI_BYTES>()?);

        let iat = unix_seconds(now)?;
        let exp = iat + self.lifetime.as_secs();
        let claims = IssuedClaims {
            sub: user_id.to_string(),
            email,
            username,
            iat,
            exp,
            jti: &jti,
        };
        let access_token = jsonwebtoken::encode(&Header::default(), &claims, &self.signing_key)
            .map_err(|error| Error::Internal(Cause::from_error("signing a token", &error)))?;
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
                .map_err(|_| Error::Internal(Cause::new("a token lives too long")))?,
        })
    }

    /// What a token says, if it is one of ours and valid now.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], whatever is wrong with it.
    pub fn verify(&self, token: &str) -> Result<Claims, Error> {
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
        // None of ours is for an audience.
        if claims.aud.is_some() {
            return Err(Error::InvalidToken);
        }
        let user_id = claims.sub.parse().map_err(|_| Error::InvalidToken)?;
        Ok(Claims {
            user_id,
            session: claims.jti,
        })
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

fn unix_seconds(time: SystemTime) -> Result<u64, Error> {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map(|since| since.as_secs())
        .map_err(|error| Error::Internal(Cause::from_error("the clock", &error)))
}
