//! No function writes to disk.

use serde_json::json;
use tests::database::TestDatabase;
use tests::fixtures::Fixtures;
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::routes;
use tests::skip;

/// Runs a successful request with a new connection, traces the system calls, and asserts that none of them writes a
/// file.
async fn assert_writes_no_file(name: &str, environment: &Environment, request: Option<&HttpEvent>) {
    let tracer = [
        "strace",
        "--follow-forks",
        "--trace=%file,%desc,%process",
        "--signal=none",
        "--string-limit=200",
    ];
    let function = Function::start_with_wrapper(&tracer, name, environment).await;
    match request {
        Some(request) => {
            let response = function.http(request).await;
            assert!(response.status < 300, "{name}: {response:?}");
        }
        None => {
            function.invoke(json!({})).await.expect("a success");
        }
    }
    let trace = function.finish().await;
    assert!(trace.contains("execve("), "the trace is empty: {trace}");
    assert!(
        trace.contains("openat(") && trace.contains("O_RDONLY"),
        "the trace has no opened file: {trace}"
    );
    let write_flags = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"];
    let write_calls = [
        "creat(", "mkdir", "rename", "unlink", "link(", "linkat(", "symlink", "truncate", "mknod",
        "chmod", "chown",
    ];
    for call in trace.lines() {
        let opens = call.contains("open") && write_flags.iter().any(|flag| call.contains(flag));
        let call_name = call.rsplit_once("] ").map_or(call, |(_, call)| call);
        let changes = write_calls.iter().any(|name| call_name.starts_with(name));
        assert!(!opens && !changes, "{name} writes a file: {call}");
    }
}

#[tokio::test]
async fn no_function_writes_a_file() {
    if std::process::Command::new("strace")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("that no function writes a file", "strace is not installed");
    }
    let environment = Environment::default();
    let fixtures = Fixtures::new().await;
    for route in routes() {
        let route_case = fixtures.route_case(route).await;
        assert_writes_no_file(route.function, &environment, Some(&route_case.request())).await;
    }
    assert_writes_no_file("health", &environment, Some(&HttpEvent::deep_health())).await;
    assert_writes_no_file("docs", &environment, Some(&HttpEvent::new("GET", "/", &[]))).await;
    let database = TestDatabase::empty().await;
    assert_writes_no_file("migrate", &database.environment, None).await;
    database.drop().await;
}
