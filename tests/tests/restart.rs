//! What is stored stays stored: everything survives a restart of the functions and of the database.
//!
//! This stands in a test binary of its own, since it takes the database away from all others.

use std::process::Command;

use serde_json::{Value, json};
use tests::api::registration;
use tests::function::{Environment, Function, HttpEvent};
use tests::leave_out;

async fn http(environment: &Environment, function: &str, request: &HttpEvent) -> Value {
    // A function of its own for each request: nothing can stand in its memory.
    let answer = Function::start(function, environment)
        .await
        .http(request)
        .await;
    assert!(answer.status < 300, "{function}: {answer:?}");
    answer.body
}

#[tokio::test]
async fn all_data_survives_a_restart_of_the_functions_and_of_the_database() {
    let Ok(dev) = std::env::var("DEV_SCRIPT") else {
        return leave_out(
            "that data survives a restart of the database",
            "the database is not the tests' own",
        );
    };
    let environment = Environment::default();
    let user = registration();
    let registered = http(
        &environment,
        "register",
        &HttpEvent::new("POST", "/api/auth/register", &[]).json(&user),
    )
    .await;
    let (id, token) = (
        registered["user_id"].as_str().expect("an id"),
        registered["access_token"].as_str().expect("a token"),
    );
    let tasks = || HttpEvent::new("POST", "/api/{user_id}/tasks", &[id]).bearer(token);
    for task in [
        json!({"title": "a", "description": "ünïcode"}),
        json!({"title": "b", "completed": true}),
    ] {
        http(&environment, "create-task", &tasks().json(&task)).await;
    }
    let list = HttpEvent::new("GET", "/api/{user_id}/tasks", &[id]).bearer(token);
    let me = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(token);
    let before = (
        http(&environment, "list-tasks", &list).await,
        http(&environment, "me", &me).await,
    );
    assert_eq!(before.0.as_array().map(Vec::len), Some(2));

    let restarted = Command::new(dev)
        .arg("restart-test-database")
        .output()
        .expect("./dev");
    assert!(
        restarted.status.success(),
        "{}",
        String::from_utf8_lossy(&restarted.stderr)
    );

    let after = (
        http(&environment, "list-tasks", &list).await,
        http(&environment, "me", &me).await,
    );
    assert_eq!(before, after);
    http(
        &environment,
        "login",
        &HttpEvent::new("POST", "/api/auth/login", &[]).json(&user),
    )
    .await;
}
