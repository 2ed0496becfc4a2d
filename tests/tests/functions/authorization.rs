//! Authentication and authorization: every route that needs a token, with every kind of caller.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::database::Database;
use tests::fixtures::{Fixtures, RouteCase};
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::{route, routes};
use tests::token::{decode_part, encode_part, header, sign, sign_with_header};
use tests::unique;

/// The status and the `detail` of an error response.
type Rejection = (u64, &'static str);

const NOT_AUTHENTICATED: Rejection = (401, "Not authenticated");
const UNSUPPORTED_SCHEME: Rejection = (401, "Invalid authentication credentials");
const INVALID_TOKEN: Rejection = (401, "Could not validate credentials");
const OTHER_USER: Rejection = (403, "Not authorized to access this user's tasks");
const CREATE_FOR_OTHER_USER: Rejection = (403, "Not authorized to create tasks for this user");
const TASK_NOT_FOUND: Rejection = (404, "Task not found");

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_secs()
}

/// Invalid values of the `Authorization` header, built from a valid token, with the expected responses.
fn invalid_credentials(token: &str, key: &str) -> Vec<(&'static str, Option<String>, Rejection)> {
    let claims = decode_part(token, 1);
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        sign(&changed, key)
    };
    let without = |name: &str| {
        let mut changed = claims.clone();
        changed.as_object_mut().expect("an object").remove(name);
        sign(&changed, key)
    };
    let parts: Vec<_> = token.split('.').collect();
    let other_key = "another key, which is long enough for HS256";
    let with_key_location = json!({
        "alg": "HS256", "typ": "JWT", "kid": "../../dev/null", "jku": "https://example.com/keys"
    });
    let mut altered = claims.clone();
    altered["sub"] = json!("1");
    let tokens = [
        ("no JWT", "a".to_owned()),
        ("three parts of nothing", "..".to_owned()),
        ("parts that are no base64", "!.!.!".to_owned()),
        ("a token with a space before it", format!(" {token}")),
        ("a token with a space after it", format!("{token} ")),
        ("two tokens", format!("{token},{token}")),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        (
            "claims that were not signed",
            format!("{}.{}.{}", parts[0], encode_part(&altered), parts[2]),
        ),
        ("a signature cut short", token[..token.len() - 2].to_owned()),
        (
            "no algorithm",
            format!(
                "{}.{}.",
                encode_part(&json!({"alg": "none", "typ": "JWT"})),
                parts[1]
            ),
        ),
        (
            "no algorithm, signed",
            format!(
                "{}.{}.{}",
                encode_part(&json!({"alg": "none"})),
                parts[1],
                parts[2]
            ),
        ),
        (
            "the name of an asymmetric algorithm",
            format!(
                "{}.{}.{}",
                encode_part(&json!({"alg": "RS256"})),
                parts[1],
                parts[2]
            ),
        ),
        ("HS384", sign_with_header(&header("HS384"), &claims, key)),
        ("HS512", sign_with_header(&header("HS512"), &claims, key)),
        ("another key", sign(&claims, other_key)),
        ("an empty key", sign(&claims, "")),
        (
            "another key, and where to find it",
            sign_with_header(&with_key_location, &claims, other_key),
        ),
        ("expired", with("exp", json!(now() - 1))),
        ("never expires", without("exp")),
        ("expires some time", with("exp", json!("soon"))),
        ("not yet valid", with("nbf", json!(now() + 600))),
        ("issued in the future", with("iat", json!(now() + 600))),
        ("no session", without("jti")),
        ("an unknown session", with("jti", json!(unique()))),
        ("a NUL in the session", with("jti", json!("a\0b"))),
        ("a long session", with("jti", json!("a".repeat(8_000)))),
        ("an empty session", with("jti", json!(""))),
        ("no user", without("sub")),
        ("another user", with("sub", json!(i32::MAX.to_string()))),
        ("no number for a user", with("sub", json!("1 OR 1=1"))),
        ("a number that is no text", with("sub", json!(1))),
        ("for someone else", with("aud", json!("someone"))),
        ("for someone else, who is no text", with("aud", json!(1))),
    ];
    let extended =
        extended_headers().map(|(case, header)| (case, sign_with_header(&header, &claims, key)));
    let tokens = tokens.into_iter().chain(extended);
    let tokens = tokens.map(|(case, token)| (case, Some(format!("Bearer {token}")), INVALID_TOKEN));
    headers_without_token(token)
        .into_iter()
        .chain(tokens)
        .collect()
}

/// Headers in which there is no token, or not as one.
fn headers_without_token(token: &str) -> [(&'static str, Option<String>, Rejection); 5] {
    [
        ("nothing", None, NOT_AUTHENTICATED),
        ("an empty header", Some(String::new()), NOT_AUTHENTICATED),
        (
            "the scheme alone",
            Some("Bearer".to_owned()),
            NOT_AUTHENTICATED,
        ),
        ("the token alone", Some(token.to_owned()), NOT_AUTHENTICATED),
        (
            "another scheme",
            Some(format!("Basic {token}")),
            UNSUPPORTED_SCHEME,
        ),
    ]
}

/// Headers of tokens that ask for an extension, with which a token of ours would mean something else.
fn extended_headers() -> [(&'static str, Value); 7] {
    let with = |name: &str, value: Value| {
        let mut header = header("HS256");
        header[name] = value;
        header
    };
    let mut unencoded = with("crit", json!(["b64"]));
    unencoded["b64"] = json!(false);
    [
        ("an unknown extension", with("crit", json!(["x-new"]))),
        ("an extension that is a claim", with("crit", json!(["exp"]))),
        ("no extension", with("crit", json!([]))),
        ("null as extensions", with("crit", Value::Null)),
        ("an extension that is no list", with("crit", json!("b64"))),
        ("an unencoded payload", unencoded),
        (
            "an unencoded payload that is not critical",
            with("b64", json!(false)),
        ),
    ]
}

/// Asserts that a request is rejected.
async fn assert_refused(
    function: &Function,
    case: &str,
    request: &HttpEvent,
    rejection: Rejection,
) {
    let response = function.http(request).await;
    let (status, detail) = rejection;
    assert_eq!(
        (response.status, &response.body),
        (status, &json!({"detail": detail})),
        "{case}"
    );
    let challenge = (status == 401).then_some("Bearer");
    assert_eq!(
        response.headers["www-authenticate"].as_str(),
        challenge,
        "{case}"
    );
}

#[tokio::test]
async fn forged_and_invalid_credentials_are_rejected() {
    let key = std::env::var("SECRET_KEY").expect("a key");
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    let routes = routes().iter().filter(|route| route.needs_token);
    join_all(routes.map(async |route| {
        let function = Function::start(route.function, &Environment::default()).await;
        let route_case = fixtures.route_case(route).await;
        let before = route_case.snapshot(&database).await;
        for (case, header, rejection) in invalid_credentials(&route_case.token, &key) {
            let request = match header {
                Some(header) => route_case.request().header("authorization", &header),
                None => route_case.request().anonymous(),
            };
            assert_refused(
                &function,
                &format!("{}: {case}", route.function),
                &request,
                rejection,
            )
            .await;
        }
        assert_eq!(
            route_case.snapshot(&database).await,
            before,
            "{}",
            route.function
        );
        // The valid token still works.
        let response = function.http(&route_case.request()).await;
        assert!(route_case.is_success(&response), "{route:?}: {response:?}");
    }))
    .await;
}

#[tokio::test]
async fn ended_sessions_and_deleted_accounts_are_rejected() {
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    let routes = routes().iter().filter(|route| route.needs_token);
    join_all(routes.map(async |route| {
        let function = Function::start(route.function, &Environment::default()).await;
        for (end, statement) in [
            (
                "revoked",
                "UPDATE session SET revoked = true WHERE user_id = $1",
            ),
            (
                "expired",
                "UPDATE session SET expires_at = now() AT TIME ZONE 'utc' WHERE user_id = $1",
            ),
            ("deleted", "DELETE FROM session WHERE user_id = $1"),
            ("without its user", "DELETE FROM \"user\" WHERE id = $1"),
        ] {
            let route_case = fixtures.route_case(route).await;
            database
                .execute(statement, &[&route_case.user_id_number()])
                .await;
            let before = route_case.snapshot(&database).await;
            let case = format!("{}: {end}", route.function);
            // A second logout succeeds.
            if (route.function, end) == ("logout", "revoked") {
                assert_eq!(function.http(&route_case.request()).await.status, 200);
            } else {
                assert_refused(&function, &case, &route_case.request(), INVALID_TOKEN).await;
            }
            assert_eq!(route_case.snapshot(&database).await, before, "{case}");
        }
    }))
    .await;
}

#[tokio::test]
async fn tasks_of_other_users_are_inaccessible() {
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    let routes = routes().iter().filter(|route| route.has_path_id());
    join_all(routes.map(async |route| {
        let function = Function::start(route.function, &Environment::default()).await;
        let (owner, other) = (
            fixtures.route_case(route).await,
            fixtures.route_case(route).await,
        );
        let snapshots = async || {
            [
                owner.snapshot(&database).await,
                other.snapshot(&database).await,
            ]
        };
        let before = snapshots().await;
        let rejection = match route.function {
            "create-task" => CREATE_FOR_OTHER_USER,
            _ => OTHER_USER,
        };
        let name = route.function;
        // The caller's token and another user's path.
        let request = owner.request().bearer(&other.token);
        assert_refused(&function, name, &request, rejection).await;
        // The caller's token and path, and another user's task.
        if route.has_task_id() {
            for task_id in [owner.task_id.as_str(), "999999999999999999999", "-1"] {
                let request = other.with_task_id(task_id).request();
                assert_refused(&function, name, &request, TASK_NOT_FOUND).await;
            }
        }
        // The caller's path, and another user's id in the body and the query.
        if name == "create-task" {
            let body =
                json!({"title": "new", "user_id": owner.user_id_number(), "id": owner.task_id});
            let query = format!("user_id={}", owner.user_id_number());
            let response = function
                .http(&other.request().json(&body).query(&query))
                .await;
            assert_eq!(
                (response.status, &response.body["user_id"]),
                (201, &json!(other.user_id_number()))
            );
            assert_eq!(owner.snapshot(&database).await, before[0]);
        } else {
            assert_eq!(snapshots().await, before, "{name}");
        }
    }))
    .await;
}

#[tokio::test]
async fn key_rotation_keeps_sessions_valid() {
    let (old, new) = (unique().repeat(2), unique().repeat(2));
    let environment = Environment::default();
    let signing = |key: &str| environment.clone().with("SECRET_KEY", key);
    let accepting = |key: &str, previous: &str| signing(key).with("SECRET_KEY_PREVIOUS", previous);
    let before = Fixtures::in_environment(&signing(&old))
        .await
        .route_case(route("me"))
        .await;
    let after = Fixtures::in_environment(&accepting(&new, &old))
        .await
        .route_case(route("me"))
        .await;
    for (step, environment, old_status, new_status) in [
        ("before", signing(&old), 200, 401),
        ("the new key is known", accepting(&old, &new), 200, 200),
        ("the new key signs", accepting(&new, &old), 200, 200),
        ("the old key is forgotten", signing(&new), 401, 200),
    ] {
        let me = Function::start("me", &environment).await;
        let status = async |route_case: &RouteCase| me.http(&route_case.request()).await.status;
        assert_eq!(
            (status(&before).await, status(&after).await),
            (old_status, new_status),
            "{step}"
        );
    }
}

#[tokio::test]
async fn the_previous_key_may_be_short() {
    let environment = Environment::default();
    let route_case = Fixtures::in_environment(&environment)
        .await
        .route_case(route("me"))
        .await;
    let short = "the legacy service's";
    let token = sign(&decode_part(&route_case.token, 1), short);
    let me = Function::start("me", &environment.with("SECRET_KEY_PREVIOUS", short)).await;
    assert_eq!(
        me.http(&route_case.request().bearer(&token)).await.status,
        200
    );
}
