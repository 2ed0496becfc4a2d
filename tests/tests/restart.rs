//! The database goes away and comes back: requests are answered in time, and what is stored stays stored.
//!
//! This stands in a test binary of its own, since it takes the database away from all others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::api::registration;
use tests::function::{Environment, Function, HttpEvent};
use tests::skip;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

async fn http(environment: &Environment, function: &str, request: &HttpEvent) -> Value {
    // A function of its own for each request: nothing can stand in its memory.
    let answer = Function::start(function, environment)
        .await
        .http(request)
        .await;
    assert!(answer.status < 300, "{function}: {answer:?}");
    answer.body
}

/// The server, which a test may take away while it holds this.
struct Server {
    dev: String,
    _alone: MutexGuard<'static, ()>,
}

impl Server {
    /// Waits until no other test has the server; `None`, said on stderr, where it is not the tests' own.
    async fn take(checks: &str) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let Ok(dev) = std::env::var("DEV_SCRIPT") else {
            skip(checks, "the database is not the tests' own");
            return None;
        };
        let alone = ALONE.lock().await;
        Some(Self { dev, _alone: alone })
    }

    /// Stops it: `fast`, in good order, or `immediate`, as a crash does.
    async fn stop(&self, mode: &str) {
        self.control(&["stop", mode]).await;
    }

    async fn start(&self) {
        self.control(&["start"]).await;
    }

    async fn control(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.dev);
        let output = command
            .arg("test-database")
            .args(arguments)
            .output()
            .await
            .expect("./dev");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

async fn health() -> Function {
    let function = Function::start("health", &Environment::default()).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    function
}

#[tokio::test]
async fn a_restart_while_the_function_is_frozen_is_not_noticed() {
    let Some(server) = Server::take("a restart while a function is frozen").await else {
        return;
    };
    for mode in ["fast", "immediate"] {
        let function = health().await;
        function.freeze();
        server.stop(mode).await;
        server.start().await;
        function.thaw();
        let started = Instant::now();
        let answer = function.http(&HttpEvent::deep_health()).await;
        assert_eq!(answer.status, 200, "{mode}: {}", function.stop().await);
        assert!(started.elapsed() < Duration::from_secs(1), "{mode}");
    }
}

#[tokio::test]
async fn while_the_server_is_down_the_answer_comes_in_time_and_when_it_is_back_all_is_well() {
    let Some(server) = Server::take("a server that is down").await else {
        return;
    };
    let warm = health().await;
    server.stop("fast").await;
    let cold = Function::start("health", &Environment::default()).await;
    for function in [&warm, &cold] {
        let started = Instant::now();
        function
            .http(&HttpEvent::deep_health())
            .await
            .assert_unavailable();
        assert!(
            started.elapsed() < Duration::from_secs(6),
            "{:?}",
            started.elapsed()
        );
    }
    server.start().await;
    for function in [&warm, &cold] {
        assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    }
}

#[tokio::test]
async fn a_request_waits_for_a_server_that_comes_up_meanwhile() {
    let Some(server) = Server::take("a server that comes up").await else {
        return;
    };
    let warm = health().await;
    let environment = Environment::default();
    let registered = http(
        &environment,
        "register",
        &HttpEvent::new("POST", "/api/auth/register", &[]).json(&registration()),
    )
    .await;
    server.stop("fast").await;
    // One that connects ahead of the request.
    let cold = Function::start("me", &environment).await;
    let request = HttpEvent::deep_health();
    let token = registered["access_token"].as_str().expect("a token");
    let me = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(token);
    let (warm, cold, ()) = tokio::join!(warm.http(&request), cold.http(&me), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.start().await;
    });
    assert_eq!((warm.status, cold.status), (200, 200));
}

#[tokio::test]
async fn all_data_survives_a_restart_of_the_functions_and_of_the_database() {
    let Some(server) = Server::take("that data survives a restart of the database").await else {
        return;
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

    server.stop("fast").await;
    server.start().await;

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
