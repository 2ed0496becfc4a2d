//! Listing and ending sessions, refreshing a login, and personal tokens.

use serde_json::{Value, json};
use tests::api::{Api, PASSWORD, Response, User};

const SESSIONS: &str = "/api/auth/sessions";
const TOKENS: &str = "/api/auth/tokens";
const ME: &str = "/api/auth/me";

fn with_token(user: &User, body: &Value) -> User {
    let token = body["access_token"].as_str().expect("a token").to_owned();
    User {
        token,
        ..user.clone()
    }
}

async fn create_token(api: &Api, user: &User, name: &str) -> (Value, User) {
    let body = json!({"name": name, "password": PASSWORD});
    let created = api.call(user, "POST", TOKENS, Some(&body)).await;
    let created = created.expect(201);
    let owner = with_token(user, &created);
    (created, owner)
}

async fn list(api: &Api, user: &User) -> Vec<Value> {
    let sessions = api.call(user, "GET", SESSIONS, None).await.expect(200);
    sessions.as_array().expect("a list").clone()
}

/// Whether the sessions of these users are active.
async fn active<const COUNT: usize>(api: &Api, users: [&User; COUNT]) -> [bool; COUNT] {
    let mut active = [false; COUNT];
    for (active, user) in active.iter_mut().zip(users) {
        *active = match api.call(user, "GET", ME, None).await.status.as_u16() {
            200 => true,
            401 => false,
            status => panic!("{status}"),
        };
    }
    active
}

/// The fields of a session, in the order of the contract.
const FIELDS: [&str; 7] = [
    "id",
    "kind",
    "name",
    "scope",
    "current",
    "created_at",
    "expires_at",
];

#[track_caller]
fn assert_order_of_fields(response: &Response, fields: &[&str]) {
    let positions: Vec<_> = fields
        .iter()
        .map(|field| {
            response
                .text
                .find(&format!("\"{field}\":"))
                .expect("a field")
        })
        .collect();
    // A token may be among them.
    assert!(positions.is_sorted(), "the order of the fields");
}

#[tokio::test]
async fn sessions_are_listed_newest_first() {
    let api = Api::from_env();
    let user = api.register().await;
    let (created, _) = create_token(&api, &user, "backup").await;
    let other = api.log_in(&user).await;
    let refreshed = api.call(&user, "POST", "/api/auth/refresh", None).await;
    let refreshed = with_token(&user, &refreshed.expect(200));
    api.register().await;

    let response = api.call(&user, "GET", SESSIONS, None).await;
    assert_order_of_fields(&response, &FIELDS);
    let sessions = list(&api, &user).await;
    let shown: Vec<_> = sessions
        .iter()
        .map(|it| json!([it["kind"], it["name"], it["scope"], it["current"]]))
        .collect();
    assert_eq!(
        shown,
        [
            json!(["login", null, null, false]),
            json!(["login", null, null, false]),
            json!(["token", "backup", "tasks", false]),
            json!(["login", null, null, true]),
        ]
    );
    let mut expected = created.clone();
    expected
        .as_object_mut()
        .expect("an object")
        .remove("access_token");
    assert_eq!(sessions[2], expected);
    // Each sees itself as the current one.
    for (user, place) in [(&refreshed, 0), (&other, 1), (&user, 3)] {
        let sessions = list(&api, user).await;
        let current: Vec<_> = sessions.iter().map(|it| it["current"] == true).collect();
        assert!(current[place] && current.iter().filter(|it| **it).count() == 1);
    }
}

#[tokio::test]
async fn a_session_can_be_ended_by_its_id() {
    let api = Api::from_env();
    let (user, stranger) = (api.register().await, api.register().await);
    let other = api.log_in(&user).await;
    let (token, owner) = create_token(&api, &user, "a").await;
    let end = async |user: &User, id: &str| {
        let path = format!("{SESSIONS}/{id}");
        api.call(user, "DELETE", &path, None).await
    };
    let id_of = |sessions: &[Value], current: bool| {
        let mut found = sessions
            .iter()
            .filter(|it| it["kind"] == "login" && it["current"] == current);
        found.next().expect("a session")["id"].to_string()
    };
    let sessions = list(&api, &user).await;
    let (own_id, other_id) = (id_of(&sessions, true), id_of(&sessions, false));
    // Another user's, and ids that nobody has.
    let strangers = id_of(&list(&api, &stranger).await, true);
    for id in [&strangers, "-1", "0", "2147483648", "99999999999999999999"] {
        end(&user, id)
            .await
            .assert_refused(404, "Session not found");
    }
    for id in ["abc", "1.5", "%20", "1e3"] {
        end(&user, id)
            .await
            .assert_invalid(&[("int_parsing", "id")]);
    }
    assert_eq!(
        active(&api, [&user, &other, &owner, &stranger]).await,
        [true; 4]
    );

    let ended = json!({"message": "Session ended"});
    assert_eq!(
        end(&user, &format!("+0{other_id}")).await.expect(200),
        ended
    );
    end(&user, &other_id)
        .await
        .assert_refused(404, "Session not found");
    assert_eq!(
        active(&api, [&user, &other, &owner]).await,
        [true, false, true]
    );
    assert_eq!(
        end(&user, &token["id"].to_string()).await.expect(200),
        ended
    );
    assert_eq!(active(&api, [&user, &owner]).await, [true, false]);
    // One's own, as by logging out.
    assert_eq!(end(&user, &own_id).await.expect(200), ended);
    let dead = "Could not validate credentials";
    end(&user, &own_id).await.assert_refused(401, dead);
    end(&user, "abc").await.assert_refused(401, dead);
}

#[tokio::test]
async fn other_sessions_can_be_ended_by_their_kind() {
    let api = Api::from_env();
    let stranger = api.register().await;
    for (query, [login_stays, token_stays]) in [
        ("", [false, true]),
        ("?kind=token", [true, false]),
        ("?kind=all", [false, false]),
        ("?kind=%61ll&other=1", [false, false]),
        ("?Kind=all", [false, true]),
    ] {
        let user = api.register().await;
        let other = api.log_in(&user).await;
        let (_, token) = create_token(&api, &user, "a").await;
        let path = format!("{SESSIONS}{query}");
        let ended = api.call(&user, "DELETE", &path, None).await;
        assert_eq!(
            ended.expect(200),
            json!({"message": "Other sessions ended"})
        );
        assert_eq!(
            active(&api, [&user, &other, &token, &stranger]).await,
            [true, login_stays, token_stays, true],
            "{query}"
        );
    }
    let user = api.register().await;
    let other = api.log_in(&user).await;
    for kind in ["", "login", "tokens", "ALL", "all,token", "token%20"] {
        let path = format!("{SESSIONS}?kind={kind}");
        let refused = api.call(&user, "DELETE", &path, None).await.expect(422);
        assert_eq!(
            refused,
            json!({"detail": [{
                "type": "enum", "loc": ["query", "kind"], "msg": "Input should be 'token' or 'all'",
                "input": kind.replace("%20", " "), "ctx": {"expected": "'token' or 'all'"},
            }]})
        );
    }
    assert_eq!(active(&api, [&user, &other]).await, [true, true]);
}

#[tokio::test]
async fn a_personal_token_works_on_tasks() {
    let api = Api::from_env();
    let user = api.register().await;
    let task = api.create_task(&user, &json!({"title": "a"})).await;
    let path = user.task_path(&task["id"]);
    let body =
        json!({"name": " ", "scope": "tasks:read", "expires_in_days": "1", "password": PASSWORD});
    let created = api.call(&user, "POST", TOKENS, Some(&body)).await;
    let fields = [&FIELDS[..], &["access_token"]].concat();
    assert_order_of_fields(&created, &fields);
    let created = created.expect(201);
    assert_eq!(created.as_object().map(serde_json::Map::len), Some(8));
    assert_eq!(
        json!([
            created["kind"],
            created["name"],
            created["scope"],
            created["current"]
        ]),
        json!(["token", " ", "tasks:read", false])
    );
    let reader = with_token(&user, &created);
    assert!(
        reader.token.starts_with(&format!("todo_r_{}_", user.id)),
        "the prefix"
    );
    for path in [&user.tasks_path(), &path, ME] {
        api.call(&reader, "GET", path, None).await.expect(200);
    }
    let change = json!({"title": "b"});
    api.call(&reader, "PUT", &path, Some(&change))
        .await
        .assert_refused(403, "This token may not be used here");
    let (_, writer) = create_token(&api, &user, "b").await;
    api.call(&writer, "PUT", &path, Some(&change))
        .await
        .expect(200);
    api.call(&writer, "GET", SESSIONS, None)
        .await
        .assert_refused(403, "This token may not be used here");
}

#[tokio::test]
async fn a_password_change_ends_personal_tokens() {
    let api = Api::from_env();
    let user = api.register().await;
    let (_, token) = create_token(&api, &user, "a").await;
    let change = json!({"current_password": PASSWORD, "new_password": "another good password"});
    let changed = api
        .call(&user, "POST", "/api/auth/password", Some(&change))
        .await;
    changed.expect(200);
    assert_eq!(active(&api, [&user, &token]).await, [true, false]);
}

#[tokio::test]
async fn a_personal_token_reports_every_broken_rule() {
    let api = Api::from_env();
    let user = api.register().await;
    let create = async |body: Value| api.call(&user, "POST", TOKENS, Some(&body)).await;
    create(json!({}))
        .await
        .assert_invalid(&[("missing", "name"), ("missing", "password")]);
    create(json!({"name": "", "scope": "all", "expires_in_days": 0, "password": 1}))
        .await
        .assert_invalid(&[
            ("string_too_short", "name"),
            ("enum", "scope"),
            ("greater_than_equal", "expires_in_days"),
            ("string_type", "password"),
        ]);
    create(
        json!({"name": "a".repeat(101), "scope": null, "expires_in_days": 367, "password": "\0"}),
    )
    .await
    .assert_invalid(&[
        ("string_too_long", "name"),
        ("enum", "scope"),
        ("less_than_equal", "expires_in_days"),
        ("value_error", "password"),
    ]);
    for (days, rule) in [
        (json!(null), "int_type"),
        (json!(1.5), "int_from_float"),
        (json!("soon"), "int_parsing"),
    ] {
        let refused = create(json!({"name": "a", "expires_in_days": days, "password": PASSWORD}));
        let refused = refused.await;
        refused.assert_invalid(&[(rule, "expires_in_days")]);
        assert!(!refused.text.contains(PASSWORD));
    }
    let refused = create(json!({"name": 1, "password": PASSWORD})).await;
    refused.assert_invalid(&[("string_type", "name")]);
    assert!(!refused.text.contains(PASSWORD));
    assert_eq!(list(&api, &user).await.len(), 1);
}
