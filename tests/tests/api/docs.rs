//! The OpenAPI document and the page at /docs as HTTP responses. tests/browser opens the page in a browser.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tests::api::Api;
use tests::read;
use yaml_rust2::{Yaml, YamlLoader};

/// Requests a document with one header.
async fn get(path: &str, name: &str, value: &str) -> Response {
    let request = Api::from_env().request("GET", path).header(name, value);
    request.send().await.expect("an answer")
}

/// Requests a document without compression.
async fn document(path: &str) -> Response {
    get(path, "accept-encoding", "identity").await
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("a text"))
}

/// The content of the only element with this tag.
fn element<'a>(page: &'a str, tag: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<{tag}>")).expect("an element");
    let (content, rest) = rest.split_once(&format!("</{tag}>")).expect("its end");
    assert!(!rest.contains(&format!("<{tag}>")), "a second {tag}");
    content
}

fn yaml(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).expect("YAML");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

#[tokio::test]
async fn openapi_json_equals_openapi_yaml() {
    let response = document("/openapi.json").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    let text = response.text().await.expect("a text");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        json["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1."))
    );
    assert!(json["paths"]["/api/{user_id}/tasks"]["get"].is_object());
    // YAML is a superset of JSON.
    assert_eq!(yaml(&text), yaml(&read("openapi.yaml")));
}

#[tokio::test]
async fn the_page_is_self_contained_and_its_policy_is_strict() {
    let response = document("/docs").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        header(&response, "content-type"),
        "text/html; charset=utf-8"
    );
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "referrer-policy"), "no-referrer");
    let policy = header(&response, "content-security-policy").to_owned();
    let page = response.text().await.expect("a text");
    let (style, script) = (element(&page, "style"), element(&page, "script"));
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let directives: Vec<_> = policy.split("; ").collect();
    assert_eq!(
        directives,
        [
            "default-src 'none'",
            &format!("script-src {}", hash(script)),
            &format!("style-src {}", hash(style)),
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    );
    let markup = page.replace(script, "").replace(style, "");
    for link in ["src=", "href=\"http", "href=\"//"] {
        assert!(!markup.contains(link), "{markup}");
    }
    assert!(!style.contains("@import"));
    let urls = style.split("url(").skip(1);
    for url in urls.map(|url| url.trim_start_matches('"')) {
        assert!(url.starts_with("data:"), "{}", &url[..80.min(url.len())]);
    }
}

#[tokio::test]
async fn documents_are_compressed_if_the_client_accepts_gzip() {
    for path in ["/openapi.json", "/docs"] {
        let plain = document(path).await;
        assert_eq!(header(&plain, "content-encoding"), "", "{path}");
        assert!(header(&plain, "vary").contains("accept-encoding"), "{path}");
        let plain = plain.bytes().await.expect("a body");
        for (accepted, is_gzip) in [
            ("gzip", true),
            ("x-gzip", true),
            ("br;q=1.0, GZIP; q=0.5", true),
            ("*", true),
            ("identity;q=0, *;q=0.1", true),
            ("br, deflate", false),
            ("identity", false),
            ("gzip;q=0, identity", false),
            ("gzip;q=0, *", false),
            ("*;q=0", false),
            ("", false),
        ] {
            let response = get(path, "accept-encoding", accepted).await;
            let expected = if is_gzip { "gzip" } else { "" };
            assert_eq!(
                header(&response, "content-encoding"),
                expected,
                "{path}: {accepted}"
            );
            let body = response.bytes().await.expect("a body");
            if is_gzip {
                let mut unpacked = Vec::new();
                let mut decoder = GzDecoder::new(&body[..]);
                decoder.read_to_end(&mut unpacked).expect("gzip");
                assert!(body.len() < plain.len() / 3 && unpacked == plain, "{path}");
            } else {
                assert!(body == plain, "{path}: {accepted}");
            }
        }
    }
}

#[tokio::test]
async fn the_page_is_compressed_unless_the_client_refuses_gzip() {
    let api = Api::from_env();
    let page = api.request("GET", "/docs").send().await.expect("an answer");
    assert_eq!(header(&page, "content-encoding"), "gzip");
    assert!(page.bytes().await.expect("a body").len() < 500_000);

    // Programs such as curl, which send no Accept-Encoding, do not unpack it.
    let document = api.request("GET", "/openapi.json").send().await;
    let document = document.expect("an answer");
    assert_eq!(header(&document, "content-encoding"), "");
    assert!(document.json::<serde_json::Value>().await.is_ok());
}

#[tokio::test]
async fn unchanged_documents_are_answered_with_304() {
    for path in ["/openapi.json", "/docs"] {
        let response = document(path).await;
        assert_eq!(header(&response, "cache-control"), "no-cache");
        let etag = header(&response, "etag").to_owned();
        let strong = etag.trim_start_matches("W/").to_owned();
        let listed = format!("\"another\", {etag}");
        for known in [etag.clone(), strong, listed, "*".to_owned()] {
            let response = get(path, "if-none-match", &known).await;
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{path}");
            assert_eq!(header(&response, "etag"), etag);
            assert!(response.bytes().await.expect("a body").is_empty());
        }
        for unknown in ["W/\"another\"", "bare"] {
            let response = get(path, "if-none-match", unknown).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}: {unknown}");
        }
    }
}
