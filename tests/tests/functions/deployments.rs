//! Migrating as a deployment does: as a custom resource of CloudFormation.

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

/// Where CloudFormation waits for answers: it takes a PUT without a content type, and the first one fails.
struct Answers {
    url: String,
    bodies: mpsc::UnboundedReceiver<(bool, Value)>,
}

impl Answers {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!(
            "http://{}/answer?X-Amz-Signature=s3cret",
            listener.local_addr().expect("an address")
        );
        let (sender, bodies) = mpsc::unbounded_channel();
        let refused = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let router = Router::new()
            .route("/answer", put(take))
            .with_state((sender, refused));
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

    async fn next(&mut self) -> Value {
        let (has_content_type, body) = self.bodies.recv().await.expect("an answer");
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

type Taken = (
    mpsc::UnboundedSender<(bool, Value)>,
    std::sync::Arc<std::sync::atomic::AtomicBool>,
);

async fn take(
    State((sender, refused)): State<Taken>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if !refused.swap(true, std::sync::atomic::Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body = serde_json::from_slice(&body).expect("JSON");
    sender
        .send((headers.contains_key("content-type"), body))
        .expect("a test");
    StatusCode::OK
}

#[tokio::test]
async fn a_deployment_migrates_and_is_told_and_a_deleted_stack_leaves_the_data() {
    let own = TestDatabase::empty().await;
    let mut answers = Answers::start().await;
    let function = Function::start("migrate", &own.environment).await;
    for (kind, applied) in [("Create", tests::newest_migration()), ("Update", 0)] {
        let result = function
            .invoke(answers.request(kind))
            .await
            .expect("a success");
        assert_eq!(
            result["applied"].as_array().map(Vec::len),
            Some(applied),
            "{result}"
        );
        let answer = answers.next().await;
        assert_eq!(
            (&answer["Status"], &answer["RequestId"]),
            (&json!("SUCCESS"), &json!(format!("request-{kind}")))
        );
    }
    function
        .invoke(answers.request("Delete"))
        .await
        .expect("a success");
    assert_eq!(answers.next().await["Status"], "SUCCESS");
    let tables = own
        .owner
        .query_one("SELECT to_regclass('task') IS NOT NULL AS there", &[])
        .await;
    assert_eq!(tables, json!({"there": true}));
    let log = function.stop().await;
    assert!(!log.contains("s3cret"), "{log}");
    assert!(log.contains(r#""message":"migrated""#), "{log}");
    own.drop().await;
}

#[tokio::test]
async fn a_migration_that_fails_fails_the_deployment_and_says_why() {
    let own = TestDatabase::empty().await;
    own.owner
        .batch_execute("CREATE TABLE session (id integer)")
        .await;
    let mut answers = Answers::start().await;
    let function = Function::start("migrate", &own.environment).await;
    assert!(function.invoke(answers.request("Update")).await.is_err());
    let answer = answers.next().await;
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().expect("a reason");
    assert!(reason.contains("a migration failed"), "{reason}");
    // The stack that could not be made is deleted again.
    function
        .invoke(answers.request("Delete"))
        .await
        .expect("a success");
    assert_eq!(answers.next().await["Status"], "SUCCESS");
    own.drop().await;
}
