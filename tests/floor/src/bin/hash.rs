//! Hashes a password as the functions do, so often as its argument says, and prints how many nanoseconds each took.

use std::time::Instant;

use secrecy::{ExposeSecret as _, SecretString};
use shared::auth::password;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let times = std::env::args().nth(1).and_then(|times| times.parse().ok());
    for _ in 0..times.unwrap_or(1) {
        let password = SecretString::from("correct horse battery");
        let started = Instant::now();
        let hashed = password::hash(password).await;
        let took = started.elapsed();
        assert!(hashed.is_ok_and(|hash| {
            hash.expose_secret()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        }));
        println!("{}", took.as_nanos());
    }
}
