//! What the log tells of a process and its requests, and what it does not.

use serde_json::{Value, json};
use tests::api::PASSWORD;
use tests::database::OwnDatabase;
use tests::function::{Environment, Function, HttpEvent, TRACE_ID};
use tests::newest_migration;

use crate::routes::{ROUTES, Stage, route};

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
    let scene = Stage::new().await.scene(route("get-task")).await;
    let function = Function::start("get-task", &at_level("INFO")).await;
    let request = scene.request().header("traceparent", TRACEPARENT);
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
            (&json!(200), &json!(scene.id()))
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
    let own = OwnDatabase::migrated().await;
    let environment = own.environment.clone().with("AWS_LAMBDA_LOG_LEVEL", "INFO");
    let scene = Stage::on(&environment).await.scene(route("me")).await;
    let function = Function::start("me", &environment).await;
    assert_eq!(
        function.http(&scene.request().anonymous()).await.status,
        401
    );
    own.owner.run("ALTER TABLE \"user\" RENAME TO former").await;
    function.http(&scene.request()).await.unavailable();
    own.owner.run("ALTER TABLE former RENAME TO \"user\"").await;
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
    let scene = Stage::new().await.scene(route("me")).await;
    let function = Function::start("me", &at_level("ERROR")).await;
    assert_eq!(function.http(&scene.request()).await.status, 200);
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
    let scene = Stage::new().await.scene(route("me")).await;
    let function = Function::start("me", &at_level("INFO").with("METRICS_NAMESPACE", "todo")).await;
    for request in [scene.request(), scene.request().anonymous()] {
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
    let stage = Stage::new().await;
    for route in ROUTES {
        let scene = stage.scene(route).await;
        let function = Function::start(route.function, &at_level("TRACE")).await;
        let hostile = scene
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
            !log.contains(MARK) && !log.contains(&scene.token),
            "{}",
            route.function
        );
    }
}

#[tokio::test]
async fn every_login_and_every_refusal_is_in_the_log() {
    let own = OwnDatabase::migrated().await;
    let environment = own.environment.clone().with("AWS_LAMBDA_LOG_LEVEL", "INFO");
    let environment = environment.with("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", "1");
    let stage = Stage::on(&environment).await;
    let (scene, thief) = (
        stage.scene(route("login")).await,
        stage.scene(route("get-task")).await,
    );
    let login = Function::start("login", &environment).await;
    let wrong = json!({"email": scene.email, "password": "wrong"});
    for request in [
        scene.request(),
        scene.request().json(&wrong),
        scene.request(),
        scene.request().json(&json!({})),
    ] {
        login.http(&request).await;
    }
    let get_task = Function::start("get-task", &environment).await;
    let victims = stage.scene(route("get-task")).await;
    for request in [
        victims.request().bearer(&thief.token),
        thief.about(&victims.task_id).request(),
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
            json!([200, null, scene.id()]),
            json!([401, "wrong_credentials", null]),
            json!([429, "too_many_attempts", null]),
            json!([422, "invalid", null]),
            json!([403, "not_yours", thief.id()]),
            json!([404, "task_not_found", thief.id()]),
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
    let own = OwnDatabase::migrated().await;
    let function = Function::start("health", &own.environment).await;
    assert_eq!(function.http(&HttpEvent::deep_health()).await.status, 200);
    own.owner
        .run("DELETE FROM refinery_schema_history WHERE version > 1")
        .await;
    function.http(&HttpEvent::deep_health()).await.unavailable();
    let alive = function.http(&HttpEvent::new("GET", "/health", &[])).await;
    assert_eq!((alive.status, alive.body), (200, json!({"status": "ok"})));
    own.drop().await;
}
