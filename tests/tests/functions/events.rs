//! Events that only API Gateway makes, and what becomes of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::api::{PASSWORD, registration};
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent};

use crate::network_faults::Instance;
use tests::fixtures::Fixtures;
use tests::routes::{Route, route, routes};

/// Registers a user through a function of its own and gives their id and token.
pub(crate) async fn register(environment: &Environment) -> (String, String) {
    let function = Function::start("register", environment).await;
    let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&registration());
    let answer = function.http(&request).await;
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    let text = |name: &str| answer.body[name].as_str().expect("a text").to_owned();
    (text("user_id"), text("access_token"))
}

#[tokio::test]
async fn a_body_in_base64_is_read_as_what_it_is() {
    let environment = Environment::default();
    let (user_id, token) = register(&environment).await;
    let function = Function::start("create-task", &environment).await;
    let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);

    let good = request
        .clone()
        .header("content-type", "application/vnd.api+json")
        .base64(b"{\"title\": \"\xc3\xa9\"}");
    let answer = function.http(&good).await;
    assert_eq!((answer.status, &answer.body["title"]), (201, &json!("é")));

    let invalid = request
        .clone()
        .header("content-type", "application/json")
        .body(b"{\"title\": \"\xff\"}");
    let answer = function.http(&invalid).await;
    assert_eq!(
        (answer.status, &answer.body["detail"][0]["type"]),
        (422, &json!("json_invalid"))
    );
    assert_eq!(answer.body["detail"][0]["loc"], json!(["body", 11]));
}

#[tokio::test]
async fn a_document_goes_in_base64_behind_the_path_of_a_stage_too() {
    let function = Function::start("docs", &Environment::default()).await;
    for (path, start) in [
        ("/docs", &b"<!doctype html>"[..]),
        ("/stage/docs", b"<!doctype html>"),
        ("/stage/openapi.json", b"{\"openapi\":"),
        ("/stage/", b"{\"message\":"),
    ] {
        let event = HttpEvent::new("GET", path, &[]).to_event();
        let answer = function.invoke(event).await.expect("an answer");
        let body = answer["body"].as_str().expect("a body");
        let body = match answer["isBase64Encoded"].as_bool() {
            Some(true) => STANDARD.decode(body).expect("base64"),
            _ => body.as_bytes().to_owned(),
        };
        assert!(body.starts_with(start), "{path}");
    }
}

#[tokio::test]
async fn a_header_that_is_no_text_is_no_token() {
    let environment = Environment::default();
    let function = Function::start("me", &environment).await;
    let answer = function
        .http(&HttpEvent::new("GET", "/api/auth/me", &[]).header("authorization", "Bearer \u{e9}"))
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.body,
        json!({"detail": "Could not validate credentials"})
    );
}

#[tokio::test]
async fn a_managed_instance_serves_requests_at_once() {
    let environment = Environment::default().with("AWS_LAMBDA_MAX_CONCURRENCY", "4");
    let (user_id, token) = register(&environment).await;
    let function = Function::start("create-task", &environment).await;
    let create = async |title: &str| {
        let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);
        function
            .http(&request.json(&json!({ "title": title })))
            .await
    };
    let answers = tokio::join!(create("a"), create("b"), create("c"), create("d"));
    for (answer, title) in [answers.0, answers.1, answers.2, answers.3]
        .iter()
        .zip(["a", "b", "c", "d"])
    {
        assert_eq!((answer.status, &answer.body["title"]), (201, &json!(title)));
    }
}

#[tokio::test]
async fn an_event_that_is_no_http_request_is_a_reported_failure_and_the_function_goes_on() {
    let function = Function::start("docs", &Environment::default()).await;
    assert!(function.invoke(json!({"not": "http"})).await.is_err());
    let answer = function.http(&HttpEvent::new("GET", "/", &[])).await;
    assert_eq!(
        (answer.status, answer.body),
        (200, json!({"message": "Welcome to the Todo API"}))
    );
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_instance_goes_on() {
    let own = TestDatabase::migrated().await;
    let (_, token) = register(&own.environment).await;
    let function = Function::start("me", &own.environment).await;
    let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token);

    // The code that reads a column panics where it has another type than it was built for.
    let change = "ALTER TABLE \"user\" ALTER created_at TYPE";
    own.owner.execute(&format!("{change} text"), &[]).await;
    let answer = function.http(&request).await;
    assert_eq!(
        (answer.status, answer.body),
        (500, json!({"detail": "Internal Server Error"}))
    );
    own.owner
        .execute(
            &format!("{change} timestamp USING created_at::timestamp"),
            &[],
        )
        .await;
    assert_eq!(function.http(&request).await.status, 200);
    let log = function.stop().await;
    assert!(
        log.contains("panic: ") && log.contains("the handler panicked"),
        "{log}"
    );
    own.drop().await;
}

#[tokio::test]
async fn a_row_that_the_database_refuses_is_not_in_the_log() {
    let own = TestDatabase::migrated().await;
    let (user_id, token) = register(&own.environment).await;
    own.owner
        .execute("ALTER TABLE task ADD CHECK (title <> 'private')", &[])
        .await;
    let function = Function::start("create-task", &own.environment).await;
    let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);
    let answer = function
        .http(&request.json(&json!({"title": "private"})))
        .await;
    assert_eq!(
        (answer.status, answer.body),
        (500, json!({"detail": "Internal Server Error"}))
    );
    let log = function.stop().await;
    assert!(
        log.contains("SQLSTATE 23514") && !log.contains("private"),
        "{log}"
    );
    own.drop().await;
}

// Not over HTTP: `cargo lambda watch` loses one in some dozens of answers of this size while it serves others.
#[tokio::test]
async fn a_list_that_lambda_could_not_return_is_refused() {
    let own = TestDatabase::migrated().await;
    let (user_id, token) = register(&own.environment).await;
    let function = Function::start("list-tasks", &own.environment).await;
    let list = HttpEvent::new("GET", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);
    let id: i32 = user_id.parse().expect("an id");
    // The quotes make each byte of a description two in the list, and four in Lambda's envelope.
    let insert = "INSERT INTO task (user_id, title, description)
                  SELECT $1, 'large', repeat('\"', 1024 * 1024) FROM generate_series(1, $2)";
    for (more, status) in [(1, 200), (1, 413), (20, 413)] {
        own.owner.execute(insert, &[&id, &more]).await;
        let answer = function.http(&list).await;
        assert_eq!(answer.status, status);
        if status == 413 {
            assert_eq!(answer.body, json!({"detail": "Task list too large"}));
        }
    }
    // The function goes on.
    own.owner.batch_execute("DELETE FROM task").await;
    assert_eq!(function.http(&list).await.body, json!([]));
    own.drop().await;
}

#[tokio::test]
async fn the_shallow_health_check_opens_no_connection() {
    let proxy = tests::chaos_proxy::ChaosProxy::start().await;
    let function = Function::start(
        "health",
        &Environment::default().with("DATABASE_URL", proxy.url()),
    )
    .await;
    let answer = function.http(&HttpEvent::new("GET", "/health", &[])).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("ok")));
    assert_eq!(proxy.round_trips(), 0);
    let deep = function.http(&HttpEvent::deep_health()).await;
    assert_eq!(
        (deep.status, &deep.body["schema_version"]),
        (200, &json!(tests::newest_migration()))
    );
    assert!(proxy.round_trips() > 0);
}

#[tokio::test]
async fn each_authenticated_request_is_one_round_trip_and_logging_in_two() {
    let fixtures = Fixtures::new().await;
    let ask = async |route: &'static Route, request: Option<HttpEvent>, round_trips: u64| {
        let route_case = fixtures.route_case(route).await;
        let instance = Instance::connected(route.function).await;
        let request = request.unwrap_or_else(|| route_case.request());
        let before = instance.proxy.round_trips();
        let answer = instance.function.http(&request).await;
        assert!(answer.status < 500, "{route:?}: {answer:?}");
        let took = instance.proxy.round_trips() - before;
        assert_eq!(took, round_trips, "{route:?}: {answer:?}");
    };
    for route in routes() {
        ask(route, None, route.statements).await;
    }
    // Nor does it take more to refuse one.
    let wrong = json!({"email": registration()["email"], "password": PASSWORD});
    let wrong = HttpEvent::new("POST", "/api/auth/login", &[]).json(&wrong);
    ask(route("login"), Some(wrong), 1).await;
    let (user_id, token) = register(&Environment::default()).await;
    let broken = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);
    ask(route("create-task"), Some(broken.json(&json!({}))), 1).await;
}
