//! The number of round trips to the database. `./dev bench` measures times.

use serde_json::json;
use tests::api::{PASSWORD, registration};
use tests::chaos_proxy::ChaosProxy;
use tests::database::Database;
use tests::fixtures::{Fixtures, register};
use tests::function::{Environment, Function, HttpEvent};
use tests::proxied_function::ProxiedFunction;
use tests::routes::{Route, TASKS, route, routes};

/// The number of round trips in which the driver connects. It depends on the server: before PostgreSQL 18 the server
/// asks for another elliptic curve, which repeats part of the TLS handshake.
async fn connection_round_trips() -> u64 {
    let proxy = ChaosProxy::start().await;
    Database::connect(&proxy.url()).await;
    proxy.round_trips()
}

#[tokio::test]
async fn a_first_request_adds_connecting_and_the_schema_query() {
    let fixtures = Fixtures::new().await;
    let connecting = connection_round_trips().await;
    for route in routes() {
        let request = fixtures.route_case(route).await.request();
        let proxy = ChaosProxy::start().await;
        let environment = Environment::default().with("DATABASE_URL", proxy.url());
        let function = Function::start(route.function, &environment).await;
        let response = function.http(&request).await;
        assert!(response.status < 300, "{route:?}: {response:?}");
        // One more round trip queries the schema version.
        let expected = connecting + 1 + route.statements;
        assert_eq!(proxy.round_trips(), expected, "{route:?}");
    }
}

#[tokio::test]
async fn a_warm_request_takes_one_round_trip_per_statement() {
    let fixtures = Fixtures::new().await;
    let check = async |route: &'static Route, request: Option<HttpEvent>, expected: u64| {
        let route_case = fixtures.route_case(route).await;
        let instance = ProxiedFunction::connected(route.function).await;
        let request = request.unwrap_or_else(|| route_case.request());
        let before = instance.proxy.round_trips();
        let response = instance.function.http(&request).await;
        assert!(response.status < 500, "{route:?}: {response:?}");
        let round_trips = instance.proxy.round_trips() - before;
        assert_eq!(round_trips, expected, "{route:?}: {response:?}");
    };
    for route in routes() {
        check(route, None, route.statements).await;
    }
    // An error takes no more round trips than a success.
    let wrong = json!({"email": registration()["email"], "password": PASSWORD});
    let wrong = HttpEvent::new("POST", "/api/auth/login", &[]).json(&wrong);
    check(route("login"), Some(wrong), 1).await;
    let (user_id, token) = register(&Environment::default()).await;
    let invalid = HttpEvent::new("POST", TASKS, &[&user_id]).bearer(&token);
    check(route("create-task"), Some(invalid.json(&json!({}))), 1).await;
}
