//! Personal tokens: what they reach, how they end, and how many there can be.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::api::PASSWORD;
use tests::database::{Database, TestDatabase};
use tests::fixtures::{Fixtures, RouteCase, register};
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::routes::{route, routes};
use tests::token::sign;
use tests::unique;

const TOKENS: &str = "/api/auth/tokens";
const NOT_ALLOWED: (u64, &str) = (403, "This token may not be used here");
const INVALID: (u64, &str) = (401, "Could not validate credentials");

fn new_token(login: &str, scope: &str) -> HttpEvent {
    let body = json!({"name": "a script", "scope": scope, "password": PASSWORD});
    HttpEvent::new("POST", TOKENS, &[])
        .bearer(login)
        .json(&body)
}

/// Creates a personal token for the user of a login.
async fn create(function: &Function, login: &str, scope: &str) -> Value {
    let response = function.http(&new_token(login, scope)).await;
    assert_eq!(response.status, 201, "{response:?}");
    response.body
}

fn text(created: &Value) -> String {
    created["access_token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

fn hash(token: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(token))
}

#[track_caller]
fn assert_refused(case: &str, response: &HttpResponse, (status, detail): (u64, &str)) {
    assert_eq!(
        (response.status, &response.body),
        (status, &json!({ "detail": detail })),
        "{case}"
    );
}

/// Whether a route accepts a personal token to read tasks, and one to write them.
fn accepted(function: &str) -> (bool, bool) {
    match function {
        "me" | "list-tasks" | "get-task" => (true, true),
        "create-task" | "update-task" | "delete-task" | "complete-task" => (false, true),
        _ => (false, false),
    }
}

#[tokio::test]
async fn each_route_accepts_the_personal_tokens_of_its_scope() {
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    let create_token = Function::start("create-token", &Environment::default()).await;
    let routes = routes().iter().filter(|route| route.needs_token);
    join_all(routes.map(async |route| {
        let function = Function::start(route.function, &Environment::default()).await;
        let (case, other) = (
            fixtures.route_case(route).await,
            fixtures.route_case(route).await,
        );
        let new = async |scope| text(&create(&create_token, &case.token, scope).await);
        let (write, read) = (new("tasks").await, new("tasks:read").await);
        let ended = [
            new("tasks").await,
            new("tasks").await,
            new("tasks:read").await,
        ];
        for (token, end) in ended.iter().zip([
            "UPDATE session SET revoked = true WHERE token_jti = $1",
            "UPDATE session SET expires_at = now() AT TIME ZONE 'utc' WHERE token_jti = $1",
            "DELETE FROM session WHERE token_jti = $1",
        ]) {
            assert_eq!(database.execute(end, &[&hash(token)]).await, 1);
        }
        let last = if write.ends_with('A') { "B" } else { "A" };
        let before = case.snapshot(&database).await;
        for (caller, token) in [
            ("revoked", ended[0].clone()),
            ("expired", ended[1].clone()),
            ("deleted", ended[2].clone()),
            (
                "another scope in the text",
                read.replace("todo_r_", "todo_w_"),
            ),
            (
                "a smaller scope in the text",
                write.replace("todo_w_", "todo_r_"),
            ),
            (
                "another user in the text",
                write.replace(&case.user_id, &other.user_id),
            ),
            (
                "another user of the same digits",
                write.replace("todo_w_", "todo_w_0"),
            ),
            (
                "another last character",
                format!("{}{last}", &write[..write.len() - 1]),
            ),
            (
                "without its last character",
                write[..write.len() - 1].to_owned(),
            ),
            ("with a space", format!("{write} ")),
            ("its hash", hash(&write)),
            ("as a JWT", format!("{write}.{write}.{write}")),
        ] {
            let response = function.http(&case.request().bearer(&token)).await;
            assert_refused(&format!("{route:?}: {caller}"), &response, INVALID);
        }
        let (reads, writes) = accepted(route.function);
        if route.has_path_id() {
            let foreign = text(&create(&create_token, &other.token, "tasks").await);
            let response = function.http(&case.request().bearer(&foreign)).await;
            assert_eq!(response.status, 403, "{route:?}: another user's");
        }
        for (token, is_accepted) in [(&read, reads), (&write, writes)] {
            let request = case.request().bearer(token);
            if is_accepted {
                let response = function.http(&request).await;
                assert!(case.is_success(&response), "{route:?}: {response:?}");
            } else {
                let response = function.http(&request).await;
                assert_refused(&format!("{route:?}: {token:.6}"), &response, NOT_ALLOWED);
                assert_eq!(case.snapshot(&database).await, before, "{route:?}");
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn a_signed_token_cannot_name_a_personal_token() {
    let key = std::env::var("SECRET_KEY").expect("a key");
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    let create_token = Function::start("create-token", &Environment::default()).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    let signed = |case: &RouteCase, jti: &str| {
        let claims = json!({"sub": case.user_id, "jti": jti, "exp": now.as_secs() + 600});
        case.request().bearer(&sign(&claims, &key))
    };
    for name in [
        "me",
        "list-tasks",
        "create-task",
        "list-sessions",
        "refresh",
        "end-sessions",
    ] {
        let case = fixtures.route_case(route(name)).await;
        let function = Function::start(name, &Environment::default()).await;
        let personal = text(&create(&create_token, &case.token, "tasks").await);
        let jti = hash(&personal);
        let response = function.http(&signed(&case, &jti)).await;
        assert_refused(name, &response, INVALID);
        let response = function.http(&signed(&case, &personal)).await;
        assert_refused(name, &response, INVALID);
        // The legacy service may have used names of the same form.
        let jti = unique().repeat(4);
        let insert = "INSERT INTO session (user_id, token_jti, token, expires_at)
                      VALUES ($1, $2, $2, now() AT TIME ZONE 'utc' + interval '1 hour')";
        let user_id = case.user_id_number();
        database.execute(insert, &[&user_id, &jti]).await;
        let response = function.http(&signed(&case, &jti)).await;
        assert!(case.is_success(&response), "{name}: {response:?}");
    }
}

#[tokio::test]
async fn only_the_hash_of_a_personal_token_is_stored() {
    let database = Database::from_env().await;
    let (user_id, login) = register(&Environment::default()).await;
    let create_token = Function::start("create-token", &Environment::default()).await;
    let created = create(&create_token, &login, "tasks:read").await;
    let token = text(&created);
    assert!(
        token.starts_with(&format!("todo_r_{user_id}_")),
        "the prefix"
    );
    let id = i32::try_from(created["id"].as_i64().expect("an id")).expect("an id");
    let select =
        "SELECT token_jti, token, kind, name, scope, revoked, expires_at - created_at AS lifetime
                  FROM session WHERE id = $1";
    assert_eq!(
        database.query_one(select, &[&id]).await,
        json!({"token_jti": hash(&token), "token": hash(&token), "kind": "token", "name": "a script",
               "scope": "tasks:read", "revoked": false, "lifetime": "90 days"})
    );
}

#[tokio::test]
async fn a_personal_token_outlives_a_rotation_of_the_key() {
    let environment = Environment::default();
    let case = Fixtures::new().await.route_case(route("get-task")).await;
    let create_token = Function::start("create-token", &environment).await;
    let token = text(&create(&create_token, &case.token, "tasks").await);
    let rotated = environment.with("SECRET_KEY", unique().repeat(2));
    let get_task = Function::start("get-task", &rotated).await;
    let response = get_task.http(&case.request()).await;
    assert_refused("the login", &response, INVALID);
    let response = get_task.http(&case.request().bearer(&token)).await;
    assert_eq!(response.status, 200, "{response:?}");
}

#[tokio::test]
async fn an_account_has_at_most_20_personal_tokens() {
    let environment = Environment::default();
    let database = Database::from_env().await;
    let (user_id, login) = register(&environment).await;
    let instances = join_all((0..4).map(|_| Function::start("create-token", &environment))).await;
    let request = new_token(&login, "tasks");
    let creations = (0..24).map(async |number: usize| {
        let response = instances[number % instances.len()].http(&request).await;
        if response.status == 409 {
            assert_refused("too many", &response, (409, "Too many tokens"));
        }
        response.status
    });
    let mut statuses = join_all(creations).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201; 20], vec![409; 4]].concat());

    // One that has ended or expired makes room for another one.
    let user_id: i32 = user_id.parse().expect("an id");
    for end in ["revoked = true", "expires_at = now() AT TIME ZONE 'utc'"] {
        let end = format!(
            "UPDATE session SET {end} WHERE id = (
                 SELECT max(id) FROM session WHERE user_id = $1 AND kind = 'token' AND NOT revoked
                    AND expires_at > now() AT TIME ZONE 'utc'
             )"
        );
        assert_eq!(database.execute(&end, &[&user_id]).await, 1);
        let statuses = [
            instances[0].http(&request).await.status,
            instances[0].http(&request).await.status,
        ];
        assert_eq!(statuses, [201, 409]);
    }
    // The right password was no failed attempt.
    let attempts = "SELECT coalesce(sum(used), 0) AS used FROM attempt WHERE user_id = $1";
    let attempts = database.query_one(attempts, &[&user_id]).await;
    assert_eq!(attempts, json!({"used": 0}));
}

#[tokio::test]
async fn a_wrong_password_for_a_token_counts_as_a_failed_login() {
    let environment = Environment::default().with("MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS", "2");
    let (_, login) = register(&environment).await;
    let create_token = Function::start("create-token", &environment).await;
    let wrong = new_token(&login, "tasks").json(&json!({"name": "a", "password": "wrong"}));
    for _ in 0..2 {
        let response = create_token.http(&wrong).await;
        assert_refused("wrong", &response, (403, "Incorrect password"));
    }
    let response = create_token.http(&new_token(&login, "tasks")).await;
    let detail = "Too many attempts, try again later";
    assert_refused("too many", &response, (429, detail));
    assert!(response.headers["retry-after"].is_string(), "{response:?}");
}

#[tokio::test]
async fn a_forged_personal_token_is_logged_without_a_user() {
    let environment = Environment::default().with("AWS_LAMBDA_LOG_LEVEL", "INFO");
    let (user_id, login) = register(&environment).await;
    let create_token = Function::start("create-token", &environment).await;
    let token = text(&create(&create_token, &login, "tasks").await);
    let me = Function::start("me", &environment).await;
    let request = HttpEvent::new("GET", "/api/auth/me", &[]);
    let forged = format!("todo_w_{user_id}_{}", "a".repeat(43));
    for (token, status) in [(&forged, 401), (&token, 200)] {
        assert_eq!(me.http(&request.clone().bearer(token)).await.status, status);
    }
    let log = me.stop().await;
    let users: Vec<_> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "answered")
        .map(|line| line["user_id"].clone())
        .collect();
    let user_id: i32 = user_id.parse().expect("an id");
    assert_eq!(users, [Value::Null, json!(user_id)]);
    assert!(!log.contains("todo_w_"), "a token is in the log");
}

#[tokio::test]
async fn ended_personal_tokens_are_purged_and_ended_logins_stay() {
    let database = TestDatabase::migrated().await;
    let (_, login) = register(&database.environment).await;
    let create_token = Function::start("create-token", &database.environment).await;
    for _ in 0..3 {
        create(&create_token, &login, "tasks").await;
    }
    database
        .owner
        .batch_execute(
            "INSERT INTO session (user_id, token_jti, token, expires_at, revoked)
             SELECT user_id, 'ended', 'ended', now() AT TIME ZONE 'utc' + interval '1 h', true FROM session LIMIT 1;
             UPDATE session SET revoked = true WHERE id = (SELECT min(id) FROM session WHERE kind = 'token');
             UPDATE session SET expires_at = now() AT TIME ZONE 'utc'
             WHERE id = (SELECT max(id) FROM session WHERE kind = 'token')",
        )
        .await;
    let purge = Function::start("purge-sessions", &database.environment).await;
    let purged = purge.invoke(json!({})).await.expect("a success");
    assert_eq!(purged["deleted"], 2);
    let left =
        "SELECT count(*) FILTER (WHERE kind = 'token') AS tokens, count(*) AS all FROM session";
    let left = database.owner.query_one(left, &[]).await;
    assert_eq!(left, json!({"tokens": 1, "all": 3}));
    database.drop().await;
}
