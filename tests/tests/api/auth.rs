//! Registration, login and logout.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::api::{Api, PASSWORD, User, registration};
use tests::{database, unique};

/// What a 422 shows in place of a password.
const MASK: &str = "**********";

fn keys(object: &str) -> Vec<String> {
    // Read from the text, because a map would not keep the order.
    object
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| object.contains(&format!("\"{text}\":")))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn registration_returns_user_and_token_in_contract_order() {
    let api = Api::from_env();
    let sent = registration();
    let answer = api.post("/api/auth/register", &sent).await;
    let body = answer.expect(201);
    assert_eq!(
        keys(&answer.text),
        [
            "username",
            "email",
            "id",
            "created_at",
            "updated_at",
            "access_token",
            "token_type",
            "user_id"
        ]
    );
    assert_eq!(body["username"], sent["username"]);
    assert_eq!(body["email"], sent["email"]);
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["user_id"], body["id"].to_string());
    let created_at = body["created_at"].as_str().expect("a time");
    assert!(
        created_at.len() == 26 || created_at.len() == 19,
        "{created_at}"
    );
    assert_eq!(&created_at[10..11], "T");
}

#[tokio::test]
async fn registration_stores_what_it_returns() {
    let api = Api::from_env();
    let Some(database) = database::connect_or_skip("what registering stores").await else {
        return;
    };
    let sent = registration();
    let answer = api.post("/api/auth/register", &sent).await.expect(201);
    let id = i32::try_from(answer["id"].as_i64().expect("an id")).expect("an integer");
    let token = answer["access_token"].as_str().expect("a token");

    let query = format!(
        "SELECT username, email, email_key, hashed_password, {}, {} FROM \"user\" WHERE id = $1",
        database::timestamp_as_text("created_at"),
        database::timestamp_as_text("updated_at"),
    );
    let user = database.query_one(&query, &[&id]).await;
    for field in ["username", "email", "created_at", "updated_at"] {
        assert_eq!(user[field], answer[field], "{field}");
    }
    assert_eq!(user["email_key"], sent["email"]);
    let hash = user["hashed_password"].as_str().expect("a hash");
    assert!(
        hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{hash}"
    );

    let session = database
        .query_one("SELECT * FROM session WHERE user_id = $1", &[&id])
        .await;
    assert_eq!(
        session["token"],
        base16ct::lower::encode_string(&Sha256::digest(token))
    );
    assert_eq!(session["revoked"], false);
    let lifetime = "SELECT extract(epoch FROM expires_at - created_at) / 60 AS minutes FROM session WHERE user_id = $1";
    let minutes = database.query_one(lifetime, &[&id]).await["minutes"]
        .as_f64()
        .expect("minutes");
    assert!((59.9..60.1).contains(&minutes), "{minutes}");
}

#[tokio::test]
async fn registration_reports_every_broken_rule_at_once() {
    let api = Api::from_env();
    for (body, rules) in [
        (
            json!({}),
            vec![
                ("missing", "username"),
                ("missing", "email"),
                ("missing", "password"),
            ],
        ),
        (
            json!({"username": "ab", "email": "no address", "password": "short"}),
            vec![
                ("string_too_short", "username"),
                ("value_error", "email"),
                ("string_too_short", "password"),
            ],
        ),
        (
            json!({"username": "a".repeat(31), "email": format!("{}@example.com", "a".repeat(250)), "password": "p".repeat(129)}),
            vec![
                ("string_too_long", "username"),
                ("string_too_long", "email"),
                ("string_too_long", "password"),
            ],
        ),
        (
            json!({"username": 1, "email": null, "password": ["12345678"]}),
            vec![
                ("string_type", "username"),
                ("string_type", "email"),
                ("string_type", "password"),
            ],
        ),
        (
            json!({"username": "sp ace", "email": "a@localhost", "password": "12345678\u{0}"}),
            vec![
                ("value_error", "username"),
                ("value_error", "email"),
                ("value_error", "password"),
            ],
        ),
        (
            json!({"username": "ünïcode", "email": "", "password": "1234567é"}),
            vec![("value_error", "username"), ("value_error", "email")],
        ),
    ] {
        api.post("/api/auth/register", &body)
            .await
            .assert_invalid(&rules);
    }
}

#[tokio::test]
async fn passwords_may_be_any_text_and_are_compared_in_full() {
    let api = Api::from_env();
    // 128 characters, but almost twice as many bytes.
    let password = format!(" {}Correct horse", "ü☃ ".repeat(38));
    assert_eq!(password.chars().count(), 128);
    let mut user = registration();
    user["password"] = json!(password);
    api.post("/api/auth/register", &user).await.expect(201);
    let log_in = async |password: &str| {
        let body = json!({"email": user["email"], "password": password});
        api.post("/api/auth/login", &body).await.status.as_u16()
    };
    for (other, status) in [
        (password.as_str(), 200),
        (&password[..password.len() - 1], 401),
        (password.trim(), 401),
        (&password.to_lowercase(), 401),
    ] {
        assert_eq!(log_in(other).await, status, "{other}");
    }
}

#[tokio::test]
async fn a_violation_repeats_the_rejected_input() {
    let api = Api::from_env();
    let body = json!({"username": "äda", "email": "someone@example.com", "password": "short"});
    let answer = api.post("/api/auth/register", &body).await;
    assert_eq!(answer.json()["detail"][0]["input"], "äda");
    let expected = r#",{"type":"string_too_short","loc":["body","password"],"msg":"String should have at least 8 characters","input":"**********","ctx":{"min_length":8}}]}"#;
    assert!(answer.text.ends_with(expected), "{}", answer.text);
}

#[tokio::test]
async fn no_422_repeats_a_password() {
    let api = Api::from_env();
    let user = api.register().await;
    for (method, path) in [
        ("POST", "/api/auth/register"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/token"),
        ("POST", "/api/auth/password"),
        ("DELETE", "/api/auth/me"),
    ] {
        for body in [
            r#"{"password": ["s3cret"], "current_password": {"a": "s3cret"}, "new_password": "\u0000s3cret", "email": 1}"#,
            r#"{"password": {"s3cret": 1}, "current_password": "s3cret\u0000", "new_password": [], "email": 1}"#,
            r#"{"Password": "s3cret", "newPassword": "s3cret", "p\u0061sswd": "s3cret"}"#,
            r#"{"user": {"name": "ada", "password": "s3cret"}, "email": {"password": "s3cret"}}"#,
            r#"[{"password": "s3cret"}]"#,
            r#"["ada@example.com", "s3cret"]"#,
            r#""s3cret""#,
            r#""{\"password\": \"s3cret\"}""#,
        ] {
            let request = api.request(method, path).bearer_auth(&user.token);
            let request = request.header("content-type", "application/json");
            let answer = api.send(request.body(body)).await;
            assert_eq!(answer.status, 422, "{method} {path}: {body}");
            assert!(answer.text.contains(MASK), "{}", answer.text);
            assert!(!answer.text.contains("s3cret"), "{}", answer.text);
        }
        let form = api.request(method, path).bearer_auth(&user.token);
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        let answer = api.send(form.body("username=ada&password=s3cret")).await;
        answer.assert_invalid(&[("model_attributes_type", "body")]);
        assert!(!answer.text.contains("s3cret"), "{}", answer.text);
    }
}

#[tokio::test]
async fn taken_email_or_username_is_a_conflict() {
    let api = Api::from_env();
    let user = api.register().await;
    let other = format!("u-{}", unique());
    let register = async |username: &str, email: &str| {
        let body = json!({"username": username, "email": email, "password": PASSWORD});
        api.post("/api/auth/register", &body).await
    };
    register(&other, &user.email)
        .await
        .assert_refused(409, "Email already registered");
    register(&other, &user.email.to_uppercase())
        .await
        .assert_refused(409, "Email already registered");
    register(&user.username, &format!("{other}@example.com"))
        .await
        .assert_refused(409, "Username already taken");
    register(&user.username, &user.email)
        .await
        .assert_refused(409, "Email already registered");
    // Usernames are case-sensitive, as in the legacy service.
    register(
        &user.username.to_uppercase(),
        &format!("{other}@example.com"),
    )
    .await
    .expect(201);
}

#[tokio::test]
async fn only_one_of_several_concurrent_registrations_succeeds() {
    let api = Api::from_env();
    let body = registration();
    let post = || api.post("/api/auth/register", &body);
    let answers = tokio::join!(post(), post(), post(), post());
    let mut statuses =
        [answers.0, answers.1, answers.2, answers.3].map(|answer| answer.status.as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

#[tokio::test]
async fn login_returns_a_valid_token() {
    let api = Api::from_env();
    let user = api.register().await;
    for path in ["/api/auth/login", "/api/auth/token"] {
        for email in [user.email.clone(), user.email.to_uppercase()] {
            let answer = api
                .post(path, &json!({"email": email, "password": PASSWORD}))
                .await;
            let body = answer.expect(200);
            assert_eq!(body["user_id"], user.id.to_string());
            assert_eq!(body["token_type"], "bearer");
            assert_eq!(body.as_object().expect("an object").len(), 3);
            let token = body["access_token"].as_str().expect("a token").to_owned();
            assert_ne!(token, user.token);
            let me = api
                .call(
                    &User {
                        token,
                        ..user.clone()
                    },
                    "GET",
                    "/api/auth/me",
                    None,
                )
                .await;
            assert_eq!(me.expect(200)["id"], user.id);
        }
    }
}

#[tokio::test]
async fn unknown_email_and_wrong_password_get_the_same_response() {
    let api = Api::from_env();
    let user = api.register().await;
    let log_in = async |email: &str, password: &str| {
        let answer = api
            .post(
                "/api/auth/login",
                &json!({"email": email, "password": password}),
            )
            .await;
        answer.assert_refused(401, "Incorrect email or password");
        let mut headers = answer.headers;
        for varying in [
            "date",
            "x-request-id",
            "lambda-runtime-aws-request-id",
            "x-amzn-requestid",
            "apigw-requestid",
        ] {
            headers.remove(varying);
        }
        (answer.text, headers)
    };
    let wrong = log_in(&user.email, "not the password").await;
    let unknown = log_in(&format!("{}@example.com", unique()), "not the password").await;
    let empty = log_in("", "").await;
    assert_eq!(wrong, unknown);
    assert_eq!(wrong, empty);
}

#[tokio::test]
async fn login_requires_two_strings_in_json() {
    let api = Api::from_env();
    api.post("/api/auth/login", &json!({}))
        .await
        .assert_invalid(&[("missing", "email"), ("missing", "password")]);
    api.post(
        "/api/auth/login",
        &json!({"email": 1, "password": "a\u{0}"}),
    )
    .await
    .assert_invalid(&[("string_type", "email"), ("value_error", "password")]);
    let form = api
        .request("POST", "/api/auth/login")
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = api.send(form.body("username=a&password=b")).await;
    answer.assert_invalid(&[("model_attributes_type", "body")]);
    assert_eq!(answer.json()["detail"][0]["input"], MASK);
    let nothing = api.send(api.request("POST", "/api/auth/login")).await;
    nothing.assert_invalid(&[("missing", "body")]);
    assert_eq!(nothing.json()["detail"][0]["input"], Value::Null);
    let garbage = api
        .send(api.request("POST", "/api/auth/login").body("{\"email\": }"))
        .await;
    assert_eq!(garbage.expect(422)["detail"][0]["loc"], json!(["body", 10]));
}

#[tokio::test]
async fn me_returns_the_user() {
    let api = Api::from_env();
    let user = api.register().await;
    let answer = api.call(&user, "GET", "/api/auth/me", None).await;
    let body = answer.expect(200);
    assert_eq!(
        keys(&answer.text),
        ["username", "email", "id", "created_at", "updated_at"]
    );
    assert_eq!(
        (&body["id"], &body["username"]),
        (&json!(user.id), &json!(user.username))
    );
}

#[tokio::test]
async fn logout_ends_only_its_session_and_can_be_repeated() {
    let api = Api::from_env();
    let first = api.register().await;
    let second = api.log_in(&first).await;
    for _ in 0..2 {
        let answer = api.call(&first, "POST", "/api/auth/logout", None).await;
        assert_eq!(answer.expect(200), json!({"message": "Logout successful"}));
    }
    for (method, path) in [
        ("GET", "/api/auth/me".to_owned()),
        ("GET", first.tasks_path()),
        ("DELETE", first.task_path(1)),
    ] {
        api.call(&first, method, &path, None)
            .await
            .assert_refused(401, "Could not validate credentials");
    }
    api.call(&second, "GET", "/api/auth/me", None)
        .await
        .expect(200);
}

#[tokio::test]
async fn login_replaces_a_bcrypt_hash_with_argon2() {
    let api = Api::from_env();
    let Some(database) = database::connect_or_skip("logging in with a bcrypt hash").await else {
        return;
    };
    let user = api.register().await;
    let id = i32::try_from(user.id).expect("an integer");
    let stored = async || {
        database
            .query_one(
                "SELECT hashed_password, updated_at FROM \"user\" WHERE id = $1",
                &[&id],
            )
            .await
    };

    let bcrypt = bcrypt::hash("the legacy password", 4).expect("a hash");
    database
        .execute(
            "UPDATE \"user\" SET hashed_password = $2 WHERE id = $1",
            &[&id, &bcrypt],
        )
        .await;
    let log_in = async |password: &str| {
        api.post(
            "/api/auth/login",
            &json!({"email": user.email, "password": password}),
        )
        .await
    };
    log_in("another password")
        .await
        .assert_refused(401, "Incorrect email or password");
    assert_eq!(stored().await["hashed_password"], bcrypt);
    log_in("the legacy password").await.expect(200);
    let rehashed = stored().await;
    assert!(
        rehashed["hashed_password"]
            .as_str()
            .is_some_and(|hash| hash.starts_with("$argon2id$")),
        "{rehashed}"
    );
    log_in("the legacy password").await.expect(200);
    assert_eq!(stored().await, rehashed);
    log_in("another password")
        .await
        .assert_refused(401, "Incorrect email or password");
}
