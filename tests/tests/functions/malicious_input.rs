//! Requests that nobody means well with, to every route, as the gateway would hand them on: each is answered as the
//! contract says, or refused with a 4xx that tells nothing, and what is refused changes nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tests::api::PASSWORD;
use tests::assert_no_leak;
use tests::database::Database;
use tests::function::{Environment, Function, HttpEvent};

use tests::fixtures::{Fixtures, RouteCase};
use tests::routes::{Route, route, routes};

const MAX_BODY_BYTES: usize = 128 * 1024;

/// A function, someone to try it on, and the books.
struct Trial {
    function: Function,
    route_case: RouteCase,
    database: Database,
    before: Value,
}

impl Trial {
    async fn new(fixtures: &Fixtures, route: &'static Route) -> Self {
        let url = tests::database::url().expect("a DATABASE_URL");
        let database = Database::connect(&url).await;
        let route_case = fixtures.route_case(route).await;
        Self {
            function: Function::start(route.function, &Environment::default()).await,
            before: route_case.snapshot(&database).await,
            route_case,
            database,
        }
    }

    /// Sees that a request is refused, and gives its status and `detail`.
    async fn assert_refused(&self, case: &str, request: &HttpEvent) -> (u64, Value) {
        let answer = self.function.http(request).await;
        let case = format!("{}: {case}", self.route_case.route.function);
        assert!((400..500).contains(&answer.status), "{case}: {answer:?}");
        assert_no_leak(answer.status, &answer.headers.to_string(), &answer.body);
        assert_eq!(answer.headers["content-type"], "application/json", "{case}");
        let after = self.route_case.snapshot(&self.database).await;
        assert_eq!(after, self.before, "{case}");
        (answer.status, answer.body["detail"].clone())
    }

    /// Sees that a request is refused with this `detail`.
    async fn refused_with(&self, case: &str, request: &HttpEvent, status: u64, detail: &str) {
        let refusal = self.assert_refused(case, request).await;
        let name = self.route_case.route.function;
        assert_eq!(refusal, (status, json!(detail)), "{name}: {case}");
    }

    /// Sees that a request breaks one rule, of this type and at this place.
    async fn assert_invalid(&self, case: &str, request: &HttpEvent, kind: &str, place: Value) {
        let (status, detail) = self.assert_refused(case, request).await;
        let broken: Vec<_> = detail.as_array().into_iter().flatten().collect();
        let name = self.route_case.route.function;
        assert_eq!(
            (status, broken.len(), &broken[0]["type"], &broken[0]["loc"]),
            (422, 1, &json!(kind), &place),
            "{name}: {case}"
        );
    }

    /// Sees that a request is answered as if nothing were the matter with it.
    async fn answered(&self, case: &str, request: &HttpEvent) {
        let answer = self.function.http(request).await;
        let name = self.route_case.route.function;
        assert!(
            self.route_case.is_success(&answer),
            "{name}: {case}: {answer:?}"
        );
    }

    /// The same function, with someone on whom it was not tried yet.
    async fn again(self, fixtures: &Fixtures) -> Self {
        let route_case = fixtures.route_case(self.route_case.route).await;
        Self {
            before: route_case.snapshot(&self.database).await,
            route_case,
            ..self
        }
    }
}

/// Tries each of these routes, a few at once.
async fn on_each(is_included: impl Fn(&Route) -> bool, attempt: impl AsyncFn(&Fixtures, Trial)) {
    let fixtures = Fixtures::new().await;
    let attempt = async |route| attempt(&fixtures, Trial::new(&fixtures, route).await).await;
    let routes = stream::iter(routes().iter().filter(|route| is_included(route)));
    routes.for_each_concurrent(3, attempt).await;
}

fn reads_a_body(route: &Route) -> bool {
    [
        "register",
        "login",
        "change-password",
        "delete-account",
        "create-task",
        "update-task",
    ]
    .contains(&route.function)
}

fn counts_attempts(route: &Route) -> bool {
    ["register", "login", "change-password", "delete-account"].contains(&route.function)
}

fn asks_who_is_calling(route: &Route) -> bool {
    !["register", "login"].contains(&route.function)
}

#[tokio::test]
async fn a_body_may_have_128_kib_and_not_a_byte_more() {
    on_each(reads_a_body, async |fixtures, mut trial| {
        for encoded in [false, true] {
            let request = trial.route_case.request();
            let body = trial.route_case.body().expect("a body").to_string();
            let sized = |size: usize| {
                let body = [body.as_bytes(), &b" ".repeat(size - body.len())].concat();
                if encoded {
                    request.clone().base64(&body)
                } else {
                    request.clone().body(&body)
                }
            };
            let too_large = sized(MAX_BODY_BYTES + 1);
            let case = format!("encoded: {encoded}");
            trial
                .refused_with(&case, &too_large, 413, "Request body too large")
                .await;
            let much_too_large = sized(3 * 1024 * 1024).anonymous();
            trial
                .refused_with(&case, &much_too_large, 413, "Request body too large")
                .await;
            trial.answered(&case, &sized(MAX_BODY_BYTES)).await;
            trial = trial.again(fixtures).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_route_that_reads_no_body_does_not_mind_one() {
    on_each(
        |route| !reads_a_body(route),
        async |_, trial| {
            let body = b"\xff[".repeat(512 * 1024);
            trial
                .answered("a large body", &trial.route_case.request().body(&body))
                .await;
        },
    )
    .await;
}

#[tokio::test]
async fn what_is_no_json_is_refused_before_anyone_asks_who_sent_it() {
    on_each(reads_a_body, async |_, trial| {
        let body = trial.route_case.body().expect("a body").to_string();
        let utf16: Vec<_> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (case, body, offset) in [
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
                "base64 that is not said to be",
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
            ("deep and never begun", vec![b']'; 100_000], 0),
        ] {
            for request in [
                trial.route_case.request(),
                trial.route_case.request().anonymous(),
            ] {
                let request = request.body(&body);
                trial
                    .assert_invalid(case, &request, "json_invalid", json!(["body", offset]))
                    .await;
            }
        }
        trial
            .answered(
                "a byte order mark",
                &trial
                    .route_case
                    .request()
                    .body(format!("\u{feff}{body}").as_bytes()),
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn json_that_is_no_object_breaks_the_first_rule() {
    let missing = "missing";
    let no_object = "model_attributes_type";
    on_each(reads_a_body, async |_, trial| {
        for (case, body, kind) in [
            ("nothing", "", missing),
            ("null", " null ", missing),
            ("an array", "[{\"title\": \"t\"}]", no_object),
            ("a text", "\"{}\"", no_object),
            (
                "a number beyond any type of ours",
                "123456789012345678901234567890",
                no_object,
            ),
        ] {
            let request = trial.route_case.request().body(body.as_bytes());
            trial
                .assert_invalid(case, &request, kind, json!(["body"]))
                .await;
            if asks_who_is_calling(&trial.route_case.route) {
                let anonymous = request.anonymous();
                trial
                    .refused_with(case, &anonymous, 401, "Not authenticated")
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn deep_nesting_is_read_like_any_other_value() {
    const DEPTH: usize = 60_000;
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    on_each(reads_a_body, async |fixtures, trial| {
        let members = trial.route_case.body().expect("a body").to_string();
        let members = members.trim_start_matches('{');
        // The answer repeats what came, deeper than a test can parse.
        for body in [
            deep.clone(),
            format!("{{\"title\":{deep},\"email\":1,\"new_password\":1,\"password\":1}}"),
        ] {
            let request = trial.route_case.request().body(body.as_bytes());
            let answer = trial
                .function
                .invoke(request.to_event())
                .await
                .expect("an answer");
            assert_eq!(answer["statusCode"], 422, "{:?}", trial.route_case.route);
        }
        assert_eq!(
            trial.route_case.snapshot(&trial.database).await,
            trial.before
        );
        for unknown in [
            deep.clone(),
            "{\"a\":".repeat(10_000) + "1" + &"}".repeat(10_000),
        ] {
            let body = format!("{{\"unknown\":{unknown},{members}");
            trial
                .answered(
                    "in an unknown field",
                    &trial.route_case.request().body(body.as_bytes()),
                )
                .await;
            if trial.route_case.route.function != "update-task" {
                return;
            }
        }
        trial.again(fixtures).await;
    })
    .await;
}

#[tokio::test]
async fn of_two_members_with_one_name_the_last_counts() {
    on_each(reads_a_body, async |fixtures, trial| {
        let good = trial.route_case.body().expect("a body");
        let wrong: Vec<_> = good
            .as_object()
            .expect("an object")
            .keys()
            .map(|name| format!("{}:[]", json!(name)))
            .collect();
        let (wrong, good) = (wrong.join(","), good.to_string());
        let last = format!("{},{wrong}}}", good.trim_end_matches('}'));
        let (status, detail) = trial
            .assert_refused(
                "the last is wrong",
                &trial.route_case.request().body(last.as_bytes()),
            )
            .await;
        assert_eq!((status, &detail[0]["type"]), (422, &json!("string_type")));
        let first = format!("{{{wrong},{}", good.trim_start_matches('{'));
        trial
            .answered(
                "the first is wrong",
                &trial.route_case.request().body(first.as_bytes()),
            )
            .await;
        trial.again(fixtures).await;
    })
    .await;
}

#[tokio::test]
async fn a_body_of_another_type_is_one_text() {
    on_each(reads_a_body, async |fixtures, mut trial| {
        let body = trial.route_case.body().expect("a body").to_string();
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
            let request = trial
                .route_case
                .request()
                .body(body.as_bytes())
                .header("content-type", kind);
            trial
                .assert_invalid(kind, &request, "model_attributes_type", json!(["body"]))
                .await;
        }
        for kind in [
            "",
            "APPLICATION/JSON",
            "application/json;charset=latin1",
            "application/json;",
            "application/x+JSON ; a=b",
        ] {
            let request = trial.route_case.request().header("content-type", kind);
            trial.answered(kind, &request).await;
            trial = trial.again(fixtures).await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_header_does_what_it_should_not() {
    let (long, credentials) = ("a".repeat(60_000), "Could not validate credentials");
    on_each(
        |_| true,
        async |fixtures, trial| {
            if asks_who_is_calling(&trial.route_case.route) {
                for (case, authorization, detail) in [
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
                        format!("Bearer {0}, Bearer {0}", trial.route_case.token),
                        credentials,
                    ),
                    (
                        "a tab",
                        format!("Bearer\t{}", trial.route_case.token),
                        "Not authenticated",
                    ),
                    (
                        "a token in quotes",
                        format!("Bearer \"{}\"", trial.route_case.token),
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
                    let request = trial
                        .route_case
                        .request()
                        .header("authorization", &authorization);
                    trial.refused_with(case, &request, 401, detail).await;
                }
            }
            let mut request = trial.route_case.request();
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
                ("if-none-match", "*"),
                ("accept", "application/xml"),
                ("x-empty", ""),
                ("x-long", &long),
            ] {
                request = request.header(name, value);
            }
            trial.answered("2,000 headers and more", &request).await;
            trial.again(fixtures).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_header_that_no_server_lets_through_is_a_reported_failure_and_the_function_goes_on() {
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

/// The names of the ids in a trial's path.
fn ids(trial: &Trial) -> &'static [&'static str] {
    if trial.route_case.route.has_task_id() {
        &["user_id", "id"]
    } else {
        &["user_id"]
    }
}

/// The id of a trial's own that has this name.
fn own<'a>(trial: &'a Trial, name: &str) -> &'a str {
    match name {
        "id" => &trial.route_case.task_id,
        _ => &trial.route_case.user_id,
    }
}

/// The request of a trial with another text for one of the ids.
fn with_id(trial: &Trial, name: &str, value: &str) -> HttpEvent {
    let mut route_case = trial.route_case.clone();
    let id = match name {
        "id" => &mut route_case.task_id,
        _ => &mut route_case.user_id,
    };
    value.clone_into(id);
    route_case.request()
}

#[tokio::test]
async fn what_is_no_number_is_no_id() {
    on_each(Route::has_path_id, async |_, trial| {
        for name in ids(&trial) {
            let own = own(&trial, name);
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
                &format!("{own} "),
                &format!(" {own}"),
                &format!("{own}/"),
                &format!("{own}%00"),
                &format!("{own}?"),
                &format!("{own}\n"),
                &"a".repeat(8000),
            ] {
                let request = with_id(&trial, name, value);
                trial
                    .assert_invalid(value, &request, "int_parsing", json!(["path", name]))
                    .await;
                trial
                    .refused_with(value, &request.anonymous(), 401, "Not authenticated")
                    .await;
            }
        }
        let nothing = trial.route_case.request().without_parameters();
        let (status, detail) = trial.assert_refused("no parameters", &nothing).await;
        let broken = detail.as_array().expect("a list").iter();
        let places: Vec<_> = broken.map(|one| one["loc"][1].as_str()).collect();
        let expected = ids(&trial).iter().copied().map(Some).collect();
        assert_eq!((status, places), (422, expected));
    })
    .await;
}

#[tokio::test]
async fn a_number_beyond_any_is_the_id_of_nothing() {
    let long = "9".repeat(4000);
    on_each(Route::has_path_id, async |_, trial| {
        for name in ids(&trial) {
            let (status, detail) = match (*name, trial.route_case.route.function) {
                ("id", _) => (404, "Task not found"),
                (_, "create-task") => (403, "Not authorized to create tasks for this user"),
                _ => (403, "Not authorized to access this user's tasks"),
            };
            let negative = format!("-{}", own(&trial, name));
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
                trial
                    .refused_with(value, &with_id(&trial, name, value), status, detail)
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_may_have_a_sign_and_zeros() {
    on_each(Route::has_path_id, async |fixtures, mut trial| {
        for name in ids(&trial) {
            for zeros in ["+", "0", "+000", &"0".repeat(4000)] {
                let value = format!("{zeros}{}", own(&trial, name));
                trial.answered(zeros, &with_id(&trial, name, &value)).await;
                trial = trial.again(fixtures).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_query_does_anything() {
    on_each(
        |_| true,
        async |fixtures, mut trial| {
            let long = format!("a={}", "a".repeat(70_000));
            for query in [
                "\"<>{}|\\^`",
                "%",
                "a=%ff%00&&&=&a",
                "deep=1&user_id=1&id=1&limit=0",
                "a=\u{e9}\u{1f600} \u{1}#a?",
                &long,
            ] {
                trial
                    .answered(query, &trial.route_case.request().query(query))
                    .await;
                trial = trial.again(fixtures).await;
            }
        },
    )
    .await;
    let health = Function::start("health", &Environment::default()).await;
    for query in ["deep=0", "deep=\"", "deep", "Deep=1", "deep=1%00"] {
        let answer = health
            .http(&HttpEvent::new("GET", "/health", &[]).query(query))
            .await;
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({"status": "ok"})),
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_one_like_any_other() {
    on_each(counts_attempts, async |fixtures, mut trial| {
        for address in [
            "",
            "999.1.1.1",
            "192.0.2.1, 10.0.0.1",
            "'; DROP TABLE attempt; --",
            "\0",
            "::ffff:192.0.2.1",
            "fe80::1%eth0",
        ] {
            trial
                .answered(address, &trial.route_case.request().source_ip(address))
                .await;
            trial = trial.again(fixtures).await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_text_in_a_login_is_more_than_a_wrong_one() {
    let fixtures = Fixtures::new().await;
    let trial = Trial::new(&fixtures, route("login")).await;
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
        // From another address each time, or there would be too many for one.
        let address = format!("192.0.2.{number}");
        for body in [
            json!({"email": trial.route_case.email, "password": text}),
            json!({"email": text, "password": PASSWORD}),
        ] {
            let request = trial.route_case.request().source_ip(&address).json(&body);
            trial
                .refused_with(text, &request, 401, "Incorrect email or password")
                .await;
        }
    }
    let request = trial.route_case.request();
    let request = request.json(&json!({"email": "a\0", "password": "a"}));
    trial
        .assert_invalid("a NUL", &request, "value_error", json!(["body", "email"]))
        .await;
}
