//! Nothing is written to disk.

use serde_json::json;
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent};
use tests::skip;

use tests::fixtures::Fixtures;
use tests::routes::routes;

/// Runs the success path of a function, with a new connection, under a tracer of its system calls, and sees that none
/// of them could write a file.
async fn writes_no_file(name: &str, environment: &Environment, request: Option<&HttpEvent>) {
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
            let answer = function.http(request).await;
            assert!(answer.status < 300, "{name}: {answer:?}");
        }
        None => {
            function.invoke(json!({})).await.expect("a success");
        }
    }
    let trace = function.finish().await;
    assert!(trace.contains("execve("), "nothing was traced: {trace}");
    assert!(
        trace.contains("openat(") && trace.contains("O_RDONLY"),
        "no file was opened: {trace}"
    );
    let writing = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"];
    let changing = [
        "creat(", "mkdir", "rename", "unlink", "link(", "linkat(", "symlink", "truncate", "mknod",
        "chmod", "chown",
    ];
    for call in trace.lines() {
        let opens = call.contains("open") && writing.iter().any(|flag| call.contains(flag));
        let call_name = call.rsplit_once("] ").map_or(call, |(_, call)| call);
        let changes = changing.iter().any(|name| call_name.starts_with(name));
        assert!(!opens && !changes, "{name} touches a file: {call}");
    }
}

#[tokio::test]
async fn no_function_writes_a_file() {
    if std::process::Command::new("strace")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("that no function writes a file", "there is no strace");
    }
    let environment = Environment::default();
    let fixtures = Fixtures::new().await;
    for route in routes() {
        let route_case = fixtures.route_case(route).await;
        writes_no_file(route.function, &environment, Some(&route_case.request())).await;
    }
    writes_no_file("health", &environment, Some(&HttpEvent::deep_health())).await;
    writes_no_file("docs", &environment, Some(&HttpEvent::new("GET", "/", &[]))).await;
    let own = TestDatabase::empty().await;
    writes_no_file("migrate", &own.environment, None).await;
    own.drop().await;
}
