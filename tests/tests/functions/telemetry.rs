//! The contents of the log: lines about connections and requests, and nothing confidential.

use serde_json::{Value, json};
use tests::api::PASSWORD;
use tests::database::TestDatabase;
use tests::fixtures::Fixtures;
use tests::function::{Environment, Function, HttpEvent, TRACE_ID};
use tests::newest_migration;
use tests::routes::{route, routes};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn at_level(level: &str) -> Environment {
    Environment::default().with("AWS_LAMBDA_LOG_LEVEL", level)
}

/// Parses a log. Each line must be JSON.
fn parse_log(log: &str) -> Vec<Value> {
    let line =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(line).collect()
}

fn with_message(lines: &[Value], message: &str) -> Vec<Value> {
    let matches = |line: &&Value| line["message"] == message;
    lines.iter().filter(matches).cloned().collect()
}

/// Asserts that a value is a number in this range.
#[track_caller]
fn assert_between(value: &Value, low: f64, high: f64) {
    let number = value.as_f64();
    assert!(
        number.is_some_and(|number| (low..=high).contains(&number)),
        "{value}"
    );
}

#[tokio::test]
async fn the_connection_and_each_request_log_one_line() {
    let route_case = Fixtures::new().await.route_case(route("get-task")).await;
    let function = Function::start("get-task", &at_level("INFO")).await;
    let request = route_case.request().header("traceparent", TRACEPARENT);
    let ids = [
        function.http(&request).await.headers["x-request-id"].clone(),
        function.http(&request).await.headers["x-request-id"].clone(),
    ];
    let log = parse_log(&function.stop().await);
    assert_eq!(log.len(), 3, "{log:?}");

    let [connected] = &with_message(&log, "connected")[..] else {
        panic!("{log:?}")
    };
    assert_eq!(connected["schema_version"], newest_migration());
    assert_eq!(
        (&connected["host"], &connected["route"]),
        (&json!("localhost"), &json!("direct"))
    );
    assert_eq!(connected["tls_version"], "1.3");
    for name in ["version", "function_version", "database", "role"] {
        assert!(
            connected[name]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{name}"
        );
    }
    assert_between(&connected["connect_ms"], 0.1, 5_000.0);

    let answered = with_message(&log, "answered");
    assert_eq!(answered.len(), 2, "{log:?}");
    for (number, line) in answered.iter().enumerate() {
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["request_id"], ids[number]);
        assert_eq!(
            (&line["trace_id"], &line["traceparent"]),
            (&json!(TRACE_ID), &json!(TRACEPARENT))
        );
        assert_eq!(line["route"], "GET /api/{user_id}/tasks/{id}");
        assert_eq!(
            (&line["status"], &line["user_id"]),
            (&json!(200), &json!(route_case.user_id_number()))
        );
        assert_eq!(
            (&line["round_trips"], &line["retries"]),
            (&json!(1), &json!(0))
        );
        assert_eq!(line["cold_start"], number == 0);
        assert_between(
            &line["database_ms"],
            0.01,
            line["duration_ms"].as_f64().expect("a time"),
        );
        assert_between(&line["connection_age_s"], 0.0, 30.0);
        assert_eq!(
            (&line["error"], &line["cause"]),
            (&Value::Null, &Value::Null)
        );
    }
}

#[tokio::test]
async fn client_errors_log_a_kind_and_faults_a_cause_too() {
    let database = TestDatabase::migrated().await;
    let environment = database
        .environment
        .clone()
        .with("AWS_LAMBDA_LOG_LEVEL", "INFO");
    let route_case = Fixtures::in_environment(&environment)
        .await
        .route_case(route("me"))
        .await;
    let function = Function::start("me", &environment).await;
    assert_eq!(
        function
            .http(&route_case.request().anonymous())
            .await
            .status,
        401
    );
    database
        .owner
        .batch_execute("ALTER TABLE \"user\" RENAME TO renamed")
        .await;
    function
        .http(&route_case.request())
        .await
        .assert_unavailable();
    database
        .owner
        .batch_execute("ALTER TABLE renamed RENAME TO \"user\"")
        .await;
    let log = with_message(&parse_log(&function.stop().await), "answered");
    let [refused, failed] = &log[..] else {
        panic!("{log:?}")
    };
    assert_eq!(
        (&refused["error"], &refused["level"]),
        (&json!("not_authenticated"), &json!("INFO"))
    );
    assert_eq!(
        (&refused["cause"], &refused["user_id"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&failed["error"], &failed["level"]),
        (&json!("unavailable"), &json!("ERROR"))
    );
    let cause = failed["cause"].as_str().expect("a cause");
    assert!(cause.contains("SQLSTATE 42P01"), "{cause}");
    database.drop().await;
}

#[tokio::test]
async fn above_level_info_only_faults_are_logged() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    let function = Function::start("me", &at_level("ERROR")).await;
    assert_eq!(function.http(&route_case.request()).await.status, 200);
    assert_eq!(function.stop().await, "");
}

/// The dimensions and the names of the metrics in a directive. Each metric must be a number in the line.
fn metric_names(directive: &Value, line: &Value) -> String {
    assert_eq!(directive["Namespace"], "todo");
    let mut found = directive["Dimensions"][0].to_string();
    for metric in directive["Metrics"].as_array().expect("a list") {
        let name = metric["Name"].as_str().expect("a name");
        assert!(line[name].is_number(), "{name}: {line}");
        found = format!("{found} {name}");
    }
    found
}

#[tokio::test]
async fn metrics_are_logged_if_they_have_a_namespace() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    let function = Function::start("me", &at_level("INFO").with("METRICS_NAMESPACE", "todo")).await;
    for request in [route_case.request(), route_case.request().anonymous()] {
        function.http(&request).await;
    }
    let log = with_message(&parse_log(&function.stop().await), "answered");
    let request_metrics = "[] requests duration_ms database_ms retries cold_starts";
    let with_connection = format!("{request_metrics} connection_age_s");
    for (line, expected) in log.iter().zip([
        &[with_connection.as_str()][..],
        &[request_metrics, "[\"error\"] errors"],
    ]) {
        assert_between(&line["_aws"]["Timestamp"], 1.7e12, 9e12);
        let directives = line["_aws"]["CloudWatchMetrics"].as_array();
        let directives = directives.expect("a list").iter();
        let found: Vec<_> = directives
            .map(|directive| metric_names(directive, line))
            .collect();
        assert_eq!(found, expected);
    }
    assert_eq!(
        (&log[0]["cold_starts"], &log[1]["cold_starts"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        (&log[0]["errors"], &log[1]["errors"]),
        (&Value::Null, &json!(1))
    );
    assert_eq!(log[1]["error"], "not_authenticated");
}

#[tokio::test]
async fn request_contents_are_not_logged() {
    const CONFIDENTIAL: &str = "not-for-the-log";
    let fixtures = Fixtures::new().await;
    for route in routes() {
        let route_case = fixtures.route_case(route).await;
        let function = Function::start(route.function, &at_level("TRACE")).await;
        let request = route_case
            .request()
            .json(&json!({
                "username": CONFIDENTIAL, "email": format!("{CONFIDENTIAL}@example.com"), "password": format!("{PASSWORD} {CONFIDENTIAL}"),
                "current_password": CONFIDENTIAL, "new_password": CONFIDENTIAL, "title": CONFIDENTIAL, "description": CONFIDENTIAL
            }))
            .query(&format!("token={CONFIDENTIAL}"))
            .header("x-forwarded-for", CONFIDENTIAL)
            .header("traceparent", CONFIDENTIAL)
            .header("cookie", CONFIDENTIAL);
        for request in [
            request
                .clone()
                .header("authorization", &format!("Bearer {CONFIDENTIAL}")),
            request
                .clone()
                .body(format!("{{\"{CONFIDENTIAL}").as_bytes()),
            request,
        ] {
            assert!(function.http(&request).await.status < 500);
        }
        let log = function.stop().await;
        assert!(log.contains("\"answered\""), "{log}");
        assert!(
            !log.contains(CONFIDENTIAL) && !log.contains(&route_case.token),
            "{}",
            route.function
        );
    }
}

#[tokio::test]
async fn every_login_and_every_rejection_is_logged() {
    let database = TestDatabase::migrated().await;
    let environment = database
        .environment
        .clone()
        .with("AWS_LAMBDA_LOG_LEVEL", "INFO");
    let environment = environment.with("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", "1");
    let fixtures = Fixtures::in_environment(&environment).await;
    let (route_case, other) = (
        fixtures.route_case(route("login")).await,
        fixtures.route_case(route("get-task")).await,
    );
    let login = Function::start("login", &environment).await;
    let wrong = json!({"email": route_case.email, "password": "wrong"});
    for request in [
        route_case.request(),
        route_case.request().json(&wrong),
        route_case.request(),
        route_case.request().json(&json!({})),
    ] {
        login.http(&request).await;
    }
    let get_task = Function::start("get-task", &environment).await;
    let owner = fixtures.route_case(route("get-task")).await;
    for request in [
        owner.request().bearer(&other.token),
        other.with_task_id(&owner.task_id).request(),
        owner.request().bearer("forged"),
    ] {
        get_task.http(&request).await;
    }
    let mut found = Vec::new();
    for function in [login, get_task] {
        for line in with_message(&parse_log(&function.stop().await), "answered") {
            found.push(json!([line["status"], line["error"], line["user_id"]]));
        }
    }
    assert_eq!(
        found,
        [
            json!([200, null, route_case.user_id_number()]),
            json!([401, "wrong_credentials", null]),
            json!([429, "too_many_attempts", null]),
            json!([422, "invalid", null]),
            json!([403, "not_yours", other.user_id_number()]),
            json!([404, "task_not_found", other.user_id_number()]),
            json!([401, "invalid_token", null]),
        ]
    );
    database.drop().await;
}

#[tokio::test]
async fn the_deep_health_check_reports_database_times() {
    let function = Function::start("health", &Environment::default()).await;
    for _ in 0..2 {
        let response = function.http(&HttpEvent::deep_health()).await;
        assert_eq!(response.body["schema_version"], newest_migration());
        assert_between(&response.body["connect_ms"], 0.0, 5_000.0);
        assert_between(&response.body["statement_ms"], 0.0, 5_000.0);
    }
}

#[tokio::test]
async fn the_deep_health_check_is_503_with_an_older_schema() {
    let database = TestDatabase::migrated().await;
    let function = Function::start("health", &database.environment).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    database
        .owner
        .batch_execute("DELETE FROM refinery_schema_history WHERE version > 1")
        .await;
    function
        .http(&HttpEvent::deep_health())
        .await
        .assert_unavailable();
    let alive = function.http(&HttpEvent::new("GET", "/health", &[])).await;
    assert_eq!((alive.status, alive.body), (200, json!({"status": "ok"})));
    database.drop().await;
}
