//! Malicious requests to every route, in the form in which the gateway passes them on. Each succeeds as the contract
//! says, or gets a 4xx that leaks nothing and changes nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tests::api::PASSWORD;
use tests::assert_no_leak;
use tests::database::Database;
use tests::fixtures::{Fixtures, RouteCase};
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::{Route, route, routes};

const MAX_BODY_BYTES: usize = 128 * 1024;

/// A function with a user to test it on, and the snapshot before the requests.
struct Case {
    function: Function,
    target: RouteCase,
    database: Database,
    before: Value,
}

impl Case {
    async fn new(fixtures: &Fixtures, route: &'static Route) -> Self {
        let database = Database::from_env().await;
        let route_case = fixtures.route_case(route).await;
        Self {
            function: Function::start(route.function, &Environment::default()).await,
            before: route_case.snapshot(&database).await,
            target: route_case,
            database,
        }
    }

    /// Asserts that a request is rejected, and returns the status and the `detail`.
    async fn assert_refused(&self, label: &str, request: &HttpEvent) -> (u64, Value) {
        let response = self.function.http(request).await;
        let label = format!("{}: {label}", self.target.route.function);
        assert!(
            (400..500).contains(&response.status),
            "{label}: {response:?}"
        );
        assert_no_leak(
            response.status,
            &response.headers.to_string(),
            &response.body,
        );
        assert_eq!(
            response.headers["content-type"], "application/json",
            "{label}"
        );
        let after = self.target.snapshot(&self.database).await;
        assert_eq!(after, self.before, "{label}");
        (response.status, response.body["detail"].clone())
    }

    /// Asserts that a request is rejected with this status and `detail`.
    async fn assert_refused_with(
        &self,
        label: &str,
        request: &HttpEvent,
        status: u64,
        detail: &str,
    ) {
        let rejection = self.assert_refused(label, request).await;
        let name = self.target.route.function;
        assert_eq!(rejection, (status, json!(detail)), "{name}: {label}");
    }

    /// Asserts that a request has one violation, of this type and at this location.
    async fn assert_invalid(&self, label: &str, request: &HttpEvent, kind: &str, loc: Value) {
        let (status, detail) = self.assert_refused(label, request).await;
        let violations: Vec<_> = detail.as_array().into_iter().flatten().collect();
        let name = self.target.route.function;
        assert_eq!(
            (
                status,
                violations.len(),
                &violations[0]["type"],
                &violations[0]["loc"]
            ),
            (422, 1, &json!(kind), &loc),
            "{name}: {label}"
        );
    }

    /// Asserts that a request succeeds.
    async fn assert_success(&self, label: &str, request: &HttpEvent) {
        let response = self.function.http(request).await;
        let name = self.target.route.function;
        assert!(
            self.target.is_success(&response),
            "{name}: {label}: {response:?}"
        );
    }

    /// The same function with a new user.
    async fn with_new_user(self, fixtures: &Fixtures) -> Self {
        let route_case = fixtures.route_case(self.target.route).await;
        Self {
            before: route_case.snapshot(&self.database).await,
            target: route_case,
            ..self
        }
    }
}

/// Runs a test on each of these routes, a few at the same time.
async fn for_each_route(is_included: impl Fn(&Route) -> bool, test: impl AsyncFn(&Fixtures, Case)) {
    let fixtures = Fixtures::new().await;
    let run = async |route| test(&fixtures, Case::new(&fixtures, route).await).await;
    let routes = stream::iter(routes().iter().filter(|route| is_included(route)));
    routes.for_each_concurrent(3, run).await;
}

fn reads_a_body(route: &Route) -> bool {
    route.body.is_some()
}

fn counts_attempts(route: &Route) -> bool {
    ["register", "login", "change-password", "delete-account"].contains(&route.function)
}

#[tokio::test]
async fn a_body_above_128_kib_is_413() {
    for_each_route(reads_a_body, async |fixtures, mut case| {
        for encoded in [false, true] {
            let request = case.target.request();
            let body = case.target.body().expect("a body").to_string();
            let sized = |size: usize| {
                let body = [body.as_bytes(), &b" ".repeat(size - body.len())].concat();
                if encoded {
                    request.clone().base64(&body)
                } else {
                    request.clone().body(&body)
                }
            };
            let too_large = sized(MAX_BODY_BYTES + 1);
            let label = format!("encoded: {encoded}");
            case.assert_refused_with(&label, &too_large, 413, "Request body too large")
                .await;
            let much_too_large = sized(3 * 1024 * 1024).anonymous();
            case.assert_refused_with(&label, &much_too_large, 413, "Request body too large")
                .await;
            case.assert_success(&label, &sized(MAX_BODY_BYTES)).await;
            case = case.with_new_user(fixtures).await;
        }
    })
    .await;
}

#[tokio::test]
async fn routes_without_a_body_ignore_one() {
    for_each_route(
        |route| !reads_a_body(route),
        async |_, case| {
            let body = b"\xff[".repeat(512 * 1024);
            case.assert_success("a large body", &case.target.request().body(&body))
                .await;
        },
    )
    .await;
}

#[tokio::test]
async fn invalid_json_is_422_before_authentication() {
    for_each_route(reads_a_body, async |_, case| {
        let body = case.target.body().expect("a body").to_string();
        let utf16: Vec<_> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (label, body, offset) in [
            ("invalid UTF-8", b"{\"a\": \"\xff\"}".to_vec(), 7),
            ("an overlong encoding", b"{\"a\": \"\xc0\xaf\"}".to_vec(), 7),
            (
                "an encoded surrogate",
                b"{\"a\": \"\xed\xa0\x80\"}".to_vec(),
                7,
            ),
            ("UTF-16", utf16, 1),
            ("zeros", vec![0; 1000], 0),
            (
                "base64 that is not declared",
                STANDARD.encode(&body).into_bytes(),
                0,
            ),
            (
                "twice",
                format!("{body}{body}").into_bytes(),
                body.chars().count(),
            ),
            (
                "cut off",
                body[..body.len() - 1].into(),
                body.chars().count() - 1,
            ),
            ("deep and open", vec![b'['; 100_000], 100_000),
            ("deep and never opened", vec![b']'; 100_000], 0),
        ] {
            for request in [case.target.request(), case.target.request().anonymous()] {
                let request = request.body(&body);
                case.assert_invalid(label, &request, "json_invalid", json!(["body", offset]))
                    .await;
            }
        }
        case.assert_success(
            "a byte order mark",
            &case
                .target
                .request()
                .body(format!("\u{feff}{body}").as_bytes()),
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn json_that_is_not_an_object_is_422() {
    let missing = "missing";
    let no_object = "model_attributes_type";
    for_each_route(reads_a_body, async |_, case| {
        for (label, body, kind) in [
            ("nothing", "", missing),
            ("null", " null ", missing),
            ("an array", "[{\"title\": \"t\"}]", no_object),
            ("a text", "\"{}\"", no_object),
            (
                "a number beyond any integer type",
                "123456789012345678901234567890",
                no_object,
            ),
        ] {
            let request = case.target.request().body(body.as_bytes());
            case.assert_invalid(label, &request, kind, json!(["body"]))
                .await;
            if case.target.route.needs_token {
                let anonymous = request.anonymous();
                case.assert_refused_with(label, &anonymous, 401, "Not authenticated")
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn deeply_nested_json_is_accepted() {
    const DEPTH: usize = 60_000;
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    for_each_route(reads_a_body, async |fixtures, case| {
        let members = case.target.body().expect("a body").to_string();
        let members = members.trim_start_matches('{');
        // The response repeats the input, which is nested deeper than a test can parse.
        for body in [
            deep.clone(),
            format!("{{\"title\":{deep},\"email\":1,\"new_password\":1,\"password\":1}}"),
        ] {
            let request = case.target.request().body(body.as_bytes());
            let response = case
                .function
                .invoke(request.to_event())
                .await
                .expect("a response");
            assert_eq!(response["statusCode"], 422, "{:?}", case.target.route);
        }
        assert_eq!(case.target.snapshot(&case.database).await, case.before);
        for unknown in [
            deep.clone(),
            "{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000),
        ] {
            let body = format!("{{\"unknown\":{unknown},{members}");
            case.assert_success(
                "in an unknown field",
                &case.target.request().body(body.as_bytes()),
            )
            .await;
            if case.target.route.function != "update-task" {
                return;
            }
        }
        case.with_new_user(fixtures).await;
    })
    .await;
}

#[tokio::test]
async fn the_last_of_duplicate_json_members_wins() {
    for_each_route(reads_a_body, async |fixtures, case| {
        let good = case.target.body().expect("a body");
        let wrong: Vec<_> = good
            .as_object()
            .expect("an object")
            .keys()
            .map(|name| format!("{}:[]", json!(name)))
            .collect();
        let (wrong, good) = (wrong.join(","), good.to_string());
        let last = format!("{},{wrong}}}", good.trim_end_matches('}'));
        let (status, detail) = case
            .assert_refused(
                "the last is wrong",
                &case.target.request().body(last.as_bytes()),
            )
            .await;
        assert_eq!((status, &detail[0]["type"]), (422, &json!("string_type")));
        let first = format!("{{{wrong},{}", good.trim_start_matches('{'));
        case.assert_success(
            "the first is wrong",
            &case.target.request().body(first.as_bytes()),
        )
        .await;
        case.with_new_user(fixtures).await;
    })
    .await;
}

#[tokio::test]
async fn a_body_of_another_content_type_is_422() {
    for_each_route(reads_a_body, async |fixtures, mut case| {
        let body = case.target.body().expect("a body").to_string();
        let long = "a".repeat(8000);
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/json",
            "json",
            "/",
            "application/",
            "application/jsonx",
            "application/xml;application/json",
            "application/json, text/plain",
            "application/octet-stream",
            "*/*",
            "\u{e9}",
            ";",
            "application /json",
            &long,
        ] {
            let request = case
                .target
                .request()
                .body(body.as_bytes())
                .header("content-type", kind);
            case.assert_invalid(kind, &request, "model_attributes_type", json!(["body"]))
                .await;
        }
        for kind in [
            "",
            "APPLICATION/JSON",
            "application/json;charset=latin1",
            "application/json;",
            "application/x+JSON ; a=b",
        ] {
            let request = case.target.request().header("content-type", kind);
            case.assert_success(kind, &request).await;
            case = case.with_new_user(fixtures).await;
        }
    })
    .await;
}

#[tokio::test]
async fn unusual_headers_have_no_effect() {
    let (long, credentials) = ("a".repeat(60_000), "Could not validate credentials");
    for_each_route(
        |_| true,
        async |fixtures, case| {
            if case.target.route.needs_token {
                for (label, authorization, detail) in [
                    ("a long token", format!("Bearer {long}"), credentials),
                    (
                        "a long scheme",
                        format!("{long} a"),
                        "Invalid authentication credentials",
                    ),
                    (
                        "nothing but a long scheme",
                        long.clone(),
                        "Not authenticated",
                    ),
                    (
                        "many dots",
                        format!("Bearer {}", ".".repeat(60_000)),
                        credentials,
                    ),
                    (
                        "two tokens",
                        format!("Bearer {0}, Bearer {0}", case.target.token),
                        credentials,
                    ),
                    (
                        "a tab",
                        format!("Bearer\t{}", case.target.token),
                        "Not authenticated",
                    ),
                    (
                        "a token in quotes",
                        format!("Bearer \"{}\"", case.target.token),
                        credentials,
                    ),
                    (
                        "letters beyond ASCII",
                        "Bearer \u{e9}\u{1f600}".to_owned(),
                        credentials,
                    ),
                    (
                        "a scheme beyond ASCII",
                        "B\u{e9}arer a".to_owned(),
                        "Invalid authentication credentials",
                    ),
                    ("SQL", "Bearer ' OR 1=1 --".to_owned(), credentials),
                ] {
                    let request = case
                        .target
                        .request()
                        .header("authorization", &authorization);
                    case.assert_refused_with(label, &request, 401, detail).await;
                }
            }
            let mut request = case.target.request();
            for number in 0..2000 {
                request = request.header(&format!("x-header-{number}"), "a");
            }
            for (name, value) in [
                ("host", "evil.example.com/..\\?\"#"),
                ("x-forwarded-host", "evil.example.com"),
                ("x-forwarded-proto", "no scheme"),
                ("x-forwarded-for", "10.0.0.1, '; DROP TABLE task"),
                ("x-http-method-override", "DELETE"),
                ("x-amzn-trace-id", "\u{1f600}"),
                ("content-length", "-1"),
                ("content-encoding", "gzip"),
                ("transfer-encoding", "chunked"),
                ("cookie", "authorization=Bearer a; =; ;;"),
                ("range", "bytes=0-0"),
                ("accept", "application/xml"),
                ("x-empty", ""),
                ("x-long", &long),
            ] {
                request = request.header(name, value);
            }
            case.assert_success("2,000 headers and more", &request)
                .await;
            case.with_new_user(fixtures).await;
        },
    )
    .await;
}

#[tokio::test]
async fn an_invalid_header_is_an_error_and_the_instance_survives() {
    let function = Function::start("docs", &Environment::default()).await;
    let request = HttpEvent::new("GET", "/", &[]);
    for (name, value) in [
        ("", "a"),
        ("a b", "a"),
        ("\u{e9}", "a"),
        ("a", "\n"),
        ("a", "\0"),
        ("a", "\u{7f}"),
    ] {
        let event = request.clone().header(name, value).to_event();
        assert!(function.invoke(event).await.is_err(), "{name:?}: {value:?}");
        assert_eq!(function.http(&request).await.status, 200);
    }
}

/// The names of the ids in the path.
fn id_names(case: &Case) -> &'static [&'static str] {
    if case.target.route.has_task_id() {
        &["user_id", "id"]
    } else {
        &["user_id"]
    }
}

/// The valid id with this name.
fn valid_id<'a>(case: &'a Case, name: &str) -> &'a str {
    match name {
        "id" => &case.target.task_id,
        _ => &case.target.user_id,
    }
}

/// The request with another value of one id.
fn with_id(case: &Case, name: &str, value: &str) -> HttpEvent {
    let mut route_case = case.target.clone();
    let id = match name {
        "id" => &mut route_case.task_id,
        _ => &mut route_case.user_id,
    };
    value.clone_into(id);
    route_case.request()
}

#[tokio::test]
async fn a_path_id_that_is_not_an_integer_is_422() {
    for_each_route(Route::has_path_id, async |_, case| {
        for name in id_names(&case) {
            let id = valid_id(&case, name);
            for value in [
                "",
                " ",
                "%2F",
                "%2e%2e",
                "..",
                "../1",
                "0x1",
                "1e3",
                "1.0",
                "1.5",
                "1_000",
                "\u{ff11}",
                "\u{661}",
                "+",
                "-",
                "+-1",
                "--1",
                "1,2",
                "1;2",
                "1 OR 1=1",
                "' OR ''='",
                "null",
                "NaN",
                "true",
                "\0",
                "1\0",
                "\u{200b}1",
                "{id}",
                &format!("{id} "),
                &format!(" {id}"),
                &format!("{id}/"),
                &format!("{id}%00"),
                &format!("{id}?"),
                &format!("{id}\n"),
                &"a".repeat(8000),
            ] {
                let request = with_id(&case, name, value);
                case.assert_invalid(value, &request, "int_parsing", json!(["path", name]))
                    .await;
                case.assert_refused_with(value, &request.anonymous(), 401, "Not authenticated")
                    .await;
            }
        }
        let nothing = case.target.request().without_parameters();
        let (status, detail) = case.assert_refused("no parameters", &nothing).await;
        let violations = detail.as_array().expect("a list").iter();
        let locs: Vec<_> = violations.map(|one| one["loc"][1].as_str()).collect();
        let expected = id_names(&case).iter().copied().map(Some).collect();
        assert_eq!((status, locs), (422, expected));
    })
    .await;
}

#[tokio::test]
async fn an_out_of_range_path_id_matches_nothing() {
    let long = "9".repeat(4000);
    for_each_route(Route::has_path_id, async |_, case| {
        for name in id_names(&case) {
            let (status, detail) = match (*name, case.target.route.function) {
                ("id", _) => (404, "Task not found"),
                (_, "create-task") => (403, "Not authorized to create tasks for this user"),
                _ => (403, "Not authorized to access this user's tasks"),
            };
            let negative = format!("-{}", valid_id(&case, name));
            for value in [
                "-1",
                "0",
                "-0",
                "4294967297",
                "9223372036854775808",
                "-9223372036854775809",
                &long,
                &negative,
            ] {
                case.assert_refused_with(value, &with_id(&case, name, value), status, detail)
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_path_id_may_have_a_sign_and_leading_zeros() {
    for_each_route(Route::has_path_id, async |fixtures, mut case| {
        for name in id_names(&case) {
            for zeros in ["+", "0", "+000", &"0".repeat(4000)] {
                let value = format!("{zeros}{}", valid_id(&case, name));
                case.assert_success(zeros, &with_id(&case, name, &value))
                    .await;
                case = case.with_new_user(fixtures).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_query_parameters_are_ignored() {
    for_each_route(
        |_| true,
        async |fixtures, mut case| {
            let long = format!("a={}", "a".repeat(70_000));
            for query in [
                "\"<>{}|\\^`",
                "%",
                "a=%ff%00&&&=&a",
                "deep=1&user_id=1&id=1&offset=0",
                "a=\u{e9}\u{1f600} \u{1}#a?",
                &long,
            ] {
                case.assert_success(query, &case.target.request().query(query))
                    .await;
                case = case.with_new_user(fixtures).await;
            }
        },
    )
    .await;
    let health = Function::start("health", &Environment::default()).await;
    for query in ["deep=0", "deep=\"", "deep", "Deep=1", "deep=1%00"] {
        let response = health
            .http(&HttpEvent::new("GET", "/health", &[]).query(query))
            .await;
        assert_eq!(
            (response.status, response.body),
            (200, json!({"status": "ok"})),
            "{query}"
        );
    }
}

#[tokio::test]
async fn invalid_source_addresses_are_accepted() {
    for_each_route(counts_attempts, async |fixtures, mut case| {
        for address in [
            "",
            "999.1.1.1",
            "192.0.2.1, 10.0.0.1",
            "'; DROP TABLE attempt; --",
            "\0",
            "::ffff:192.0.2.1",
            "fe80::1%eth0",
        ] {
            case.assert_success(address, &case.target.request().source_ip(address))
                .await;
            case = case.with_new_user(fixtures).await;
        }
    })
    .await;
}

#[tokio::test]
async fn malicious_credentials_are_just_wrong() {
    let fixtures = Fixtures::new().await;
    let case = Case::new(&fixtures, route("login")).await;
    let long = "a".repeat(60_000);
    let texts = [
        "",
        " ",
        "%",
        "_",
        "' OR ''='",
        "\\",
        "\u{130}\u{131}",
        "\u{fffd}",
        "$argon2id$",
        "a\nb",
        &long,
    ];
    for (number, text) in texts.into_iter().enumerate() {
        // One address would reach the limit of failed logins.
        let address = format!("192.0.2.{number}");
        for body in [
            json!({"email": case.target.email, "password": text}),
            json!({"email": text, "password": PASSWORD}),
        ] {
            let request = case.target.request().source_ip(&address).json(&body);
            case.assert_refused_with(text, &request, 401, "Incorrect email or password")
                .await;
        }
    }
    let request = case.target.request();
    let request = request.json(&json!({"email": "a\0", "password": "a"}));
    case.assert_invalid("a NUL", &request, "value_error", json!(["body", "email"]))
        .await;
}
