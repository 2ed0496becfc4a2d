//! Logins: refreshing them, how many there can be, and ending them while others are opened.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::chaos_proxy::{Direction, Fault};
use tests::database::{Database, TestDatabase};
use tests::fixtures::{Fixtures, register};
use tests::function::{Environment, Function, HttpEvent};
use tests::proxied_function::ProxiedFunction;
use tests::routes::route;
use tests::token::{decode_part, sign};

/// How many logins an account has at most.
const MAX_LOGINS: usize = 50;

/// How many days after the password a login can be refreshed.
const MAX_DAYS: i64 = 30;

fn refresh_of(token: &str) -> HttpEvent {
    HttpEvent::new("POST", "/api/auth/refresh", &[]).bearer(token)
}

/// Refreshes a login, and returns the new token.
async fn refreshed(refresh: &Function, token: &str) -> String {
    let response = refresh.http(&refresh_of(token)).await;
    assert_eq!(response.status, 200, "{response:?}");
    let token = response.body["access_token"].as_str();
    token.expect("a token").to_owned()
}

/// Whether the session of a token is active.
async fn is_active(me: &Function, token: &str) -> bool {
    let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(token);
    match me.http(&request).await.status {
        200 => true,
        401 => false,
        status => panic!("{status}"),
    }
}

fn jti(token: &str) -> String {
    let claims = decode_part(token, 1);
    claims["jti"].as_str().expect("a text").to_owned()
}

/// Opens other logins of a user, the newest of them an hour ago.
async fn add_logins(database: &Database, user_id: &str, count: usize) {
    let insert = "INSERT INTO session (user_id, token_jti, token, expires_at, created_at)
                  SELECT account, 'other-' || account || '-' || n, '', now() AT TIME ZONE 'utc' + interval '1 day',
                         now() AT TIME ZONE 'utc' - n * interval '1 h'
                  FROM generate_series(1, $2) AS n, (SELECT $1::integer AS account) AS owner";
    let user_id: i32 = user_id.parse().expect("an id");
    let count = i32::try_from(count).expect("a number");
    database.execute(insert, &[&user_id, &count]).await;
}

/// The rows of a user's logins, and which of those of `add_logins` are active.
async fn logins(database: &Database, user_id: &str) -> (u64, Vec<u64>) {
    let user_id: i32 = user_id.parse().expect("an id");
    let select = "SELECT count(*) AS all,
                         jsonb_agg(split_part(token_jti, '-', 3)::integer ORDER BY created_at DESC)
                             FILTER (WHERE token_jti LIKE 'other-%' AND NOT revoked) AS others
                  FROM session WHERE user_id = $1 AND kind IS DISTINCT FROM 'token'";
    let found = database.query_one(select, &[&user_id]).await;
    let others = found["others"].as_array().into_iter().flatten();
    (
        found["all"].as_u64().expect("a number"),
        others.filter_map(Value::as_u64).collect(),
    )
}

#[tokio::test]
async fn a_refresh_leaves_the_old_token_valid() {
    let environment = Environment::default();
    let (user_id, login) = register(&environment).await;
    let refresh = Function::start("refresh", &environment).await;
    let me = Function::start("me", &environment).await;
    let response = refresh.http(&refresh_of(&login)).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.body["token_type"], "bearer");
    assert_eq!(response.body["user_id"], json!(user_id));
    let first = response.body["access_token"].as_str().expect("a token");
    // Two tabs of one browser refresh the same token.
    let second = refreshed(&refresh, &login).await;
    for token in [login.as_str(), first, &second] {
        assert!(is_active(&me, token).await);
    }
    let (old, new) = (decode_part(&login, 1), decode_part(first, 1));
    for name in ["sub", "email", "username"] {
        assert_eq!(new[name], old[name], "{name}");
    }
    assert_ne!(new["jti"], old["jti"]);
    let lifetime = |claims: &Value| claims["exp"].as_i64().zip(claims["iat"].as_i64());
    let lifetime = |claims| lifetime(claims).map(|(exp, iat)| exp - iat);
    assert_eq!(lifetime(&new), lifetime(&old));
}

#[tokio::test]
async fn the_days_of_a_session_count_from_the_password() {
    let environment = Environment::default();
    let database = Database::from_env().await;
    let (_, login) = register(&environment).await;
    let refresh = Function::start("refresh", &environment).await;
    let me = Function::start("me", &environment).await;
    let age = async |token: &str, age: &str| {
        let age = format!(
            "UPDATE session
             SET created_at = now() AT TIME ZONE 'utc' - interval '{age}',
                 authenticated_at = CASE WHEN authenticated_at IS NOT NULL
                                         THEN now() AT TIME ZONE 'utc' - interval '{age}' END
             WHERE token_jti = $1"
        );
        assert_eq!(database.execute(&age, &[&jti(token)]).await, 1);
    };
    // A minute before the end. The new token does not outlive it, neither by its claim nor by its session.
    age(&login, &format!("{MAX_DAYS} days -1 minute")).await;
    let last = refreshed(&refresh, &login).await;
    assert!(is_active(&me, &last).await);
    let select = "SELECT extract(epoch FROM new.expires_at)::bigint AS expires_at,
                         floor(extract(epoch FROM old.created_at + interval '30 days'))::bigint AS latest,
                         new.authenticated_at = old.created_at AS is_carried_over
                  FROM session AS new, session AS old WHERE new.token_jti = $1 AND old.token_jti = $2";
    let found = database
        .query_one(select, &[&jti(&last), &jti(&login)])
        .await;
    assert_eq!(found["is_carried_over"], true);
    assert_eq!(found["expires_at"], found["latest"]);
    assert_eq!(decode_part(&last, 1)["exp"], found["latest"]);

    // The end itself, for the login and for what it was refreshed to.
    for token in [&login, &last] {
        age(token, &format!("{MAX_DAYS} days")).await;
        let response = refresh.http(&refresh_of(token)).await;
        assert_eq!(response.status, 401, "{response:?}");
        assert_eq!(response.headers["www-authenticate"], "Bearer");
        assert!(is_active(&me, token).await);
    }
}

#[tokio::test]
async fn refreshing_again_and_again_does_not_postpone_the_end() {
    let environment = Environment::default().with("SESSION_MAX_DAYS", "1");
    let database = Database::from_env().await;
    let (_, login) = register(&environment).await;
    let refresh = Function::start("refresh", &environment).await;
    let mut token = login.clone();
    for _ in 0..3 {
        token = refreshed(&refresh, &token).await;
    }
    let select = "SELECT new.authenticated_at = old.created_at AS is_that_of_the_login
                  FROM session AS new, session AS old WHERE new.token_jti = $1 AND old.token_jti = $2";
    let found = database
        .query_one(select, &[&jti(&token), &jti(&login)])
        .await;
    assert_eq!(found["is_that_of_the_login"], true);
    let age = "UPDATE session SET authenticated_at = authenticated_at - interval '1 day' WHERE token_jti = $1";
    database.execute(age, &[&jti(&token)]).await;
    assert_eq!(refresh.http(&refresh_of(&token)).await.status, 401);
}

#[tokio::test]
async fn a_refreshed_token_has_the_names_of_the_account() {
    let environment = Environment::default();
    let key = std::env::var("SECRET_KEY").expect("a key");
    let database = Database::from_env().await;
    let (user_id, login) = register(&environment).await;
    let refresh = Function::start("refresh", &environment).await;
    // A token of the legacy service may lack them.
    let mut claims = decode_part(&login, 1);
    for name in ["email", "username"] {
        claims.as_object_mut().expect("an object").remove(name);
    }
    let token = refreshed(&refresh, &sign(&claims, &key)).await;
    for name in ["email", "username"] {
        assert_eq!(decode_part(&token, 1)[name], decode_part(&login, 1)[name]);
    }
    let rename = "UPDATE \"user\" SET username = 'renamed-' || id WHERE id = $1";
    let number: i32 = user_id.parse().expect("an id");
    database.execute(rename, &[&number]).await;
    let token = refreshed(&refresh, &login).await;
    let username = format!("renamed-{user_id}");
    assert_eq!(decode_part(&token, 1)["username"], json!(username));
}

#[tokio::test]
async fn a_login_beyond_50_ends_the_oldest() {
    let environment = Environment::default();
    let database = Database::from_env().await;
    let case = Fixtures::new().await.route_case(route("login")).await;
    add_logins(&database, &case.user_id, 60).await;
    let login = Function::start("login", &environment).await;
    assert_eq!(login.http(&case.request()).await.status, 200);
    let newest: Vec<u64> = (1..=48).collect();
    let expected = (MAX_LOGINS as u64, newest);
    assert_eq!(logins(&database, &case.user_id).await, expected);
}

#[tokio::test]
async fn refreshing_in_a_loop_ends_nobody_elses_session() {
    let environment = Environment::default();
    let database = Database::from_env().await;
    let refresh = Function::start("refresh", &environment).await;
    let me = Function::start("me", &environment).await;

    // Always the same token: it stays valid.
    let (user_id, login) = register(&environment).await;
    add_logins(&database, &user_id, 40).await;
    let mut tokens = Vec::new();
    for _ in 0..15 {
        tokens.push(refreshed(&refresh, &login).await);
    }
    let others: Vec<u64> = (1..=40).collect();
    let expected = (MAX_LOGINS as u64, others);
    assert_eq!(logins(&database, &user_id).await, expected);
    assert!(is_active(&me, &login).await);
    // The oldest refreshes have made room for the newest.
    for (number, token) in tokens.iter().enumerate() {
        assert_eq!(is_active(&me, token).await, number >= 6, "{number}");
    }

    // Each time the newest token, in an account without room.
    let (user_id, login) = register(&environment).await;
    add_logins(&database, &user_id, MAX_LOGINS - 1).await;
    let mut token = login.clone();
    for _ in 0..5 {
        token = refreshed(&refresh, &token).await;
    }
    let others: Vec<u64> = (1..MAX_LOGINS as u64).collect();
    let expected = (MAX_LOGINS as u64, others);
    assert_eq!(logins(&database, &user_id).await, expected);
    assert!(is_active(&me, &token).await && !is_active(&me, &login).await);
}

#[tokio::test]
async fn refreshing_and_logging_out_in_a_loop_fills_no_table() {
    let environment = Environment::default();
    let database = Database::from_env().await;
    let (user_id, login) = register(&environment).await;
    add_logins(&database, &user_id, 40).await;
    let refresh = Function::start("refresh", &environment).await;
    let logout = Function::start("logout", &environment).await;
    for _ in 0..20 {
        let token = refreshed(&refresh, &login).await;
        let request = HttpEvent::new("POST", "/api/auth/logout", &[]).bearer(&token);
        // Logging out twice is not an error.
        for _ in 0..2 {
            assert_eq!(logout.http(&request).await.status, 200);
        }
    }
    let others: Vec<u64> = (1..=40).collect();
    let expected = (MAX_LOGINS as u64, others);
    assert_eq!(logins(&database, &user_id).await, expected);
}

#[tokio::test]
async fn the_limit_of_logins_holds_for_requests_at_once() {
    let environment = Environment::default();
    let database = Database::from_env().await;
    let case = Fixtures::new().await.route_case(route("login")).await;
    add_logins(&database, &case.user_id, MAX_LOGINS - 3).await;
    let refreshes = join_all((0..3).map(|_| Function::start("refresh", &environment))).await;
    let logins_ = join_all((0..2).map(|_| Function::start("login", &environment))).await;
    let refreshing = refreshes.iter().map(async |refresh| {
        for _ in 0..10 {
            refreshed(refresh, &case.token).await;
        }
    });
    let logging_in = logins_.iter().map(async |login| {
        for _ in 0..5 {
            assert_eq!(login.http(&case.request()).await.status, 200);
        }
    });
    tokio::join!(join_all(refreshing), join_all(logging_in));
    let (all, _) = logins(&database, &case.user_id).await;
    assert_eq!(all, MAX_LOGINS as u64);
}

#[tokio::test]
async fn a_refresh_cannot_slip_past_the_end_of_all_sessions() {
    let database = TestDatabase::migrated().await;
    let case = Fixtures::in_environment(&database.environment)
        .await
        .route_case(route("refresh"))
        .await;
    let refresh = Function::start("refresh", &database.environment).await;
    let end = Function::start("end-sessions", &database.environment).await;
    let stolen = refreshed(&refresh, &case.token).await;
    let end_others = HttpEvent::new("DELETE", "/api/auth/sessions", &[]).bearer(&case.token);
    let active = "SELECT count(*) FROM active_session WHERE user_id = $1";
    for refresh_is_first in [true, false] {
        // Both requests wait for the account's row, and get it in the order in which they came.
        let other = database.connect().await;
        other
            .batch_execute(&format!(
                "BEGIN; SELECT FROM \"user\" WHERE id = {} FOR UPDATE",
                case.user_id
            ))
            .await;
        let refreshing = async |waiting| {
            database.wait_for_blocked_statements(waiting).await;
            refresh.http(&refresh_of(&stolen)).await.status
        };
        let ending = async |waiting| {
            database.wait_for_blocked_statements(waiting).await;
            end.http(&end_others).await.status
        };
        let release = async {
            database.wait_for_blocked_statements(2).await;
            other.batch_execute("COMMIT").await;
        };
        let (first, second) = if refresh_is_first { (0, 1) } else { (1, 0) };
        let (refreshed, ended, ()) = tokio::join!(refreshing(first), ending(second), release);
        let expected = if refresh_is_first { 200 } else { 401 };
        assert_eq!((refreshed, ended), (expected, 200));
        let user_id = case.user_id_number();
        let left = database.owner.query_one(active, &[&user_id]).await;
        assert_eq!(left, json!({"count": 1}));
        let revive = "UPDATE session SET revoked = false WHERE token_jti = $1";
        database.owner.execute(revive, &[&jti(&stolen)]).await;
    }
    database.drop().await;
}

#[tokio::test]
async fn sessions_of_the_legacy_service_are_logins() {
    let environment = Environment::default();
    let key = std::env::var("SECRET_KEY").expect("a key");
    let database = Database::from_env().await;
    let (user_id, login) = register(&environment).await;
    add_logins(&database, &user_id, 1).await;
    let mut claims = decode_part(&login, 1);
    claims["jti"] = json!(format!("other-{user_id}-1"));
    let legacy = sign(&claims, &key);
    let list = Function::start("list-sessions", &environment).await;
    let request = HttpEvent::new("GET", "/api/auth/sessions", &[]).bearer(&legacy);
    let sessions = list.http(&request).await.body;
    let kinds: Vec<_> = sessions.as_array().expect("a list").iter().collect();
    let kinds: Vec<_> = kinds
        .iter()
        .map(|session| (&session["kind"], &session["current"]))
        .collect();
    let login = json!("login");
    assert_eq!(kinds, [(&login, &json!(false)), (&login, &json!(true))]);

    let refresh = Function::start("refresh", &environment).await;
    let new = refreshed(&refresh, &legacy).await;
    let select = "SELECT new.authenticated_at = old.created_at AS is_carried_over
                  FROM session AS new, session AS old WHERE new.token_jti = $1 AND old.token_jti = $2";
    let old = format!("other-{user_id}-1");
    let found = database.query_one(select, &[&jti(&new), &old]).await;
    assert_eq!(found["is_carried_over"], true);
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_opens_one_session() {
    let environment = Environment::default();
    let database = Database::from_env().await;
    let (user_id, login) = register(&environment).await;
    add_logins(&database, &user_id, MAX_LOGINS - 1).await;
    let me = Function::start("me", &environment).await;
    let instance = ProxiedFunction::connected("refresh").await;
    instance
        .proxy
        .inject_once(Direction::ToClient, 0, 0, Fault::Disconnect);
    // The login of the request has made room for the new one, and the statement is sent again.
    let token = refreshed(&instance.function, &login).await;
    assert!(instance.proxy.triggered());
    assert!(is_active(&me, &token).await && !is_active(&me, &login).await);
    let (all, _) = logins(&database, &user_id).await;
    assert_eq!(all, MAX_LOGINS as u64);
}
