//! What all functions have logged in a run of `./dev test`, at the level `trace`. It runs this last.

use std::path::PathBuf;

use regex::Regex;
use tests::database::env_var;
use tests::function::log_folder;
use tests::{api, legacy};

/// Parts of the passwords that the tests use.
const PASSWORDS: [&str; 6] = [
    api::PASSWORD,
    legacy::PASSWORD,
    "another good password",
    "another password",
    "the legacy password",
    "s3cret",
];

/// The logs. Traces of system calls are left out, because they hold what a function has read.
fn logs() -> Vec<(PathBuf, String)> {
    let files = std::fs::read_dir(log_folder()).expect("the folder of the logs");
    files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_none_or(|kind| kind != "traced"))
        .map(|path| {
            let log = std::fs::read(&path).expect("a log");
            (path, String::from_utf8_lossy(&log).into_owned())
        })
        .collect()
}

/// The key, the passwords of the database's roles, and those of the users.
fn secrets() -> Vec<String> {
    let urls = ["DATABASE_URL", "DATABASE_URL_UNPOOLED"].map(env_var);
    let passwords = urls.into_iter().flatten().map(|url| {
        let (_, credentials) = url.split_once("://").expect("a scheme");
        let (credentials, _) = credentials.rsplit_once('@').expect("credentials");
        let (_, password) = credentials.split_once(':').expect("a password");
        password.to_owned()
    });
    passwords
        .chain(env_var("SECRET_KEY"))
        .chain(PASSWORDS.map(str::to_owned))
        .collect()
}

#[test]
fn functions_have_logged_their_answers() {
    let logs = logs();
    let answered = |(_, log): &(PathBuf, String)| log.contains(r#""message":"answered""#);
    assert!(logs.iter().any(answered), "{} logs", logs.len());
}

#[test]
fn no_log_contains_a_secret() {
    let secrets = secrets();
    // Tokens, a hash, and a connection string with a password.
    let formats = Regex::new(
        r#"eyJ[A-Za-z0-9_-]{8}|todo_[wr]_|\$argon2|\$2[abxy]\$|postgres(ql)?://[^ "/]*:[^ "]*@"#,
    )
    .expect("an expression");
    // The message that shows how a connection string is written.
    let example = "postgresql://role:password@";
    let mut found = Vec::new();
    for (path, log) in logs() {
        let has_secret = secrets.iter().any(|secret| log.contains(secret));
        let has_format = formats.find_iter(&log).any(|text| text.as_str() != example);
        if has_secret || has_format {
            found.push(path);
        }
    }
    assert!(found.is_empty(), "there is a secret in {found:#?}");
}
