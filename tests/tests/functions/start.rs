//! What a function needs to start, and what it says where that is missing.

use std::time::Duration;

use tests::function::{Environment, Function, HttpEvent, run};
use tests::openapi;
use tokio::time::timeout;

const PASSWORD: &str = "s3cret-password";

/// Each kind of bad `DATABASE_URL`, and what the sentence about it says.
const BAD_URLS: [(&str, &str); 13] = [
    ("", "DATABASE_URL is missing"),
    ("sqlite:///./todo.db", "SQLite"),
    ("mysql://u:s3cret-password@ep-1.neon.tech/d", "MySQL"),
    ("file:/tmp/todo.db", "names a file"),
    ("not a url", "not a PostgreSQL connection string"),
    (
        "postgresql://u:s3cret-password@db.example.com/d",
        "not one of Neon's",
    ),
    (
        "postgresql://u:s3cret-password@localhost/d",
        "ALLOW_LOCAL_DATABASE",
    ),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech/d?sslmode=disable",
        "sslmode=require",
    ),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech/",
        "no database name",
    ),
    ("postgresql://u@ep-1.neon.tech/d", "no password"),
    ("postgresql://:s3cret-password@ep-1.neon.tech/d", "no role"),
    (
        "postgresql://u:s3cret-password@ep-1.neon.tech:port/d",
        "cannot be read",
    ),
    ("postgresql://u:s3cret-p@ssword@ep-1.neon.tech/d", "%40"),
];

#[tokio::test]
async fn no_function_starts_with_a_bad_database_url() {
    let mut functions = openapi::functions();
    functions.extend(["migrate", "purge-sessions"].map(str::to_owned));
    for (url, sentence) in BAD_URLS {
        let environment = Environment::default()
            .with("DATABASE_URL", url)
            .without("DATABASE_URL_UNPOOLED")
            .without("ALLOW_LOCAL_DATABASE")
            // It would be refused an answer there, and hang, if it asked for an event.
            .with("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9");
        for function in &functions {
            let output = run(function, &[], &environment).await;
            assert_eq!(
                output.status,
                Some(1),
                "{function} with {url}: {}",
                output.text
            );
            assert!(
                output.text.contains(sentence),
                "{function} with {url}: {}",
                output.text
            );
            assert!(
                !output.text.contains(PASSWORD) && !output.text.contains("s3cret-p"),
                "{function} with {url}"
            );
        }
    }
}

#[tokio::test]
async fn a_function_with_bad_settings_asks_for_no_event() {
    let mut function =
        Function::start("list-tasks", &Environment::default().without("SECRET_KEY")).await;
    assert!(
        timeout(Duration::from_secs(1), function.requests_event())
            .await
            .is_ok_and(|asked| !asked)
    );
}

#[tokio::test]
async fn every_problem_is_named_at_once() {
    let environment = Environment::default()
        .with(
            "DATABASE_URL",
            "postgresql://u@db.example.com/d?sslmode=prefer",
        )
        .with("SECRET_KEY", "short")
        .with("SSL_CERT_FILE", "/nowhere/ca.crt")
        .with("ACCESS_TOKEN_EXPIRE_MINUTES", "soon");
    let output = run("login", &[], &environment).await;
    assert_eq!(output.status, Some(1));
    for problem in [
        "sslmode",
        "db.example.com",
        "no password",
        "SECRET_KEY is too short",
        "/nowhere/ca.crt",
        "\"soon\"",
    ] {
        assert!(
            output.text.contains(problem),
            "{problem} is not in: {}",
            output.text
        );
    }
    assert_eq!(output.text.lines().count(), 6, "{}", output.text);
}

#[tokio::test]
async fn a_secret_key_that_is_none_is_refused() {
    for (key, sentence) in [
        ("", "SECRET_KEY is missing"),
        ("0123456789012345678901234567890", "too short"),
        (
            "your-super-secret-key-change-this-in-production",
            "placeholder",
        ),
        ("CHANGE-ME-CHANGE-ME-CHANGE-ME-CHANGE-ME", "placeholder"),
        ("00000000000000000000000000000000", "over and over"),
    ] {
        let output = run(
            "login",
            &[],
            &Environment::default().with("SECRET_KEY", key),
        )
        .await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        assert!(output.text.contains(sentence), "{}", output.text);
        assert!(
            key.is_empty() || !output.text.contains(key),
            "the key is in: {}",
            output.text
        );
    }
}

#[tokio::test]
async fn a_file_of_certificates_has_to_hold_some() {
    for path in ["/nowhere/ca.crt", "/", "/dev/null"] {
        let output = run(
            "login",
            &[],
            &Environment::default().with("SSL_CERT_FILE", path),
        )
        .await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        assert!(
            output.text.contains("SSL_CERT_FILE") && output.text.contains(path),
            "{}",
            output.text
        );
    }
}

#[tokio::test]
async fn a_function_outside_of_lambda_says_so() {
    let output = run("login", &[], &Environment::default()).await;
    assert_eq!(output.status, Some(1));
    assert!(output.text.contains("./dev up"), "{}", output.text);
}

#[tokio::test]
async fn the_log_names_the_database_and_no_secret() {
    let environment = Environment::default().with("AWS_LAMBDA_LOG_LEVEL", "TRACE");
    let url = std::env::var("DATABASE_URL").expect("a DATABASE_URL");
    let password = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':'))
        .expect("credentials")
        .1;
    let key = std::env::var("SECRET_KEY").expect("a SECRET_KEY");

    let mut function = Function::start("health", &environment).await;
    function.wait_until_ready().await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    let log = function.stop().await;
    for word in [
        "\"host\":\"localhost\"",
        "\"database\":",
        "\"role\":",
        "\"route\":\"direct\"",
        "\"tls_version\":\"1.3\"",
    ] {
        assert!(log.contains(word), "{word} is not in: {log}");
    }
    assert!(!log.contains(password) && !log.contains(&key));
}
