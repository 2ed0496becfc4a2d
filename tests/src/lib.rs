//! Support for the tests: clients of the API and of its database, and a Lambda runtime around a single function.
//!
//! What the tests work on comes from the environment that `./dev test` sets up: `BASE_URL`, `DATABASE_URL`,
//! `SSL_CERT_FILE` and `SECRET_KEY`.

pub mod api;
pub mod certificate;
pub mod database;
pub mod former;
pub mod function;
pub mod relay;
pub mod template;
pub mod token;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

/// A file of the project.
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

/// A text that no other test has.
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

/// A body without the token in it, for what a failing test prints.
fn without_token(mut body: Value) -> Value {
    if let Some(token) = body.get_mut("access_token") {
        *token = "…".into();
    }
    body
}

/// Says which checks are left out, past the test harness, which shows the output of failing tests alone.
pub fn leave_out(checks: &str, because: &str) {
    writeln!(std::io::stderr(), "left out, since {because}: {checks}").expect("stderr");
}
