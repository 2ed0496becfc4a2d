//! The greeting, and the health of the service.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName};
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

/// The headers of an answer, but for those that differ between any two answers.
fn comparable(headers: &HeaderMap) -> Vec<(&HeaderName, &[u8])> {
    let mut headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name, value.as_bytes()))
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .collect();
    headers.sort_unstable_by_key(|(name, _)| name.as_str());
    headers
}

#[tokio::test]
async fn head_on_public_routes_is_get_without_a_body() {
    let api = Api::from_env();
    for (path, header, value) in [
        ("/", "accept", "*/*"),
        ("/health", "accept", "*/*"),
        ("/docs", "accept-encoding", "gzip"),
        ("/docs", "accept-encoding", "identity"),
        ("/openapi.json", "accept-encoding", "gzip"),
        ("/openapi.json", "accept", "*/*"),
    ] {
        let send = async |method| {
            api.send(api.request(method, path).header(header, value))
                .await
        };
        let (get, head) = (send("GET").await, send("HEAD").await);
        assert_eq!(
            (get.status, head.status),
            (StatusCode::OK, StatusCode::OK),
            "{path}"
        );
        assert_eq!(
            comparable(&head.headers),
            comparable(&get.headers),
            "{path}"
        );
        assert!(head.headers.contains_key("x-request-id"), "{path}");
        assert!(!get.text.is_empty() && head.text.is_empty(), "{path}");
    }
    let etag = api.send(api.request("HEAD", "/docs")).await.headers["etag"].clone();
    let known = api.request("HEAD", "/docs").header("if-none-match", etag);
    assert_eq!(api.send(known).await.status, 304);
}

#[tokio::test]
async fn head_on_other_routes_is_refused() {
    let api = Api::from_env();
    for path in [
        "/api/auth/me",
        "/api/1/tasks",
        "/api/1/tasks/1",
        "/api/auth/login",
    ] {
        let answer = api.send(api.request("HEAD", path)).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
    }
}
