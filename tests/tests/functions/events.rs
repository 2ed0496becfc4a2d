//! Events that only API Gateway sends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::chaos_proxy::ChaosProxy;
use tests::database::TestDatabase;
use tests::fixtures::register;
use tests::function::{Environment, Function, HttpEvent};

#[tokio::test]
async fn base64_bodies_are_decoded() {
    let environment = Environment::default();
    let (user_id, token) = register(&environment).await;
    let function = Function::start("create-task", &environment).await;
    let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);

    let valid = request
        .clone()
        .header("content-type", "application/vnd.api+json")
        .base64(b"{\"title\": \"\xc3\xa9\"}");
    let response = function.http(&valid).await;
    assert_eq!(
        (response.status, &response.body["title"]),
        (201, &json!("é"))
    );

    let invalid = request
        .clone()
        .header("content-type", "application/json")
        .body(b"{\"title\": \"\xff\"}");
    let response = function.http(&invalid).await;
    assert_eq!(
        (response.status, &response.body["detail"][0]["type"]),
        (422, &json!("json_invalid"))
    );
    assert_eq!(response.body["detail"][0]["loc"], json!(["body", 11]));
}

#[tokio::test]
async fn documents_are_served_under_a_stage_path() {
    let function = Function::start("docs", &Environment::default()).await;
    for (path, start) in [
        ("/docs", &b"<!doctype html>"[..]),
        ("/stage/docs", b"<!doctype html>"),
        ("/stage/openapi.json", b"{\"openapi\":"),
        ("/stage/", b"{\"message\":"),
    ] {
        let event = HttpEvent::new("GET", path, &[]).header("accept-encoding", "identity");
        let response = function.invoke(event.to_event()).await;
        let response = response.expect("a response");
        let body = response["body"].as_str().expect("a body");
        let body = match response["isBase64Encoded"].as_bool() {
            Some(true) => STANDARD.decode(body).expect("base64"),
            _ => body.as_bytes().to_owned(),
        };
        assert!(body.starts_with(start), "{path}");
    }
}

#[tokio::test]
async fn a_non_ascii_authorization_header_is_401() {
    let environment = Environment::default();
    let function = Function::start("me", &environment).await;
    let response = function
        .http(&HttpEvent::new("GET", "/api/auth/me", &[]).header("authorization", "Bearer \u{e9}"))
        .await;
    assert_eq!(response.status, 401);
    assert_eq!(
        response.body,
        json!({"detail": "Could not validate credentials"})
    );
}

#[tokio::test]
async fn a_managed_instance_serves_concurrent_requests() {
    let environment = Environment::default().with("AWS_LAMBDA_MAX_CONCURRENCY", "4");
    let (user_id, token) = register(&environment).await;
    let function = Function::start("create-task", &environment).await;
    let create = async |title: &str| {
        let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);
        function
            .http(&request.json(&json!({ "title": title })))
            .await
    };
    let responses = tokio::join!(create("a"), create("b"), create("c"), create("d"));
    for (response, title) in [responses.0, responses.1, responses.2, responses.3]
        .iter()
        .zip(["a", "b", "c", "d"])
    {
        assert_eq!(
            (response.status, &response.body["title"]),
            (201, &json!(title))
        );
    }
}

#[tokio::test]
async fn a_non_http_event_is_an_error_and_the_instance_survives() {
    let function = Function::start("docs", &Environment::default()).await;
    assert!(function.invoke(json!({"not": "http"})).await.is_err());
    let response = function.http(&HttpEvent::new("GET", "/", &[])).await;
    assert_eq!(
        (response.status, response.body),
        (200, json!({"message": "Welcome to the Todo API"}))
    );
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_instance_survives() {
    let database = TestDatabase::migrated().await;
    let (_, token) = register(&database.environment).await;
    let function = Function::start("me", &database.environment).await;
    let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token);

    // Reading a column panics if its type is not the expected one.
    let alter = "ALTER TABLE \"user\" ALTER created_at TYPE";
    database.owner.execute(&format!("{alter} text"), &[]).await;
    let response = function.http(&request).await;
    assert_eq!(
        (response.status, response.body),
        (500, json!({"detail": "Internal Server Error"}))
    );
    database
        .owner
        .execute(
            &format!("{alter} timestamp USING created_at::timestamp"),
            &[],
        )
        .await;
    assert_eq!(function.http(&request).await.status, 200);
    let log = function.stop().await;
    assert!(
        log.contains("panic: ") && log.contains("the handler panicked"),
        "{log}"
    );
    database.drop().await;
}

#[tokio::test]
async fn a_row_that_violates_a_constraint_is_not_logged() {
    let database = TestDatabase::migrated().await;
    let (user_id, token) = register(&database.environment).await;
    database
        .owner
        .execute("ALTER TABLE task ADD CHECK (title <> 'private')", &[])
        .await;
    let function = Function::start("create-task", &database.environment).await;
    let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);
    let response = function
        .http(&request.json(&json!({"title": "private"})))
        .await;
    assert_eq!(
        (response.status, response.body),
        (500, json!({"detail": "Internal Server Error"}))
    );
    let log = function.stop().await;
    assert!(
        log.contains("SQLSTATE 23514") && !log.contains("private"),
        "{log}"
    );
    database.drop().await;
}

// Not over HTTP: under load `cargo lambda watch` loses some responses of this size.
#[tokio::test]
async fn a_list_above_the_lambda_limit_is_413() {
    let database = TestDatabase::migrated().await;
    let (user_id, token) = register(&database.environment).await;
    let function = Function::start("list-tasks", &database.environment).await;
    let list = HttpEvent::new("GET", "/api/{user_id}/tasks", &[&user_id]).bearer(&token);
    let id: i32 = user_id.parse().expect("an id");
    // Each quote takes two bytes in the list and four in the response of the function.
    let insert = "INSERT INTO task (user_id, title, description)
                  SELECT $1, 'large', repeat('\"', 1024 * 1024) FROM generate_series(1, $2)";
    for (more, status) in [(1, 200), (1, 413), (20, 413)] {
        database.owner.execute(insert, &[&id, &more]).await;
        let response = function.http(&list).await;
        assert_eq!(response.status, status);
        if status == 413 {
            assert_eq!(
                response.body,
                json!({"detail": "Task list too large, ask for pages with limit"})
            );
        }
    }
    // The instance still works.
    database.owner.batch_execute("DELETE FROM task").await;
    assert_eq!(function.http(&list).await.body, json!([]));
    database.drop().await;
}

#[tokio::test]
async fn the_shallow_health_check_opens_no_connection() {
    let proxy = ChaosProxy::start().await;
    let function = Function::start(
        "health",
        &Environment::default().with("DATABASE_URL", proxy.url()),
    )
    .await;
    let response = function.http(&HttpEvent::new("GET", "/health", &[])).await;
    assert_eq!(
        (response.status, &response.body["status"]),
        (200, &json!("ok"))
    );
    assert_eq!(proxy.round_trips(), 0);
    let deep = function.http(&HttpEvent::deep_health()).await;
    assert_eq!(
        (deep.status, &deep.body["schema_version"]),
        (200, &json!(tests::newest_migration()))
    );
    assert!(proxy.round_trips() > 0);
}
