//! Tokens as anyone can make them: JWTs (RFC 7519), put together by hand.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

/// The header of a token that is signed by this algorithm.
pub fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "typ": "JWT"})
}

/// A part of a token.
pub fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// What a part of a token says: 0 is the header, 1 the claims.
pub fn read(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).expect("a part");
    let part = URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&part).expect("JSON")
}

/// A token with these claims, signed by HS256.
pub fn sign(claims: &Value, key: &str) -> String {
    sign_by(&header("HS256"), claims, key)
}

/// A token with this header and these claims, signed by the algorithm that the header names.
pub fn sign_by(header: &Value, claims: &Value, key: &str) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    macro_rules! signature {
        ($hash:ty) => {{
            let hmac = Hmac::<$hash>::new_from_slice(key.as_bytes()).expect("a key of any length");
            hmac.chain_update(&message).finalize().into_bytes().to_vec()
        }};
    }
    let signature = match header["alg"].as_str() {
        Some("HS256") => signature!(Sha256),
        Some("HS384") => signature!(Sha384),
        Some("HS512") => signature!(Sha512),
        other => panic!("{other:?} signs nothing here"),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
