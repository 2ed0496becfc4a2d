//! What does not depend on the machine, and so can be held to a limit here: sizes and round trips. `./dev bench` measures
//! the rest. Round trips of warm functions stand in `events.rs`.

use tests::function::{Environment, Function, binary};
use tests::relay::Relay;
use tests::routes::{ROUTES, Stage};
use tests::{size, template};

/// The most bytes of a function's package, of which Lambda loads all before it starts the function.
const PACKAGE: u64 = 3_670_016; // 3.5 MiB

/// What it takes to connect, after TCP: asking for TLS, TLS, naming the role, two for SCRAM, and the schema's version.
const CONNECTING: u64 = 6;

#[test]
fn every_function_is_small() {
    for (name, function) in template::functions() {
        let bytes = size::zipped_bytes(&binary(&template::binary_of(&function)));
        assert!(bytes <= PACKAGE, "{name}: {bytes} bytes");
    }
}

#[tokio::test]
async fn a_first_request_takes_the_round_trips_of_connecting_and_its_own() {
    let stage = Stage::new().await;
    for route in ROUTES {
        let request = stage.scene(route).await.request();
        let relay = Relay::start().await;
        let environment = Environment::default().with("DATABASE_URL", relay.url());
        let function = Function::start(route.function, &environment).await;
        let answer = function.http(&request).await;
        assert!(answer.status < 300, "{route:?}: {answer:?}");
        assert_eq!(
            relay.round_trips(),
            CONNECTING + route.statements,
            "{route:?}"
        );
    }
}
