//! Signs and decodes tokens: JWTs (RFC 7519), built by hand so that a test can forge them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

/// The header of a token with this algorithm.
pub fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "typ": "JWT"})
}

/// Encodes one part of a token.
pub fn encode_part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Decodes one part of a token: 0 is the header, 1 the claims.
pub fn decode_part(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).expect("a part");
    let part = URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&part).expect("JSON")
}

/// Signs a token with HS256.
pub fn sign(claims: &Value, key: &str) -> String {
    sign_with_header(&header("HS256"), claims, key)
}

/// Signs a token with the algorithm that its header names.
pub fn sign_with_header(header: &Value, claims: &Value, key: &str) -> String {
    let message = format!("{}.{}", encode_part(header), encode_part(claims));
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
        other => panic!("unsupported algorithm: {other:?}"),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
