//! What does not depend on the machine, and so can be held to a limit here: sizes and round trips. `./dev bench` measures
//! the rest. Round trips of warm functions stand in `events.rs`.

use tests::chaos_proxy::ChaosProxy;
use tests::database::Database;
use tests::fixtures::Fixtures;
use tests::function::{Environment, Function, binary};
use tests::routes::routes;
use tests::{size, template};

/// The most bytes of a function's package, of which Lambda loads all before it starts the function.
const PACKAGE: u64 = 3_670_016; // 3.5 MiB

#[test]
fn every_function_is_small() {
    for (name, function) in template::functions() {
        let binary_name = template::binary_of(&function);
        let bytes = size::zipped_bytes(&binary(&binary_name));
        assert!(bytes <= PACKAGE, "{name}: {bytes} bytes");
    }
}

/// How many round trips the driver takes to connect. It depends on the server: one before version 18 has TLS begin anew on
/// a curve that it knows.
async fn connecting() -> u64 {
    let proxy = ChaosProxy::start().await;
    Database::connect(&proxy.url()).await;
    proxy.round_trips()
}

#[tokio::test]
async fn a_first_request_takes_one_round_trip_more_than_connecting_and_its_statements() {
    let fixtures = Fixtures::new().await;
    let connecting = connecting().await;
    for route in routes() {
        let request = fixtures.route_case(route).await.request();
        let proxy = ChaosProxy::start().await;
        let environment = Environment::default().with("DATABASE_URL", proxy.url());
        let function = Function::start(route.function, &environment).await;
        let answer = function.http(&request).await;
        assert!(answer.status < 300, "{route:?}: {answer:?}");
        // The one is for the schema's version.
        let expected = connecting + 1 + route.statements;
        assert_eq!(proxy.round_trips(), expected, "{route:?}");
    }
}
