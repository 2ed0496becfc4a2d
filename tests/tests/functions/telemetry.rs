//! What the log tells of a process and its requests, and what it does not.

use serde_json::{Value, json};
use tests::api::PASSWORD;
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent, TRACE_ID};
use tests::newest_migration;

use tests::fixtures::Fixtures;
use tests::routes::{route, routes};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn at_level(level: &str) -> Environment {
    Environment::default().with("AWS_LAMBDA_LOG_LEVEL", level)
}

/// The lines of a log, each of which has to be JSON.
fn lines(log: &str) -> Vec<Value> {
    let line =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(line).collect()
}

fn with_message(lines: &[Value], message: &str) -> Vec<Value> {
    let is_it = |line: &&Value| line["message"] == message;
    lines.iter().filter(is_it).cloned().collect()
}

/// Sees that a value is a number within bounds.
#[track_caller]
fn between(value: &Value, low: f64, high: f64) {
    let number = value.as_f64();
    assert!(
        number.is_some_and(|number| (low..=high).contains(&number)),
        "{value}"
    );
}

#[tokio::test]
async fn a_process_has_one_line_and_each_of_its_requests_another() {
    let route_case = Fixtures::new().await.route_case(route("get-task")).await;
    let function = Function::start("get-task", &at_level("INFO")).await;
    let request = route_case.request().header("traceparent", TRACEPARENT);
    let ids = [
        function.http(&request).await.headers["x-request-id"].clone(),
        function.http(&request).await.headers["x-request-id"].clone(),
    ];
    let log = lines(&function.stop().await);
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
    between(&connected["connect_ms"], 0.1, 5_000.0);

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
        between(
            &line["database_ms"],
            0.01,
            line["duration_ms"].as_f64().expect("a time"),
        );
        between(&line["connection_age_s"], 0.0, 30.0);
        assert_eq!(
            (&line["error"], &line["cause"]),
            (&Value::Null, &Value::Null)
        );
    }
}

#[tokio::test]
async fn a_refusal_has_its_class_and_a_fault_its_cause_too() {
    let own = TestDatabase::migrated().await;
    let environment = own.environment.clone().with("AWS_LAMBDA_LOG_LEVEL", "INFO");
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
    own.owner
        .batch_execute("ALTER TABLE \"user\" RENAME TO former")
        .await;
    function
        .http(&route_case.request())
        .await
        .assert_unavailable();
    own.owner
        .batch_execute("ALTER TABLE former RENAME TO \"user\"")
        .await;
    let log = with_message(&lines(&function.stop().await), "answered");
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
    own.drop().await;
}

#[tokio::test]
async fn above_info_the_log_has_faults_alone() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    let function = Function::start("me", &at_level("ERROR")).await;
    assert_eq!(function.http(&route_case.request()).await.status, 200);
    assert_eq!(function.stop().await, "");
}

/// The dimensions and the names of metrics, each of which has to be a number in the line.
fn metrics(directive: &Value, line: &Value) -> String {
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
async fn metrics_are_in_the_lines_where_they_have_a_namespace() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    let function = Function::start("me", &at_level("INFO").with("METRICS_NAMESPACE", "todo")).await;
    for request in [route_case.request(), route_case.request().anonymous()] {
        function.http(&request).await;
    }
    let log = with_message(&lines(&function.stop().await), "answered");
    let of_all = "[] requests duration_ms database_ms retries cold_starts";
    let of_those_connected = format!("{of_all} connection_age_s");
    for (line, expected) in log.iter().zip([
        &[of_those_connected.as_str()][..],
        &[of_all, "[\"error\"] errors"],
    ]) {
        between(&line["_aws"]["Timestamp"], 1.7e12, 9e12);
        let directives = line["_aws"]["CloudWatchMetrics"].as_array();
        let directives = directives.expect("a list").iter();
        let found: Vec<_> = directives
            .map(|directive| metrics(directive, line))
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
async fn nothing_of_a_request_is_logged_but_what_the_log_is_for() {
    const MARK: &str = "what-no-log-may-have";
    let fixtures = Fixtures::new().await;
    for route in routes() {
        let route_case = fixtures.route_case(route).await;
        let function = Function::start(route.function, &at_level("TRACE")).await;
        let hostile = route_case
            .request()
            .json(&json!({
                "username": MARK, "email": format!("{MARK}@example.com"), "password": format!("{PASSWORD} {MARK}"),
                "current_password": MARK, "new_password": MARK, "title": MARK, "description": MARK
            }))
            .query(&format!("token={MARK}"))
            .header("x-forwarded-for", MARK)
            .header("traceparent", MARK)
            .header("cookie", MARK);
        for request in [
            hostile
                .clone()
                .header("authorization", &format!("Bearer {MARK}")),
            hostile.clone().body(format!("{{\"{MARK}").as_bytes()),
            hostile,
        ] {
            assert!(function.http(&request).await.status < 500);
        }
        let log = function.stop().await;
        assert!(log.contains("\"answered\""), "{log}");
        assert!(
            !log.contains(MARK) && !log.contains(&route_case.token),
            "{}",
            route.function
        );
    }
}

#[tokio::test]
async fn every_login_and_every_refusal_is_in_the_log() {
    let own = TestDatabase::migrated().await;
    let environment = own.environment.clone().with("AWS_LAMBDA_LOG_LEVEL", "INFO");
    let environment = environment.with("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", "1");
    let fixtures = Fixtures::in_environment(&environment).await;
    let (route_case, thief) = (
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
    let victims = fixtures.route_case(route("get-task")).await;
    for request in [
        victims.request().bearer(&thief.token),
        thief.with_task_id(&victims.task_id).request(),
        victims.request().bearer("forged"),
    ] {
        get_task.http(&request).await;
    }
    let mut found = Vec::new();
    for function in [login, get_task] {
        for line in with_message(&lines(&function.stop().await), "answered") {
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
            json!([403, "not_yours", thief.user_id_number()]),
            json!([404, "task_not_found", thief.user_id_number()]),
            json!([401, "invalid_token", null]),
        ]
    );
    own.drop().await;
}

#[tokio::test]
async fn the_deep_health_check_tells_how_long_the_database_took() {
    let function = Function::start("health", &Environment::default()).await;
    for _ in 0..2 {
        let answer = function.http(&HttpEvent::deep_health()).await;
        assert_eq!(answer.body["schema_version"], newest_migration());
        between(&answer.body["connect_ms"], 0.0, 5_000.0);
        between(&answer.body["statement_ms"], 0.0, 5_000.0);
    }
}

#[tokio::test]
async fn the_deep_health_check_is_503_where_the_schema_is_behind() {
    let own = TestDatabase::migrated().await;
    let function = Function::start("health", &own.environment).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    own.owner
        .batch_execute("DELETE FROM refinery_schema_history WHERE version > 1")
        .await;
    function
        .http(&HttpEvent::deep_health())
        .await
        .assert_unavailable();
    let alive = function.http(&HttpEvent::new("GET", "/health", &[])).await;
    assert_eq!((alive.status, alive.body), (200, json!({"status": "ok"})));
    own.drop().await;
}
