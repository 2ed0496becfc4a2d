//! The packages that `./dev package` builds for Lambda.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;
use tests::database::env_var;
use tests::function::{Environment, Function, HttpEvent, binary};
use tests::{size, template, unique};

/// The maximum size of a package in bytes. Lambda loads the whole package before it starts a function.
const MAX_PACKAGE_BYTES: u64 = 3_670_016; // 3.5 MiB

/// The same for `migrate`, which has the migrations and the code of all functions. No request waits for it.
const MAX_MIGRATE_PACKAGE_BYTES: u64 = 4_718_592; // 4.5 MiB

/// The minor version of glibc 2 on Lambda, which uses Amazon Linux 2023.
const GLIBC_MINOR: u32 = 34;

/// The name of each function in the template, and the program in its package.
fn packages() -> impl Iterator<Item = (String, PathBuf)> {
    template::functions().into_iter().map(|(name, _)| {
        let program = binary(&name);
        (name, program)
    })
}

#[test]
fn every_package_is_below_the_size_limit() {
    for (name, program) in packages() {
        let bytes = size::zipped_bytes(&program);
        let max = if name == "MigrateFunction" {
            MAX_MIGRATE_PACKAGE_BYTES
        } else {
            MAX_PACKAGE_BYTES
        };
        assert!(bytes <= max, "{name}: {bytes} bytes");
    }
}

#[test]
fn every_packaged_function_can_run_on_lambda() {
    for (name, file) in packages() {
        let metadata = std::fs::metadata(&file).expect("the program's metadata");
        assert_ne!(
            metadata.permissions().mode() & 0o111,
            0,
            "{name} is not executable"
        );
        let program = std::fs::read(&file).expect("a program");
        assert_eq!(&program[..4], b"\x7fELF", "{name}");
        let prefix = b"GLIBC_2.";
        let newest = program
            .windows(prefix.len() + 2)
            .filter(|text| text.starts_with(prefix))
            .filter_map(|text| {
                let minor = std::str::from_utf8(&text[prefix.len()..]).ok()?;
                minor
                    .trim_end_matches(|letter: char| !letter.is_ascii_digit())
                    .parse::<u32>()
                    .ok()
            })
            .max();
        assert!(
            newest.is_some_and(|newest| newest <= GLIBC_MINOR),
            "{name} needs glibc 2.{newest:?}"
        );
    }
}

#[tokio::test]
async fn a_packaged_function_responds_with_its_commit() {
    let environment = Environment::default()
        .with(
            "DATABASE_URL",
            format!("postgresql://role:{}@ep-1.neon.tech/todo", unique()),
        )
        .with("SECRET_KEY", unique() + &unique());
    let function = Function::start("HealthFunction", &environment).await;
    let response = function.http(&HttpEvent::new("GET", "/health", &[])).await;
    // `./dev package` sets it where there is a repository.
    let commit = env_var("COMMIT");
    let mut health = json!({"status": "ok"});
    if let Some(commit) = commit {
        health["commit"] = commit.into();
    }
    assert_eq!((response.status, response.body), (200, health));
}
