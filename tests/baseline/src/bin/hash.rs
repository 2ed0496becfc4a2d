//! Hashes a password with the functions' own code as many times as the first argument says (once by default), and
//! prints the nanoseconds that each hash took.

use std::time::Instant;

use secrecy::{ExposeSecret as _, SecretString};
use shared::auth::password;

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    for _ in 0..count.unwrap_or(1) {
        let password = SecretString::from("correct horse battery");
        let started = Instant::now();
        let hashed = password::hash(&password);
        let elapsed = started.elapsed();
        assert!(hashed.is_ok_and(|hash| {
            hash.expose_secret()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        }));
        println!("{}", elapsed.as_nanos());
    }
}
