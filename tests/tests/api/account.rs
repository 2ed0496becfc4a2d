//! Changing the password, and deleting the account.

use serde_json::json;
use tests::api::{Api, PASSWORD, User};
use tests::database;

const CHANGE: &str = "/api/auth/password";
const ME: &str = "/api/auth/me";
const NEW: &str = "another good password";

async fn log_in_with(api: &Api, user: &User, password: &str) -> u16 {
    let body = json!({"email": user.email, "password": password});
    api.post("/api/auth/login", &body).await.status.as_u16()
}

#[tokio::test]
async fn password_change_ends_all_other_sessions() {
    let api = Api::from_env();
    let user = api.register().await;
    let (other, unrelated) = (api.log_in(&user).await, api.register().await);
    let body = json!({"current_password": PASSWORD, "new_password": NEW});
    let answer = api.call(&user, "POST", CHANGE, Some(&body)).await;
    assert_eq!(answer.expect(200), json!({"message": "Password changed"}));

    for (session, status) in [(&user, 200), (&other, 401), (&unrelated, 200)] {
        api.call(session, "GET", ME, None).await.expect(status);
    }
    assert_eq!(log_in_with(&api, &user, PASSWORD).await, 401);
    assert_eq!(log_in_with(&api, &user, NEW).await, 200);
    assert_eq!(log_in_with(&api, &unrelated, PASSWORD).await, 200);
}

#[tokio::test]
async fn password_change_with_wrong_password_changes_nothing() {
    let api = Api::from_env();
    let user = api.register().await;
    let other = api.log_in(&user).await;
    let body = json!({"current_password": NEW, "new_password": NEW});
    let answer = api.call(&user, "POST", CHANGE, Some(&body)).await;
    answer.assert_refused(403, "Incorrect password");
    api.call(&other, "GET", ME, None).await.expect(200);
    assert_eq!(log_in_with(&api, &user, PASSWORD).await, 200);
}

#[tokio::test]
async fn password_change_reports_every_broken_rule() {
    let api = Api::from_env();
    let user = api.register().await;
    let change = async |body| api.call(&user, "POST", CHANGE, Some(&body)).await;
    change(json!({}))
        .await
        .assert_invalid(&[("missing", "current_password"), ("missing", "new_password")]);
    change(json!({"current_password": 1, "new_password": "1234567"}))
        .await
        .assert_invalid(&[
            ("string_type", "current_password"),
            ("string_too_short", "new_password"),
        ]);
    change(json!({"current_password": "", "new_password": "x".repeat(129)}))
        .await
        .assert_invalid(&[("string_too_long", "new_password")]);
    // The rules are not disclosed without a session.
    let without_session = User {
        token: "a".to_owned(),
        ..user.clone()
    };
    api.call(&without_session, "POST", CHANGE, Some(&json!({})))
        .await
        .assert_refused(401, "Could not validate credentials");
}

#[tokio::test]
async fn account_deletion_removes_tasks_and_sessions() {
    let api = Api::from_env();
    let (user, unrelated) = (api.register().await, api.register().await);
    for user in [&user, &unrelated] {
        api.create_task(user, &json!({"title": "a"})).await;
    }
    let delete = async |body| api.call(&user, "DELETE", ME, Some(&body)).await;
    delete(json!({}))
        .await
        .assert_invalid(&[("missing", "password")]);
    delete(json!({"password": NEW}))
        .await
        .assert_refused(403, "Incorrect password");
    api.call(&user, "GET", ME, None).await.expect(200);

    let answer = delete(json!({"password": PASSWORD})).await;
    assert_eq!(answer.expect(200), json!({"message": "Account deleted"}));
    api.call(&user, "GET", ME, None)
        .await
        .assert_refused(401, "Could not validate credentials");
    assert_eq!(log_in_with(&api, &user, PASSWORD).await, 401);
    let tasks = api
        .call(&unrelated, "GET", &unrelated.tasks_path(), None)
        .await;
    assert_eq!(tasks.expect(200).as_array().map(Vec::len), Some(1));

    let again = json!({"username": user.username, "email": user.email, "password": NEW});
    api.post("/api/auth/register", &again).await.expect(201);
    let Some(database) = database::connect_or_skip("what is left of an account").await else {
        return;
    };
    let id = i32::try_from(user.id).expect("an id");
    let left = "SELECT (SELECT count(*) FROM \"user\" WHERE id = $1) AS users,
                       (SELECT count(*) FROM task WHERE user_id = $1) AS tasks,
                       (SELECT count(*) FROM session WHERE user_id = $1) AS sessions";
    let left = database.query_one(left, &[&id]).await;
    assert_eq!(left, json!({"users": 0, "tasks": 0, "sessions": 0}));
}
