//! Who may do what: every route that asks who is calling, and every kind of caller.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::database;
use tests::function::{Environment, Function, HttpEvent};
use tests::token::{decode_part, encode_part, header, sign, sign_with_header};
use tests::unique;

use tests::fixtures::{Fixtures, RouteCase};
use tests::routes::{route, routes};

/// An answer: its status and its `detail`.
type Refusal = (u64, &'static str);

const NOT_AUTHENTICATED: Refusal = (401, "Not authenticated");
const OTHER_SCHEME: Refusal = (401, "Invalid authentication credentials");
const INVALID: Refusal = (401, "Could not validate credentials");
const NOT_YOURS: Refusal = (403, "Not authorized to access this user's tasks");
const NOT_YOURS_TO_CREATE: Refusal = (403, "Not authorized to create tasks for this user");
const NOT_FOUND: Refusal = (404, "Task not found");

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_secs()
}

/// What callers put into the header `Authorization` who are not the one whose token this is, and what they get.
fn impostors(token: &str, key: &str) -> Vec<(&'static str, Option<String>, Refusal)> {
    let good = decode_part(token, 1);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        sign(&claims, key)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        sign(&claims, key)
    };
    let parts: Vec<_> = token.split('.').collect();
    let other_key = "of whom no one has heard, though it is long enough";
    let pointing = json!({
        "alg": "HS256", "typ": "JWT", "kid": "../../dev/null", "jku": "https://example.com/keys"
    });
    let mut altered = good.clone();
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
        ("HS384", sign_with_header(&header("HS384"), &good, key)),
        ("HS512", sign_with_header(&header("HS512"), &good, key)),
        ("another key", sign(&good, other_key)),
        ("an empty key", sign(&good, "")),
        (
            "another key, and where to find it",
            sign_with_header(&pointing, &good, other_key),
        ),
        ("expired", with("exp", json!(now() - 1))),
        ("never expires", without("exp")),
        ("expires some time", with("exp", json!("soon"))),
        ("not yet valid", with("nbf", json!(now() + 600))),
        ("issued in the future", with("iat", json!(now() + 600))),
        ("no session", without("jti")),
        ("an unknown session", with("jti", json!(unique()))),
        ("no user", without("sub")),
        ("another user", with("sub", json!(i32::MAX.to_string()))),
        ("no number for a user", with("sub", json!("1 OR 1=1"))),
        ("a number that is no text", with("sub", json!(1))),
        ("for someone else", with("aud", json!("someone"))),
        ("for someone else, who is no text", with("aud", json!(1))),
    ];
    let headers = [
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
            OTHER_SCHEME,
        ),
    ];
    let tokens = tokens.map(|(who, token)| (who, Some(format!("Bearer {token}")), INVALID));
    headers.into_iter().chain(tokens).collect()
}

/// Sees that a request is refused.
async fn assert_refused(function: &Function, case: &str, request: &HttpEvent, refusal: Refusal) {
    let answer = function.http(request).await;
    let (status, detail) = refusal;
    assert_eq!(
        (answer.status, &answer.body),
        (status, &json!({"detail": detail})),
        "{case}"
    );
    let challenge = (status == 401).then_some("Bearer");
    assert_eq!(
        answer.headers["www-authenticate"].as_str(),
        challenge,
        "{case}"
    );
}

#[tokio::test]
async fn no_route_lets_in_who_is_not_the_one_their_token_says() {
    let key = std::env::var("SECRET_KEY").expect("a key");
    let database = database::connect_or_skip("who may do what")
        .await
        .expect("a DATABASE_URL");
    let fixtures = Fixtures::new().await;
    let routes = routes().iter().filter(|route| route.needs_token);
    join_all(routes.map(async |route| {
        let function = Function::start(route.function, &Environment::default()).await;
        let route_case = fixtures.route_case(route).await;
        let before = route_case.snapshot(&database).await;
        for (who, header, refusal) in impostors(&route_case.token, &key) {
            let request = match header {
                Some(header) => route_case.request().header("authorization", &header),
                None => route_case.request().anonymous(),
            };
            assert_refused(
                &function,
                &format!("{}: {who}", route.function),
                &request,
                refusal,
            )
            .await;
        }
        assert_eq!(
            route_case.snapshot(&database).await,
            before,
            "{}",
            route.function
        );
        // And the one whose token it is.
        let answer = function.http(&route_case.request()).await;
        assert!(route_case.is_success(&answer), "{route:?}: {answer:?}");
    }))
    .await;
}

#[tokio::test]
async fn no_route_lets_in_whose_session_is_over_or_whose_account_is_gone() {
    let database = database::connect_or_skip("dead sessions")
        .await
        .expect("a DATABASE_URL");
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
            // Logging out a second time is no error.
            if (route.function, end) == ("logout", "revoked") {
                assert_eq!(function.http(&route_case.request()).await.status, 200);
            } else {
                assert_refused(&function, &case, &route_case.request(), INVALID).await;
            }
            assert_eq!(route_case.snapshot(&database).await, before, "{case}");
        }
    }))
    .await;
}

#[tokio::test]
async fn no_one_reaches_the_tasks_of_another() {
    let database = database::connect_or_skip("tasks of others")
        .await
        .expect("a DATABASE_URL");
    let fixtures = Fixtures::new().await;
    let routes = routes().iter().filter(|route| route.has_path_id());
    join_all(routes.map(async |route| {
        let function = Function::start(route.function, &Environment::default()).await;
        let (victim, thief) = (
            fixtures.route_case(route).await,
            fixtures.route_case(route).await,
        );
        let books = async || {
            [
                victim.snapshot(&database).await,
                thief.snapshot(&database).await,
            ]
        };
        let before = books().await;
        let refusal = match route.function {
            "create-task" => NOT_YOURS_TO_CREATE,
            _ => NOT_YOURS,
        };
        let name = route.function;
        // Their own token, and another's path.
        let request = victim.request().bearer(&thief.token);
        assert_refused(&function, name, &request, refusal).await;
        // Their own token and path, and another's task.
        if route.has_task_id() {
            for task_id in [victim.task_id.as_str(), "999999999999999999999", "-1"] {
                let request = thief.with_task_id(task_id).request();
                assert_refused(&function, name, &request, NOT_FOUND).await;
            }
        }
        // Their own path, and another's id in the body and the query.
        if name == "create-task" {
            let body =
                json!({"title": "new", "user_id": victim.user_id_number(), "id": victim.task_id});
            let query = format!("user_id={}", victim.user_id_number());
            let answer = function
                .http(&thief.request().json(&body).query(&query))
                .await;
            assert_eq!(
                (answer.status, &answer.body["user_id"]),
                (201, &json!(thief.user_id_number()))
            );
            assert_eq!(victim.snapshot(&database).await, before[0]);
        } else {
            assert_eq!(books().await, before, "{name}");
        }
    }))
    .await;
}

#[tokio::test]
async fn a_rotation_of_the_key_logs_no_one_out() {
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
    for (step, environment, of_old, of_new) in [
        ("before", signing(&old), 200, 401),
        ("the new key is known", accepting(&old, &new), 200, 200),
        ("the new key signs", accepting(&new, &old), 200, 200),
        ("the old key is forgotten", signing(&new), 401, 200),
    ] {
        let me = Function::start("me", &environment).await;
        let status = async |route_case: &RouteCase| me.http(&route_case.request()).await.status;
        assert_eq!(
            (status(&before).await, status(&after).await),
            (of_old, of_new),
            "{step}"
        );
    }
}

#[tokio::test]
async fn a_previous_key_may_be_shorter_than_a_new_one_has_to_be() {
    let environment = Environment::default();
    let route_case = Fixtures::in_environment(&environment)
        .await
        .route_case(route("me"))
        .await;
    let short = "the former service's";
    let token = sign(&decode_part(&route_case.token, 1), short);
    let me = Function::start("me", &environment.with("SECRET_KEY_PREVIOUS", short)).await;
    assert_eq!(
        me.http(&route_case.request().bearer(&token)).await.status,
        200
    );
}
