//! Migrations in a deployment: as a custom resource of CloudFormation.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::database::TestDatabase;
use tests::function::{Environment, Function};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The endpoint for responses of a custom resource. It expects a PUT without a content type, and fails the first one.
struct CloudFormation {
    url: String,
    bodies: mpsc::UnboundedReceiver<(bool, Value)>,
}

impl CloudFormation {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!(
            "http://{}/response?X-Amz-Signature=s3cret",
            listener.local_addr().expect("an address")
        );
        let (sender, bodies) = mpsc::unbounded_channel();
        let has_failed_once = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let router = Router::new()
            .route("/response", put(receive))
            .with_state((sender, has_failed_once));
        tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self { url, bodies }
    }

    fn request(&self, kind: &str) -> Value {
        json!({
            "RequestType": kind,
            "ServiceToken": "arn:aws:lambda:eu-central-1:000000000000:function:migrate",
            "ResponseURL": self.url,
            "StackId": "arn:aws:cloudformation:eu-central-1:000000000000:stack/todo/1",
            "RequestId": format!("request-{kind}"),
            "LogicalResourceId": "Migration",
            "ResourceType": "AWS::CloudFormation::CustomResource",
            "ResourceProperties": {"Version": "1"},
        })
    }

    async fn next_body(&mut self) -> Value {
        let (has_content_type, body) = self.bodies.recv().await.expect("a response");
        assert!(!has_content_type);
        body
    }

    /// The next response of the custom resource.
    async fn next_response(&mut self) -> Value {
        let body = self.next_body().await;
        assert_eq!(
            body["StackId"],
            "arn:aws:cloudformation:eu-central-1:000000000000:stack/todo/1"
        );
        assert_eq!(
            (&body["LogicalResourceId"], &body["PhysicalResourceId"]),
            (&json!("Migration"), &json!("schema"))
        );
        body
    }
}

type Received = (
    mpsc::UnboundedSender<(bool, Value)>,
    std::sync::Arc<std::sync::atomic::AtomicBool>,
);

async fn receive(
    State((sender, has_failed_once)): State<Received>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if !has_failed_once.swap(true, std::sync::atomic::Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body = serde_json::from_slice(&body).expect("JSON");
    sender
        .send((headers.contains_key("content-type"), body))
        .expect("a test");
    StatusCode::OK
}

#[tokio::test]
async fn deployments_migrate_and_stack_deletion_keeps_data() {
    let database = TestDatabase::empty().await;
    let mut cloudformation = CloudFormation::start().await;
    let function = Function::start("migrate", &database.environment).await;
    for (kind, applied) in [("Create", tests::newest_migration()), ("Update", 0)] {
        let result = function
            .invoke(cloudformation.request(kind))
            .await
            .expect("a success");
        assert_eq!(
            result["applied"].as_array().map(Vec::len),
            Some(applied),
            "{result}"
        );
        let response = cloudformation.next_response().await;
        assert_eq!(
            (&response["Status"], &response["RequestId"]),
            (&json!("SUCCESS"), &json!(format!("request-{kind}")))
        );
    }
    function
        .invoke(cloudformation.request("Delete"))
        .await
        .expect("a success");
    assert_eq!(cloudformation.next_response().await["Status"], "SUCCESS");
    let tables = database
        .owner
        .query_one("SELECT to_regclass('task') IS NOT NULL AS exists", &[])
        .await;
    assert_eq!(tables, json!({"exists": true}));
    let log = function.stop().await;
    assert!(!log.contains("s3cret"), "{log}");
    assert!(log.contains(r#""message":"migrated""#), "{log}");
    database.drop().await;
}

#[tokio::test]
async fn a_failed_migration_fails_the_deployment_with_a_reason() {
    let database = TestDatabase::empty().await;
    database
        .owner
        .batch_execute("CREATE TABLE session (id integer)")
        .await;
    let mut cloudformation = CloudFormation::start().await;
    let function = Function::start("migrate", &database.environment).await;
    assert!(
        function
            .invoke(cloudformation.request("Update"))
            .await
            .is_err()
    );
    let response = cloudformation.next_response().await;
    assert_eq!(response["Status"], "FAILED");
    let reason = response["Reason"].as_str().expect("a reason");
    assert!(reason.contains("nothing was changed"), "{reason}");
    // CloudFormation then deletes the failed stack.
    function
        .invoke(cloudformation.request("Delete"))
        .await
        .expect("a success");
    assert_eq!(cloudformation.next_response().await["Status"], "SUCCESS");
    database.drop().await;
}

#[tokio::test]
async fn only_cloudformation_gets_a_response() {
    let database = TestDatabase::empty().await;
    let mut cloudformation = CloudFormation::start().await;
    let function = Function::start("migrate", &database.environment).await;
    for url in [
        "https://example.com/response",
        "https://amazonaws.com.example.com/response",
        "https://example-amazonaws.com/response",
        "https://amazonaws.com/response",
        "https://s3.amazonaws.com@example.com/response",
        "http://cloudformation.s3.eu-central-1.amazonaws.com/response",
        "http://192.0.2.1/response",
        "http://127.0.0.1.example.com/response",
        "ftp://s3.amazonaws.com/response",
        "//s3.amazonaws.com/response",
        "/response",
        "",
    ] {
        let mut request = cloudformation.request("Delete");
        request["ResponseURL"] = url.into();
        function.invoke(request).await.expect("a success");
    }
    // The function goes on.
    for _ in 0..2 {
        function
            .invoke(cloudformation.request("Delete"))
            .await
            .expect("a success");
    }
    assert_eq!(cloudformation.next_response().await["Status"], "SUCCESS");
    let log = function.stop().await;
    assert_eq!(log.matches("nothing was sent").count(), 12, "{log}");
}

/// What `migrate` answers to an event of CloudFormation with these settings, with an unreachable database if it gets so far.
async fn response_to(event: Value, environment: &Environment) -> Value {
    let mut cloudformation = CloudFormation::start().await;
    let mut event = event;
    event["ResponseURL"] = cloudformation.url.clone().into();
    let function = Function::start("migrate", environment).await;
    let succeeded = function.invoke(event).await.is_ok();
    let response = cloudformation.next_body().await;
    assert_eq!(succeeded, response["Status"] == "SUCCESS", "{response}");
    function.stop().await;
    response
}

/// An event, whose URL is still missing.
fn event(kind: &str) -> Value {
    json!({
        "RequestType": kind,
        "StackId": "arn:aws:cloudformation:eu-central-1:000000000000:stack/todo/1",
        "RequestId": "1",
        "LogicalResourceId": "Migration",
    })
}

/// Settings of every kind that are refused, with a part of the reason.
fn refused_settings() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("DATABASE_URL", "", "DATABASE_URL is missing"),
        ("DATABASE_URL", "s3cret", "not a PostgreSQL connection"),
        ("DATABASE_URL_UNPOOLED", "mysql://u:s3cret@h/d", "MySQL"),
        ("SSL_CERT_FILE", "/nowhere/ca.crt", "/nowhere/ca.crt"),
        ("SETTINGS_JSON", "{\"SECRET_KEY\": s3cret", "SETTINGS_JSON"),
        ("OWNER_SETTINGS_JSON", "[\"s3cret\"]", "OWNER_SETTINGS"),
        // Those that only the other functions read.
        ("SECRET_KEY", "", "SECRET_KEY is missing"),
        ("SECRET_KEY", "s3cret", "SECRET_KEY is too short"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "soon", "\"soon\""),
        ("MAX_FAILED_LOGINS_PER_ACCOUNT", "few", "\"few\""),
    ]
}

#[tokio::test]
async fn refused_settings_fail_a_deployment_with_a_reason() {
    let cases = refused_settings()
        .into_iter()
        .flat_map(|(name, value, expected)| {
            ["Create", "Update"].map(move |kind| async move {
                let environment = Environment::default().with(name, value);
                let response = response_to(event(kind), &environment).await;
                assert_eq!(response["Status"], "FAILED", "{name}");
                let reason = response["Reason"].as_str().expect("a reason");
                assert!(reason.contains(expected), "{name}: {reason}");
                assert!(!reason.contains("s3cret"), "{name}: {reason}");
            })
        });
    join_all(cases).await;
}

#[tokio::test]
async fn a_stack_is_deleted_whatever_the_settings() {
    let cases = refused_settings()
        .into_iter()
        .map(async |(name, value, _)| {
            let environment = Environment::default().with(name, value);
            let response = response_to(event("Delete"), &environment).await;
            assert_eq!(response["Status"], "SUCCESS", "{name}: {response}");
        });
    join_all(cases).await;
}

#[tokio::test]
async fn the_reason_names_every_problem_of_the_settings() {
    let long = "x".repeat(3_000);
    let environment = Environment::default()
        .with(
            "DATABASE_URL",
            "postgresql://u@db.example.com/d?sslmode=prefer",
        )
        .with("DATABASE_URL_UNPOOLED", "")
        .with("SECRET_KEY", "short")
        .with("SSL_CERT_FILE", format!("/{long}"))
        .with("ACCESS_TOKEN_EXPIRE_MINUTES", &long)
        .with("MAX_REGISTRATIONS_PER_ADDRESS", &long);
    let response = response_to(event("Create"), &environment).await;
    assert!(response.to_string().len() <= 4096, "{response}");
    let reason = response["Reason"].as_str().expect("a reason");
    for problem in [
        "sslmode",
        "db.example.com",
        "no password",
        "SECRET_KEY is too short",
        "SSL_CERT_FILE",
        "ACCESS_TOKEN_EXPIRE_MINUTES",
        "MAX_REGISTRATIONS_PER_ADDRESS",
    ] {
        assert!(reason.contains(problem), "{problem}: {reason}");
    }
    // No problem is named twice, although `migrate` and the functions read the same variable.
    assert_eq!(reason.lines().count(), 7, "{reason}");
}

#[tokio::test]
async fn every_event_with_a_response_url_is_answered() {
    for event in [
        json!({}),
        json!({"RequestType": "Replace", "RequestId": "1"}),
    ] {
        let response = response_to(event, &Environment::default()).await;
        assert_eq!(response["Status"], "FAILED");
        let reason = response["Reason"].as_str().expect("a reason");
        assert!(reason.contains("RequestType"), "{reason}");
    }
}

#[tokio::test]
async fn other_events_fail_with_refused_settings_too() {
    let environment = Environment::default().with("DATABASE_URL_UNPOOLED", "s3cret");
    let function = Function::start("migrate", &environment).await;
    let error = function.invoke(json!({})).await.expect_err("a failure");
    let error = error.to_string();
    assert!(error.contains("DATABASE_URL_UNPOOLED"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let log = function.stop().await;
    assert!(log.contains("error: DATABASE_URL_UNPOOLED"), "{log}");
}

#[tokio::test]
async fn deployments_migrate_with_settings_in_json() {
    let database = TestDatabase::empty().await;
    let value = |name| database.environment.value(name);
    let settings =
        json!({"DATABASE_URL": value("DATABASE_URL"), "SECRET_KEY": value("SECRET_KEY")});
    let owner = json!({"DATABASE_URL_UNPOOLED": value("DATABASE_URL_UNPOOLED")});
    let environment = database.environment.clone();
    let environment = ["DATABASE_URL", "DATABASE_URL_UNPOOLED", "SECRET_KEY"]
        .into_iter()
        .fold(environment, Environment::without)
        .with("SETTINGS_JSON", settings.to_string())
        .with("OWNER_SETTINGS_JSON", owner.to_string());
    let response = response_to(event("Create"), &environment).await;
    assert_eq!(response["Status"], "SUCCESS", "{response}");
    database.drop().await;
}
