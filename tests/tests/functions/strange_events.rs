//! Events that API Gateway does not send, but that anyone who may invoke a function can.

use serde_json::{Value, json};
use tests::database::TestDatabase;
use tests::fixtures::register;
use tests::function::{Environment, Function, HttpEvent};

/// What is strange about an event, the place in it, and the value there.
const CHANGES: [(&str, &str, &str); 32] = [
    ("a list as headers", "/headers", r#"["a"]"#),
    ("a list as a header", "/headers/x-list", r#"["a", "b"]"#),
    ("null as a header", "/headers/x-null", "null"),
    ("a header without a name", "/headers/", r#""a""#),
    ("null as headers", "/headers", "null"),
    (
        "multi-value headers",
        "/multiValueHeaders",
        r#"{"a": ["b", "\n"]}"#,
    ),
    ("a number as the body", "/body", "1"),
    ("invalid base64", "/body", r#""%%%""#),
    ("a text as a flag", "/isBase64Encoded", r#""yes""#),
    ("null as the context", "/requestContext", "null"),
    ("an empty context", "/requestContext", "{}"),
    (
        "no description of the request",
        "/requestContext/http",
        "{}",
    ),
    ("an empty method", "/requestContext/http/method", r#""""#),
    (
        "a method with a space",
        "/requestContext/http/method",
        r#""GE T""#,
    ),
    (
        "a number as the address",
        "/requestContext/http/sourceIp",
        "1",
    ),
    (
        "a strange stage",
        "/requestContext/stage",
        r#""a b?#\"\u0000""#,
    ),
    (
        "a strange domain",
        "/requestContext/domainName",
        r#""a b/\\@\u0000""#,
    ),
    (
        "a strange authorizer",
        "/requestContext/authorizer",
        r#"{"jwt": 1, "lambda": [[]]}"#,
    ),
    ("a time before 1970", "/requestContext/timeEpoch", "-1"),
    ("a strange path", "/rawPath", r#""//\u0000 \"<>\\^`{|}é""#),
    ("a list as the path", "/rawPath", "[]"),
    (
        "a strange query",
        "/rawQueryString",
        r#""%&=%zz&%ff&\u0000😀&[]=#?\"""#,
    ),
    ("a list as the query", "/rawQueryString", "[]"),
    ("null as the query", "/rawQueryString", "null"),
    ("numbers as parameters", "/pathParameters", r#"{"id": 1}"#),
    ("a text as parameters", "/pathParameters", r#""id""#),
    (
        "strange parameters",
        "/pathParameters",
        r#"{"user_id": "\u0000", "id": "", "": ""}"#,
    ),
    (
        "null as a query parameter",
        "/queryStringParameters",
        r#"{"deep": null}"#,
    ),
    (
        "strange cookies",
        "/cookies",
        r#"["\u0000", "\n", "é", ""]"#,
    ),
    ("a text as cookies", "/cookies", r#""a=b""#),
    (
        "numbers as stage variables",
        "/stageVariables",
        r#"{"a": 1}"#,
    ),
    ("another version", "/version", r#""1.0""#),
];

/// Events of other services, and what is no event.
const OTHER_EVENTS: [(&str, &str); 9] = [
    ("null", "null"),
    ("a number", "1e999"),
    ("a text", r#""GET /""#),
    ("a list", "[{}, {}]"),
    (
        "a queue",
        r#"{"Records": [{"eventSource": "aws:sqs", "body": "a"}]}"#,
    ),
    (
        "a schedule",
        r#"{"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}"#,
    ),
    (
        "a load balancer",
        r#"{"requestContext": {"elb": {"targetGroupArn": "a"}}, "httpMethod": "GET", "path": "/", "headers": {},
            "queryStringParameters": {}, "body": "", "isBase64Encoded": false}"#,
    ),
    (
        "payload format 1.0",
        r#"{"version": "1.0", "resource": "/", "path": "/", "httpMethod": "GET", "headers": {"a": "b"},
            "multiValueHeaders": {"a": ["b"]}, "queryStringParameters": null, "pathParameters": null,
            "requestContext": {"accountId": "0", "apiId": "a", "httpMethod": "GET", "identity": {}, "path": "/"},
            "body": null, "isBase64Encoded": false}"#,
    ),
    (
        "a web socket",
        r#"{"requestContext": {"routeKey": "$connect", "eventType": "CONNECT", "connectionId": "a"},
            "isBase64Encoded": false}"#,
    ),
];

/// An event with another value in one place.
fn changed(event: &Value, pointer: &str, value: Value) -> Value {
    let mut event = event.clone();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    event.pointer_mut(parent).expect("an object")[name] = value;
    event
}

/// Events that are strange because something in them is large.
fn large_events(event: &Value) -> Vec<(String, Value)> {
    let long = "a".repeat(1024 * 1024);
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let mut events: Vec<_> = [24_576, 24_577, 32_768, 32_769, 40_000]
        .into_iter()
        .map(|count| {
            let header = |number| (format!("x-{number}"), json!("a"));
            let headers = (0..count).map(header).collect();
            let event = changed(event, "/headers", Value::Object(headers));
            (format!("{count} headers"), event)
        })
        .collect();
    for (pointer, value) in [
        ("/headers/x-long", json!(long)),
        ("/headers/authorization", json!(format!("Bearer {long}"))),
        ("/body", json!(long)),
        ("/requestContext/http/method", json!(long)),
        ("/requestContext/http/sourceIp", json!(long)),
        ("/requestContext/routeKey", json!(format!("GET /{long}"))),
        ("/rawPath", json!(long)),
        ("/rawQueryString", json!(long)),
        ("/rawQueryString", json!("a&".repeat(100_000))),
        ("/pathParameters", json!({"user_id": long, "id": long})),
        ("/cookies", json!(vec!["a"; 100_000])),
        ("/requestContext/authorizer", json!({"lambda": deep})),
    ] {
        events.push((format!("a large {pointer}"), changed(event, pointer, value)));
    }
    events.push(("a deep event".to_owned(), deep));
    events
}

#[tokio::test]
async fn no_event_ends_the_process() {
    let environment = Environment::default();
    let (user_id, token) = register(&environment).await;
    let path = "/api/{user_id}/tasks/{id}";
    let request = HttpEvent::new("PUT", path, &[&user_id, "1"]).bearer(&token);
    let event = request.base64(b"{}").to_event();
    let small = CHANGES.iter().map(|(label, pointer, value)| {
        let value = serde_json::from_str(value).expect("JSON");
        ((*label).to_owned(), changed(&event, pointer, value))
    });
    let others = OTHER_EVENTS.iter().map(|(label, event)| {
        let event = serde_json::from_str(event).unwrap_or(Value::Null);
        ((*label).to_owned(), event)
    });
    let small: Vec<_> = small.chain(others).collect();
    let large = large_events(&event);
    let good = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token);
    for (name, events) in [
        ("me", &small),
        ("update-task", &small),
        ("login", &small),
        ("health", &small),
        ("update-task", &large),
    ] {
        let function = Function::start(name, &environment).await;
        for (label, event) in events {
            // An answer that blames the client, or an error of the function.
            if let Ok(answer) = function.invoke(event.clone()).await {
                let status = answer["statusCode"].as_u64().expect("a status");
                assert!(status < 500, "{name}: {label}: {answer}");
            }
        }
        // The same process answers the next request.
        let response = function.http(&good).await;
        let expected = if ["login", "update-task"].contains(&name) {
            422
        } else {
            200
        };
        assert_eq!(response.status, expected, "{name}: {response:?}");
    }
}

#[tokio::test]
async fn any_event_starts_a_purge() {
    let database = TestDatabase::migrated().await;
    let function = Function::start("purge-sessions", &database.environment).await;
    for (label, event) in &OTHER_EVENTS {
        let event = serde_json::from_str(event).unwrap_or(Value::Null);
        let purged = function.invoke(event).await;
        let purged = purged.unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(purged["finished"], json!(true), "{label}");
    }
    database.drop().await;
}

#[tokio::test]
async fn an_unreadable_event_is_not_repeated_in_the_log() {
    let function = Function::start("login", &Environment::default()).await;
    let event = HttpEvent::new("POST", "/api/auth/login", &[])
        .json(&json!({"password": "s3cret-word"}))
        .header("a b", "s3cret-word")
        .to_event();
    let error = function.invoke(event).await.expect_err("an error");
    assert_eq!(
        error,
        json!({
            "errorType": "UnreadableEvent",
            "errorMessage": "the event is not a request of an API Gateway HTTP API, payload format 2.0"
        })
    );
    let log = function.stop().await;
    assert!(
        log.contains("UnreadableEvent") && !log.contains("s3cret"),
        "{log}"
    );
}
