//! Nothing is written to disk.

use serde_json::{Value, json};
use tests::api::registration;
use tests::database::OwnDatabase;
use tests::function::{Environment, Function, HttpEvent};
use tests::leave_out;

use crate::events::register;

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
    let function = Function::start_under(&tracer, name, environment).await;
    match request {
        Some(request) => {
            let answer = function.http(request).await;
            assert!(answer.status < 300, "{name}: {answer:?}");
        }
        None => {
            function.invoke(json!({})).await.expect("a success");
        }
    }
    let trace = function.end().await;
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
        return leave_out("that no function writes a file", "there is no strace");
    }
    let environment = Environment::default();
    let (user_id, token) = register(&environment).await;
    let user: &[&str] = &[&user_id];
    let new_user = registration();
    let post = |route: &str, body: &Value| HttpEvent::new("POST", route, &[]).json(body);
    writes_no_file(
        "register",
        &environment,
        Some(&post("/api/auth/register", &new_user)),
    )
    .await;
    writes_no_file(
        "login",
        &environment,
        Some(&post("/api/auth/login", &new_user)),
    )
    .await;
    writes_no_file(
        "me",
        &environment,
        Some(&HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token)),
    )
    .await;
    let create = HttpEvent::new("POST", "/api/{user_id}/tasks", user)
        .bearer(&token)
        .json(&json!({"title": "a"}));
    writes_no_file("create-task", &environment, Some(&create)).await;
    let list = HttpEvent::new("GET", "/api/{user_id}/tasks", user).bearer(&token);
    writes_no_file("list-tasks", &environment, Some(&list)).await;

    let function = Function::start("list-tasks", &environment).await;
    let id = function.http(&list).await.body[0]["id"].to_string();
    let task = |method: &str, suffix: &str| {
        HttpEvent::new(
            method,
            &format!("/api/{{user_id}}/tasks/{{id}}{suffix}"),
            &[&user_id, &id],
        )
        .bearer(&token)
    };
    writes_no_file("get-task", &environment, Some(&task("GET", ""))).await;
    writes_no_file(
        "update-task",
        &environment,
        Some(&task("PUT", "").json(&json!({"title": "b"}))),
    )
    .await;
    writes_no_file(
        "complete-task",
        &environment,
        Some(&task("PATCH", "/complete")),
    )
    .await;
    writes_no_file("delete-task", &environment, Some(&task("DELETE", ""))).await;
    writes_no_file("health", &environment, Some(&HttpEvent::deep_health())).await;
    writes_no_file("docs", &environment, Some(&HttpEvent::new("GET", "/", &[]))).await;
    writes_no_file(
        "logout",
        &environment,
        Some(&HttpEvent::new("POST", "/api/auth/logout", &[]).bearer(&token)),
    )
    .await;

    let own = OwnDatabase::empty().await;
    writes_no_file("migrate", &own.environment, None).await;
    own.drop().await;
}
