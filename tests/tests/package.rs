//! The packages that `./dev package` builds for Lambda.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::json;
use tests::database::env_var;
use tests::function::{Environment, Function, HttpEvent};
use tests::{skip, template};

/// The minor version of glibc 2 on Lambda, which uses Amazon Linux 2023.
const GLIBC_MINOR: u32 = 34;

/// The build folder of SAM, if `./dev package` runs the tests.
fn package() -> Option<PathBuf> {
    let package = env_var("PACKAGE").map(PathBuf::from);
    if package.is_none() {
        skip("the package", "only `./dev package` builds it");
    }
    package
}

#[test]
fn every_packaged_function_can_run_on_lambda() {
    let Some(package) = package() else { return };
    for (name, _) in template::functions() {
        let file = package.join(&name).join("bootstrap");
        let metadata =
            std::fs::metadata(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
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
async fn a_packaged_function_responds_under_a_runtime() {
    let Some(package) = package() else { return };
    let environment = Environment::default()
        .with(
            "DATABASE_URL",
            "postgresql://role:password@ep-1.neon.tech/todo",
        )
        .with("SECRET_KEY", "a key that only this test uses, long enough");
    let file = package.join("HealthFunction/bootstrap");
    let function = Function::start_from_file("health", &file, &environment).await;
    let response = function.http(&HttpEvent::new("GET", "/health", &[])).await;
    assert_eq!(
        (response.status, response.body),
        (200, json!({"status": "ok"}))
    );
}
