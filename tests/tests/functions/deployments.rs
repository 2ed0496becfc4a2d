//! Migrations in a deployment: as a custom resource of CloudFormation.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use serde_json::{Value, json};
use tests::database::TestDatabase;
use tests::function::Function;
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

    /// The next response of the custom resource.
    async fn next_response(&mut self) -> Value {
        let (has_content_type, body) = self.bodies.recv().await.expect("a response");
        assert!(!has_content_type);
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
    database.drop().await;
}
