//! The greeting, and the health of the service.

use serde_json::json;
use tests::api::Api;

#[tokio::test]
async fn the_root_returns_a_greeting() {
    let api = Api::from_env();
    let answer = api.send(api.request("GET", "/")).await;
    assert_eq!(
        answer.expect(200),
        json!({"message": "Welcome to the Todo API"})
    );
}

#[tokio::test]
async fn health_is_ok() {
    let api = Api::from_env();
    let answer = api.send(api.request("GET", "/health")).await;
    assert_eq!(answer.expect(200)["status"], "ok");
}

#[tokio::test]
async fn deep_health_reports_the_schema_version() {
    let api = Api::from_env();
    let answer = api
        .send(api.request("GET", "/health?deep=1"))
        .await
        .expect(200);
    assert_eq!(answer["status"], "ok");
    assert!(
        answer["schema_version"]
            .as_i64()
            .is_some_and(|version| version >= 1),
        "{answer}"
    );
}
