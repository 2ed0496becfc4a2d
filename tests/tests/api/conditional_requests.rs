//! Entity tags, `If-None-Match` and `If-Match`.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{Api, Response, User};

/// Sends a request with one more header.
async fn call_with(
    api: &Api,
    user: &User,
    (method, path): (&str, &str),
    (name, value): (&str, &str),
    body: Option<&Value>,
) -> Response {
    let request = api.request(method, path).bearer_auth(&user.token);
    let request = request.header(name, value);
    api.send(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

#[track_caller]
fn etag(response: &Response) -> String {
    let etag = response.headers.get("etag");
    let etag = etag.unwrap_or_else(|| panic!("no ETag: {response:?}"));
    etag.to_str().expect("a text").to_owned()
}

#[tokio::test]
async fn an_etag_changes_exactly_when_its_task_or_list_does() {
    let api = Api::from_env();
    let user = api.register().await;
    let empty = etag(&api.call(&user, "GET", &user.tasks_path(), None).await);
    let created = api
        .call(
            &user,
            "POST",
            &user.tasks_path(),
            Some(&json!({"title": "a"})),
        )
        .await;
    let id = created.expect(201)["id"].clone();
    let task = user.task_path(&id);
    let list = async || etag(&api.call(&user, "GET", &user.tasks_path(), None).await);
    let get = async || etag(&api.call(&user, "GET", &task, None).await);
    assert_eq!(get().await, etag(&created));
    assert!(etag(&created).starts_with('"'), "a strong tag");
    let mut versions = vec![list().await];
    assert_ne!(versions[0], empty);
    for body in [
        json!({}),
        json!({"title": "a"}),
        json!({"completed": false}),
    ] {
        let unchanged = api.call(&user, "PUT", &task, Some(&body)).await;
        assert_eq!(etag(&unchanged), etag(&created), "{body}");
        assert_eq!(list().await, versions[0], "{body}");
    }
    let mut task_versions = vec![etag(&created)];
    for (method, path, body) in [
        ("PUT", task.clone(), Some(json!({"title": "b"}))),
        ("PATCH", format!("{task}/complete"), None),
        ("PATCH", format!("{task}/complete"), None),
        ("PUT", task.clone(), Some(json!({"title": "a"}))),
    ] {
        let changed = api.call(&user, method, &path, body.as_ref()).await;
        changed.expect(200);
        assert_eq!(get().await, etag(&changed));
        for (known, version) in [
            (&mut task_versions, etag(&changed)),
            (&mut versions, list().await),
        ] {
            assert!(!known.contains(&version), "{version} came back");
            known.push(version);
        }
    }
    api.call(&user, "DELETE", &task, None).await.expect(200);
    assert!(!versions.contains(&list().await));
    assert_ne!(list().await, empty);
}

#[tokio::test]
async fn a_known_version_is_304_without_a_body() {
    let api = Api::from_env();
    let user = api.register().await;
    let created = api.create_task(&user, &json!({"title": "a"})).await;
    for path in [user.tasks_path(), user.task_path(&created["id"])] {
        let full = api.call(&user, "GET", &path, None).await;
        let tag = etag(&full);
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"other\", {tag}"),
            format!("W/\"other\" ,, {tag},"),
            "*".to_owned(),
        ] {
            let response =
                call_with(&api, &user, ("GET", &path), ("If-None-Match", &known), None).await;
            assert_eq!(
                (response.status.as_u16(), response.text.as_str()),
                (304, ""),
                "{known}"
            );
            assert_eq!(etag(&response), tag);
            assert_eq!(response.headers["cache-control"], "no-store");
        }
        for other in [
            "\"other\"",
            "W/\"1-\"",
            &tag.to_uppercase().replace('-', "_"),
        ] {
            let response =
                call_with(&api, &user, ("GET", &path), ("If-None-Match", other), None).await;
            assert_eq!(response.text, full.text, "{other}");
        }
    }
    // What another user has is no secret that a tag could open.
    let other = api.register().await;
    let tag = etag(&api.call(&user, "GET", &user.tasks_path(), None).await);
    call_with(
        &api,
        &other,
        ("GET", &user.tasks_path()),
        ("If-None-Match", &tag),
        None,
    )
    .await
    .assert_refused(403, "Not authorized to access this user's tasks");
}

#[tokio::test]
async fn a_write_on_an_old_version_is_412_and_changes_nothing() {
    let api = Api::from_env();
    let user = api.register().await;
    let created = api
        .call(
            &user,
            "POST",
            &user.tasks_path(),
            Some(&json!({"title": "a"})),
        )
        .await;
    let (old, task) = (etag(&created), user.task_path(&created.json()["id"]));
    let complete = format!("{task}/complete");
    let current = api
        .call(&user, "PUT", &task, Some(&json!({"title": "b"})))
        .await;
    let body = json!({"title": "c"});
    let writes = [
        ("PUT", &task, Some(&body)),
        ("PATCH", &complete, None),
        ("DELETE", &task, None),
    ];
    for (method, path, body) in writes {
        for stale in [
            old.clone(),
            format!("W/{}", etag(&current)),
            "\"x\"".to_owned(),
        ] {
            let refused = call_with(&api, &user, (method, path), ("If-Match", &stale), body).await;
            refused.assert_refused(412, "Task has been changed");
            assert_eq!(etag(&refused), etag(&current), "{method} {stale}");
        }
        let unknown = path.replace(&task, &user.task_path(2_000_000_000));
        for condition in ["*", "\"x\""] {
            call_with(
                &api,
                &user,
                (method, &unknown),
                ("If-Match", condition),
                body,
            )
            .await
            .assert_refused(404, "Task not found");
        }
    }
    let unchanged = api.call(&user, "GET", &task, None).await;
    assert_eq!(unchanged.text, current.text);
    for (method, path, body) in writes {
        let current = etag(&api.call(&user, "GET", &task, None).await);
        let both = format!("\"x\", {current}");
        let condition = if method == "PATCH" { "*" } else { &both };
        call_with(&api, &user, (method, path), ("If-Match", condition), body)
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_condition_on_another_users_task_tells_nothing() {
    let api = Api::from_env();
    let (owner, other) = (api.register().await, api.register().await);
    let body = json!({"title": "a"});
    let path = owner.tasks_path();
    let created = api.call(&owner, "POST", &path, Some(&body)).await;
    let task = other.task_path(&created.json()["id"]);
    let complete = format!("{task}/complete");
    for (method, path, header, body) in [
        ("GET", &task, "If-None-Match", None),
        ("PUT", &task, "If-Match", Some(&body)),
        ("PATCH", &complete, "If-Match", None),
        ("DELETE", &task, "If-Match", None),
    ] {
        for condition in [etag(&created), "*".to_owned(), "\"x\"".to_owned()] {
            let request = (method, path.as_str());
            let refused = call_with(&api, &other, request, (header, &condition), body).await;
            refused.assert_refused(404, "Task not found");
            assert!(!refused.headers.contains_key("etag"), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn one_of_ten_writers_with_one_etag_wins() {
    let api = Api::from_env();
    let user = api.register().await;
    let created = api
        .call(
            &user,
            "POST",
            &user.tasks_path(),
            Some(&json!({"title": "a"})),
        )
        .await;
    let (tag, task) = (etag(&created), user.task_path(&created.json()["id"]));
    let responses = join_all((0..10).map(async |writer| {
        let body = json!({"title": format!("writer {writer}")});
        call_with(&api, &user, ("PUT", &task), ("If-Match", &tag), Some(&body)).await
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = responses.iter().partition(|one| one.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 9));
    for refused in lost {
        refused.assert_refused(412, "Task has been changed");
        assert_eq!(etag(refused), etag(won[0]));
    }
    let stored = api.call(&user, "GET", &task, None).await;
    assert_eq!(stored.text, won[0].text);
}

#[tokio::test]
async fn malformed_conditions_are_422() {
    let api = Api::from_env();
    let user = api.register().await;
    let created = api.create_task(&user, &json!({"title": "a"})).await;
    let task = user.task_path(&created["id"]);
    for condition in [
        "abc",
        "",
        ",",
        "\"a",
        "a\"",
        "w/\"a\"",
        "\"a\" \"b\"",
        "\"a b\"",
        "*, \"a\"",
        "\"a\", *",
    ] {
        for (method, name) in [("GET", "If-None-Match"), ("DELETE", "If-Match")] {
            call_with(&api, &user, (method, &task), (name, condition), None)
                .await
                .assert_invalid(&[("value_error", &name.to_lowercase())]);
        }
    }
    // All problems at once: the path's, then the header's, then the body's.
    let path = user.task_path("x");
    let body = json!({"title": ""});
    call_with(&api, &user, ("PUT", &path), ("If-Match", "x"), Some(&body))
        .await
        .assert_invalid(&[
            ("int_parsing", "id"),
            ("value_error", "if-match"),
            ("string_too_short", "title"),
        ]);
    api.call(&user, "GET", &task, None).await.expect(200);
}
