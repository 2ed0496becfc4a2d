//! Restarts of the database: requests get a response in time, and data survives.
//!
//! These tests are a separate test binary, since they stop the database of all other tests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::api::registration;
use tests::fixtures::Fixtures;
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::routes;
use tests::skip;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

/// The time in which a function connects, or gives up.
const TIMEOUT: Duration = Duration::from_secs(5);

async fn http(environment: &Environment, function: &str, request: &HttpEvent) -> Value {
    // Each request gets a new instance, so that no state can be in memory.
    let response = Function::start(function, environment)
        .await
        .http(request)
        .await;
    assert!(response.status < 300, "{function}: {response:?}");
    response.body
}

/// Exclusive control over the database server.
struct Server {
    dev: String,
    _lock: MutexGuard<'static, ()>,
}

impl Server {
    /// Waits until no other test controls the server. Returns `None`, and reports the skipped checks, if the server does
    /// not belong to the tests.
    async fn lock(checks: &str) -> Option<Self> {
        static LOCK: Mutex<()> = Mutex::const_new(());
        let Ok(dev) = std::env::var("DEV_SCRIPT") else {
            skip(checks, "the database does not belong to the tests");
            return None;
        };
        let lock = LOCK.lock().await;
        Some(Self { dev, _lock: lock })
    }

    /// Stops the server: `fast` shuts it down, `immediate` simulates a crash.
    async fn stop(&self, mode: &str) {
        self.control(&["stop", mode]).await;
    }

    async fn start(&self) {
        self.control(&["start"]).await;
    }

    /// Starts the server as a read replica.
    async fn start_as_replica(&self) {
        self.control(&["start", "replica"]).await;
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

async fn connected_health() -> Function {
    let function = Function::start("health", &Environment::default()).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    function
}

#[tokio::test]
async fn a_restart_during_a_freeze_has_no_effect() {
    let Some(server) = Server::lock("a restart while a function is frozen").await else {
        return;
    };
    for mode in ["fast", "immediate"] {
        let function = connected_health().await;
        function.freeze();
        server.stop(mode).await;
        server.start().await;
        function.thaw();
        let started = Instant::now();
        let response = function.http(&HttpEvent::deep_health()).await;
        assert_eq!(response.status, 200, "{mode}: {}", function.stop().await);
        assert!(started.elapsed() < TIMEOUT, "{mode}");
    }
}

#[tokio::test]
async fn a_stopped_server_is_503_in_time_and_recovers() {
    let Some(server) = Server::lock("a server that is down").await else {
        return;
    };
    let warm = connected_health().await;
    server.stop("fast").await;
    let cold = Function::start("health", &Environment::default()).await;
    for function in [&warm, &cold] {
        let started = Instant::now();
        function
            .http(&HttpEvent::deep_health())
            .await
            .assert_unavailable();
        assert!(
            started.elapsed() < TIMEOUT + Duration::from_secs(3),
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
async fn a_request_waits_for_a_starting_server() {
    let Some(server) = Server::lock("a server that comes up").await else {
        return;
    };
    let warm = connected_health().await;
    let environment = Environment::default();
    let registered = http(
        &environment,
        "register",
        &HttpEvent::new("POST", "/api/auth/register", &[]).json(&registration()),
    )
    .await;
    server.stop("fast").await;
    // This function connects before its request.
    let cold = Function::start("me", &environment).await;
    let request = HttpEvent::deep_health();
    let token = registered["access_token"].as_str().expect("a token");
    let me = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(token);
    let (warm, cold, ()) = tokio::join!(warm.http(&request), cold.http(&me), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.start().await;
    });
    assert_eq!((warm.status, cold.status), (200, 200));
}

#[tokio::test]
async fn data_survives_a_restart_of_functions_and_database() {
    let Some(server) = Server::lock("that data survives a restart of the database").await else {
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

#[tokio::test]
async fn a_read_replica_serves_reads_and_refuses_writes_with_503() {
    let Some(server) = Server::lock("a read replica").await else {
        return;
    };
    let fixtures = Fixtures::new().await;
    let mut route_cases = Vec::new();
    for route in routes() {
        route_cases.push(fixtures.route_case(route).await);
    }
    server.stop("fast").await;
    server.start_as_replica().await;
    let mut outcomes = Vec::new();
    for route_case in route_cases {
        let function = Function::start(route_case.route.function, &Environment::default()).await;
        let response = function.http(&route_case.request()).await;
        outcomes.push((route_case, response, function.stop().await));
    }
    let health = Function::start("health", &Environment::default()).await;
    let health = health.http(&HttpEvent::deep_health()).await;
    server.stop("fast").await;
    server.start().await;

    health.assert_unavailable();
    for (route_case, response, log) in outcomes {
        let name = route_case.route.function;
        if route_case.route.method == "GET" {
            assert!(route_case.is_success(&response), "{name}: {log}");
        } else {
            response.assert_unavailable();
            assert!(log.contains("names a read replica"), "{name}: {log}");
        }
    }
    connected_health().await;
}
