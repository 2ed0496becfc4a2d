//! Which tokens are accepted, and which are rejected.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::api::{Api, User};
use tests::database::{self, Database};
use tests::token::{self, sign, sign_with_header};
use tests::{skip, unique};

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
        .as_secs()
}

fn secret_key(checks: &str) -> Option<String> {
    let key = std::env::var("SECRET_KEY").ok();
    if key.is_none() {
        skip(checks, "SECRET_KEY is not set");
    }
    key
}

async fn me(api: &Api, user: &User, token: &str) -> tests::api::Response {
    api.call(
        &User {
            token: token.to_owned(),
            ..user.clone()
        },
        "GET",
        "/api/auth/me",
        None,
    )
    .await
}

/// Inserts a session as the legacy service did.
async fn insert_legacy_session(database: &Database, user: &User, jti: &str) {
    let id = i32::try_from(user.id).expect("an integer");
    let insert = "INSERT INTO session (user_id, token_jti, token, expires_at)
                  VALUES ($1, $2, repeat('0', 64), now() AT TIME ZONE 'utc' + interval '1 hour')";
    database.execute(insert, &[&id, &jti]).await;
}

#[tokio::test]
async fn only_the_bearer_scheme_is_accepted() {
    let api = Api::from_env();
    let user = api.register().await;
    let get = async |header: Option<&str>| {
        let request = api.request("GET", "/api/auth/me");
        api.send(match header {
            Some(header) => request.header("authorization", header),
            None => request,
        })
        .await
    };
    let token = &user.token;
    for header in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Basic"),
        Some(token.as_str()),
    ] {
        get(header).await.assert_refused(401, "Not authenticated");
    }
    for header in [
        "Basic dTpw",
        &format!("Token {token}"),
        &format!("Bearer: {token}"),
    ] {
        get(Some(header))
            .await
            .assert_refused(401, "Invalid authentication credentials");
    }
    for header in [
        &format!("Bearer  {token}"),
        "Bearer x",
        "Bearer a.b.c",
        &format!("Bearer {token} x"),
    ] {
        get(Some(header))
            .await
            .assert_refused(401, "Could not validate credentials");
    }
    for header in [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("BEARER {token}"),
    ] {
        get(Some(&header)).await.expect(200);
    }
}

#[tokio::test]
async fn tokens_contain_the_claims_of_the_contract() {
    let api = Api::from_env();
    let user = api.register().await;
    assert_eq!(token::decode_part(&user.token, 0), token::header("HS256"));
    let claims = token::decode_part(&user.token, 1);
    let names: Vec<_> = claims.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["email", "exp", "iat", "jti", "sub", "username"]);
    assert_eq!(claims["sub"], user.id.to_string());
    assert_eq!(
        (&claims["email"], &claims["username"]),
        (&json!(user.email), &json!(user.username))
    );
    assert_eq!(
        claims["exp"].as_u64().expect("a time") - claims["iat"].as_u64().expect("a time"),
        60 * 60
    );
    assert!(claims["iat"].as_u64().expect("a time").abs_diff(now()) < 60);
    assert!(claims["jti"].as_str().expect("a name").len() >= 22);
}

#[tokio::test]
async fn tokens_of_the_legacy_service_stay_valid() {
    let api = Api::from_env();
    let Some(key) = secret_key("tokens of the legacy service") else {
        return;
    };
    let Some(database) = database::connect_or_skip("tokens of the legacy service").await else {
        return;
    };
    let user = api.register().await;
    let jti = unique();
    insert_legacy_session(&database, &user, &jti).await;
    let claims = json!({"sub": user.id.to_string(), "exp": now() + 600, "jti": jti});
    let answer = me(&api, &user, &sign(&claims, &key)).await;
    assert_eq!(answer.expect(200)["id"], user.id);
}

#[tokio::test]
async fn forged_and_expired_tokens_are_rejected() {
    let api = Api::from_env();
    let Some(key) = secret_key("forged tokens") else {
        return;
    };
    let Some(database) = database::connect_or_skip("forged tokens").await else {
        return;
    };
    let user = api.register().await;
    let jti = unique();
    // The session is active, so that only the token is wrong.
    insert_legacy_session(&database, &user, &jti).await;
    let good = json!({"sub": user.id.to_string(), "iat": now(), "exp": now() + 600, "jti": jti});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    me(&api, &user, &sign(&good, &key)).await.expect(200);

    let hs256 = |claims: Value| sign(&claims, &key);
    let unsigned = format!(
        "{}.{}.",
        token::encode_part(&token::header("none")),
        token::encode_part(&good)
    );
    let signed = hs256(good.clone());
    for (what, token) in [
        ("alg none", unsigned),
        (
            "another algorithm",
            sign_with_header(&token::header("HS512"), &good, &key),
        ),
        (
            "another key",
            sign(&good, "another key, which is just as long as ours"),
        ),
        (
            "another's signature",
            format!(
                "{}.{}",
                user.token.rsplit_once('.').expect("a token").0,
                signed.rsplit_once('.').expect("a token").1
            ),
        ),
        ("expired", hs256(with("exp", json!(now() - 1)))),
        ("not yet valid", hs256(with("nbf", json!(now() + 600)))),
        (
            "issued in the future",
            hs256(with("iat", json!(now() + 600))),
        ),
        ("an audience", hs256(with("aud", json!("someone")))),
        ("no exp", hs256(without("exp"))),
        ("no jti", hs256(without("jti"))),
        ("no sub", hs256(without("sub"))),
        ("a numeric sub", hs256(with("sub", json!(user.id)))),
        (
            "a sub that is no number",
            hs256(with("sub", json!("someone"))),
        ),
        ("an empty sub", hs256(with("sub", json!("")))),
        ("another user", hs256(with("sub", json!("1")))),
        ("an unknown session", hs256(with("jti", json!(unique())))),
        (
            "an exp that is no number",
            hs256(with("exp", json!("soon"))),
        ),
        (
            "two parts",
            signed.rsplit_once('.').expect("a token").0.to_owned(),
        ),
        ("four parts", format!("{signed}.x")),
        (
            "a changed signature",
            with_changed_character(&signed, signed.len() - 10),
        ),
    ] {
        let answer = me(&api, &user, &token).await;
        assert_eq!(answer.status, 401, "{what}");
        answer.assert_refused(401, "Could not validate credentials");
    }
}

/// The text with another character at this position.
fn with_changed_character(text: &str, at: usize) -> String {
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

#[tokio::test]
async fn ended_and_deleted_sessions_are_rejected() {
    let api = Api::from_env();
    let Some(database) = database::connect_or_skip("dead sessions").await else {
        return;
    };
    for end in [
        "UPDATE session SET revoked = true WHERE user_id = $1",
        "UPDATE session SET expires_at = now() AT TIME ZONE 'utc' WHERE user_id = $1",
        "DELETE FROM session WHERE user_id = $1",
        "DELETE FROM \"user\" WHERE id = $1",
    ] {
        let user = api.register().await;
        let task = api.create_task(&user, &json!({"title": "mine"})).await["id"].clone();
        let id = i32::try_from(user.id).expect("an integer");
        assert_eq!(database.execute(end, &[&id]).await, 1);
        for (method, path, body) in [
            ("GET", "/api/auth/me".to_owned(), None),
            ("GET", user.tasks_path(), None),
            ("POST", user.tasks_path(), Some(json!({"title": "another"}))),
            ("GET", user.task_path(&task), None),
            (
                "PUT",
                user.task_path(&task),
                Some(json!({"title": "changed"})),
            ),
            ("PATCH", format!("{}/complete", user.task_path(&task)), None),
            ("DELETE", user.task_path(&task), None),
            // The session is checked before the input and before the user id in the path.
            ("GET", user.task_path("x"), None),
            ("POST", user.tasks_path(), Some(json!({}))),
            ("GET", "/api/1/tasks".to_owned(), None),
        ] {
            let answer = api.call(&user, method, &path, body.as_ref()).await;
            answer.assert_refused(401, "Could not validate credentials");
        }
        let left = database
            .query(
                "SELECT title, completed FROM task WHERE user_id = $1",
                &[&id],
            )
            .await;
        let expected = if end.contains("\"user\"") {
            vec![]
        } else {
            vec![json!({"title": "mine", "completed": false})]
        };
        assert_eq!(left, expected);
    }
}
