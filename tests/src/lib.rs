//! Support for the tests: clients of the API and of its database, and a Lambda runtime for a single function.
//!
//! The API and the database under test come from environment variables that `./dev test` sets: `BASE_URL`,
//! `DATABASE_URL`, `SSL_CERT_FILE` and `SECRET_KEY`.

pub mod api;
pub mod certificate;
pub mod chaos_proxy;
pub mod database;
pub mod fixtures;
pub mod function;
pub mod legacy;
pub mod neon_proxy;
pub mod openapi;
pub mod proxied_function;
pub mod routes;
pub mod size;
pub mod template;
pub mod token;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

/// Reads a file of the project.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The number of the newest migration in sql/.
pub fn newest_migration() -> usize {
    let files = std::fs::read_dir(root().join("sql")).expect("sql/");
    let numbers = files.filter_map(|file| {
        let name = file.expect("a file").file_name();
        let (number, _) = name.to_str()?.strip_prefix('V')?.split_once("__")?;
        number.parse().ok()
    });
    numbers.max().expect("a migration")
}

/// A random text, different in every call.
pub fn unique() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("randomness");
    base16ct::lower::encode_string(&random)
}

/// A random number below this one.
pub fn random(end: usize) -> usize {
    let random = getrandom::u32().expect("randomness");
    random as usize % end
}

/// Asserts that an error response has the format of the API and does not leak implementation details: no stack trace,
/// query, host, role, password or file. It ignores input that the response repeats.
#[track_caller]
pub fn assert_no_leak(status: u64, headers: &str, body: &Value) {
    assert!((400..500).contains(&status), "{status} {body}");
    let mut body = body.clone();
    match &mut body["detail"] {
        Value::String(_) => {}
        Value::Array(violations) if status == 422 && !violations.is_empty() => {
            for violation in violations {
                violation["input"].take();
            }
        }
        other => panic!("{status} with the detail {other}"),
    }
    let text = format!("{headers} {body}").to_lowercase();
    let words = [
        "postgres",
        "neon",
        "localhost",
        "127.0.0.1",
        "panicked",
        "backtrace",
        "sqlstate",
        "select ",
        "insert ",
        "update ",
        "serde",
        "tokio",
        "lambda",
        ".rs",
        "/usr",
        "/home",
        "/root",
        "/var",
        "/tmp",
    ];
    let words = words.into_iter().map(str::to_owned);
    for word in words.chain(secrets()) {
        assert!(!text.contains(&word), "{word:?} is in {text}");
    }
}

/// The secrets of the deployment: host, role and password of the database, and the key.
fn secrets() -> Vec<String> {
    let urls = ["DATABASE_URL", "DATABASE_URL_UNPOOLED"].map(database::env_var);
    let parts = urls.into_iter().flatten().flat_map(|url| {
        let (_, rest) = url.split_once("://").expect("a scheme");
        let location = rest.split(['/', '?']).next().unwrap_or_default();
        let parts: Vec<_> = location.split([':', '@']).map(str::to_lowercase).collect();
        parts
    });
    parts
        .chain(database::env_var("SECRET_KEY"))
        .filter(|part| part.parse::<u16>().is_err() && !part.is_empty())
        .collect()
}

/// A body without its token, for the output of a failing test.
fn without_token(mut body: Value) -> Value {
    if let Some(token) = body.get_mut("access_token") {
        *token = "…".into();
    }
    body
}

/// Reports skipped checks on stderr. It bypasses the test harness, which prints the output of failing tests only.
pub fn skip(checks: &str, reason: &str) {
    writeln!(std::io::stderr(), "skipped, since {reason}: {checks}").expect("stderr");
}
