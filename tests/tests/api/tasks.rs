//! Creating, reading, changing and deleting tasks.

use serde_json::{Value, json};
use tests::api::{Api, User};
use tests::database;

const ABSENT: i64 = 2_000_000_000;

/// A task as it is stored, with the names that the API uses.
async fn stored(database: &database::Database, task: &Value) -> Value {
    let id = i32::try_from(task["id"].as_i64().expect("an id")).expect("an integer");
    let query = format!(
        "SELECT id, user_id, title, description, due_date, priority, tags, recursion_pattern, completed, {}, {}
         FROM task WHERE id = $1",
        database::timestamp_as_text("created_at"),
        database::timestamp_as_text("updated_at"),
    );
    database.query_one(&query, &[&id]).await
}

fn full() -> Value {
    json!({
        "title": "Write the first program",
        "description": "For the engine.\n\"Quoted\", ünïcode, 😀 and \\ backslash",
        "due_date": "whenever: kept as sent",
        "priority": "High",
        "tags": "work,maths",
        "recursion_pattern": "weekly",
        "completed": true,
    })
}

#[tokio::test]
async fn a_created_task_is_returned_and_stored_unchanged() {
    let api = Api::from_env();
    let user = api.register().await;
    let answer = api
        .call(&user, "POST", &user.tasks_path(), Some(&full()))
        .await;
    let task = answer.expect(201);
    for (name, value) in full().as_object().expect("an object") {
        assert_eq!(task[name], *value, "{name}");
    }
    assert_eq!(task["user_id"], user.id);
    assert_eq!(task["created_at"], task["updated_at"]);
    let mut place = 0;
    for key in [
        "id",
        "user_id",
        "title",
        "description",
        "due_date",
        "priority",
        "tags",
        "recursion_pattern",
        "completed",
        "created_at",
        "updated_at",
    ] {
        place += answer.text[place..]
            .find(&format!("\"{key}\":"))
            .unwrap_or_else(|| panic!("{key} is out of order"));
    }
    assert_eq!(
        api.call(&user, "GET", &user.task_path(&task["id"]), None)
            .await
            .expect(200),
        task
    );
    if let Some(database) = database::connect_or_skip("what creating a task stores").await {
        assert_eq!(stored(&database, &task).await, task);
    }
}

#[tokio::test]
async fn omitted_fields_get_default_values() {
    let api = Api::from_env();
    let user = api.register().await;
    let task = api.create_task(&user, &json!({"title": " "})).await;
    for (name, value) in [
        ("title", json!(" ")),
        ("description", Value::Null),
        ("due_date", Value::Null),
        ("priority", json!("Medium")),
        ("tags", Value::Null),
        ("recursion_pattern", Value::Null),
        ("completed", json!(false)),
    ] {
        assert_eq!(task[name], value, "{name}");
    }
    if let Some(database) = database::connect_or_skip("what a task's defaults store").await {
        assert_eq!(stored(&database, &task).await, task);
    }
}

#[tokio::test]
async fn unknown_and_read_only_fields_are_ignored() {
    let api = Api::from_env();
    let user = api.register().await;
    let extra = json!({"title": "mine", "id": 1, "user_id": 1, "created_at": "1999-01-01T00:00:00", "colour": "red"});
    let task = api.create_task(&user, &extra).await;
    assert_ne!(task["id"], 1);
    assert_eq!(task["user_id"], user.id);
    assert!(task.get("colour").is_none());
    let changed = api
        .call(&user, "PUT", &user.task_path(&task["id"]), Some(&extra))
        .await
        .expect(200);
    assert_eq!(changed, task);
}

#[tokio::test]
async fn the_list_contains_only_own_tasks_ordered_by_id() {
    let api = Api::from_env();
    let (user, other) = (api.register().await, api.register().await);
    assert_eq!(
        api.call(&user, "GET", &user.tasks_path(), None)
            .await
            .expect(200),
        json!([])
    );
    let mut tasks = Vec::new();
    for title in ["c", "a", "b"] {
        tasks.push(api.create_task(&user, &json!({"title": title})).await);
        api.create_task(&other, &json!({"title": "another's"}))
            .await;
    }
    // An update moves the row in the table, but not the task in the list.
    tasks[0] = api
        .call(
            &user,
            "PUT",
            &user.task_path(&tasks[0]["id"]),
            Some(&json!({"title": "d"})),
        )
        .await
        .expect(200);
    assert_eq!(
        api.call(&user, "GET", &user.tasks_path(), None)
            .await
            .expect(200),
        json!(tasks)
    );
}

#[tokio::test]
async fn an_update_changes_only_the_fields_it_contains() {
    let api = Api::from_env();
    let user = api.register().await;
    let database = database::connect_or_skip("what updating a task stores").await;
    for (name, value) in [
        ("title", json!("Another title")),
        ("description", json!("another description")),
        ("description", Value::Null),
        ("due_date", json!("2026-11-24")),
        ("due_date", Value::Null),
        ("priority", json!("Low")),
        ("tags", json!("")),
        ("tags", Value::Null),
        ("recursion_pattern", json!("daily")),
        ("recursion_pattern", Value::Null),
        ("completed", json!(false)),
    ] {
        let task = api.create_task(&user, &full()).await;
        let answer = api
            .call(
                &user,
                "PUT",
                &user.task_path(&task["id"]),
                Some(&json!({name: value})),
            )
            .await;
        let changed = answer.expect(200);
        let mut expected = task.clone();
        expected[name] = value;
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected);
        assert!(
            changed["updated_at"].as_str() > task["updated_at"].as_str(),
            "{name}: updated_at stands still"
        );
        if let Some(database) = &database {
            assert_eq!(stored(database, &task).await, changed);
        }
    }
}

#[tokio::test]
async fn an_update_without_changes_keeps_updated_at() {
    let api = Api::from_env();
    let user = api.register().await;
    let task = api.create_task(&user, &full()).await;
    for body in [json!({}), full(), json!({"colour": "red"})] {
        let answer = api
            .call(&user, "PUT", &user.task_path(&task["id"]), Some(&body))
            .await;
        assert_eq!(answer.expect(200), task);
    }
}

#[tokio::test]
async fn completing_toggles_and_ignores_the_body() {
    let api = Api::from_env();
    let user = api.register().await;
    let task = api.create_task(&user, &json!({"title": "toggle"})).await;
    let path = format!("{}/complete", user.task_path(&task["id"]));
    let mut completed = false;
    for body in ["", "{\"completed\": false}", "not json", "null"] {
        let answer = api
            .send(
                api.request("PATCH", &path)
                    .bearer_auth(&user.token)
                    .body(body),
            )
            .await;
        completed = !completed;
        assert_eq!(answer.expect(200)["completed"], completed);
    }
}

#[tokio::test]
async fn a_deleted_task_is_gone() {
    let api = Api::from_env();
    let user = api.register().await;
    let (task, kept) = (
        api.create_task(&user, &full()).await,
        api.create_task(&user, &full()).await,
    );
    let path = user.task_path(&task["id"]);
    let answer = api.call(&user, "DELETE", &path, None).await;
    assert_eq!(
        answer.expect(200),
        json!({"message": "Task deleted successfully"})
    );
    for (method, path) in [
        ("GET", path.clone()),
        ("PUT", path.clone()),
        ("DELETE", path.clone()),
        ("PATCH", format!("{path}/complete")),
    ] {
        api.call(&user, method, &path, Some(&json!({})))
            .await
            .assert_refused(404, "Task not found");
    }
    assert_eq!(
        api.call(&user, "GET", &user.tasks_path(), None)
            .await
            .expect(200),
        json!([kept])
    );
    if let Some(database) = database::connect_or_skip("that a deleted task is gone").await {
        let id = i32::try_from(user.id).expect("an integer");
        assert_eq!(
            database
                .query("SELECT id FROM task WHERE user_id = $1", &[&id])
                .await,
            [json!({"id": kept["id"]})]
        );
    }
}

#[tokio::test]
async fn tasks_of_other_users_are_inaccessible() {
    let api = Api::from_env();
    let (user, other) = (api.register().await, api.register().await);
    let task = api.create_task(&other, &full()).await;
    for (method, suffix) in [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("PATCH", "/complete"),
    ] {
        // With the other user's id in the path, and with the caller's own.
        let path = format!("{}{suffix}", other.task_path(&task["id"]));
        api.call(&user, method, &path, Some(&json!({"title": "stolen"})))
            .await
            .assert_refused(403, "Not authorized to access this user's tasks");
        let path = format!("{}{suffix}", user.task_path(&task["id"]));
        api.call(&user, method, &path, Some(&json!({"title": "stolen"})))
            .await
            .assert_refused(404, "Task not found");
    }
    api.call(&user, "GET", &other.tasks_path(), None)
        .await
        .assert_refused(403, "Not authorized to access this user's tasks");
    api.call(
        &user,
        "POST",
        &other.tasks_path(),
        Some(&json!({"title": "foisted"})),
    )
    .await
    .assert_refused(403, "Not authorized to create tasks for this user");
    assert_eq!(
        api.call(&other, "GET", &other.tasks_path(), None)
            .await
            .expect(200),
        json!([task])
    );
}

#[tokio::test]
async fn every_broken_rule_of_a_task_is_reported_at_once() {
    let api = Api::from_env();
    let user = api.register().await;
    let long = |length| "é".repeat(length);
    api.create_task(
        &user,
        &json!({"title": long(200), "due_date": long(50), "recursion_pattern": long(100)}),
    )
    .await;
    for (body, rules) in [
        (json!({}), vec![("missing", "title")]),
        (json!([]), vec![("model_attributes_type", "body")]),
        (json!(null), vec![("missing", "body")]),
        (
            json!({"completed": 2, "recursion_pattern": long(101), "tags": 1, "priority": "high", "due_date": long(51), "description": false, "title": ""}),
            vec![
                ("string_too_short", "title"),
                ("string_type", "description"),
                ("string_too_long", "due_date"),
                ("enum", "priority"),
                ("string_type", "tags"),
                ("string_too_long", "recursion_pattern"),
                ("bool_parsing", "completed"),
            ],
        ),
        (
            json!({"title": null, "priority": null, "completed": null}),
            vec![
                ("string_type", "title"),
                ("enum", "priority"),
                ("bool_type", "completed"),
            ],
        ),
        (
            json!({"title": long(201), "description": "\u{0}", "completed": 0.5}),
            vec![
                ("string_too_long", "title"),
                ("value_error", "description"),
                ("bool_type", "completed"),
            ],
        ),
    ] {
        api.call(&user, "POST", &user.tasks_path(), Some(&body))
            .await
            .assert_invalid(&rules);
    }
    let task = api.create_task(&user, &full()).await;
    let path = user.task_path(&task["id"]);
    let nulls = json!({"title": null, "priority": null, "completed": null});
    let answer = api.call(&user, "PUT", &path, Some(&nulls)).await;
    answer.assert_invalid(&[
        ("string_type", "title"),
        ("enum", "priority"),
        ("bool_type", "completed"),
    ]);
    assert_eq!(
        answer.json()["detail"][1],
        json!({"type": "enum", "loc": ["body", "priority"], "msg": "Input should be 'High', 'Medium' or 'Low'",
               "input": null, "ctx": {"expected": "'High', 'Medium' or 'Low'"}})
    );
    assert_eq!(api.call(&user, "GET", &path, None).await.expect(200), task);
}

#[tokio::test]
async fn checks_run_in_a_fixed_order() {
    let api = Api::from_env();
    let user = api.register().await;
    let without_session = User {
        token: "x".to_owned(),
        ..user.clone()
    };
    let other = "/api/1/tasks";
    let send = async |user: &User, path: &str, body: &str| {
        let request = api
            .request("POST", path)
            .bearer_auth(&user.token)
            .header("content-type", "application/json");
        api.send(request.body(body.to_owned())).await
    };
    // The order: invalid JSON, an invalid token, broken rules (those of the path first), another user's path.
    send(&without_session, "/api/x/tasks", "{")
        .await
        .assert_invalid(&[("json_invalid", "")]);
    send(&without_session, "/api/x/tasks", "{}")
        .await
        .assert_refused(401, "Could not validate credentials");
    send(&user, "/api/x/tasks", "{}")
        .await
        .assert_invalid(&[("int_parsing", "user_id"), ("missing", "title")]);
    send(&user, other, "{}")
        .await
        .assert_invalid(&[("missing", "title")]);
    send(&user, other, "{\"title\":\"a\"}")
        .await
        .assert_refused(403, "Not authorized to create tasks for this user");
    let absent = user.task_path(ABSENT);
    let put = async |path: &str, body: &Value| api.call(&user, "PUT", path, Some(body)).await;
    put(&absent, &json!({"title": ""}))
        .await
        .assert_invalid(&[("string_too_short", "title")]);
    put(&absent, &json!({}))
        .await
        .assert_refused(404, "Task not found");
    put("/api/x/tasks/y", &json!({"title": ""}))
        .await
        .assert_invalid(&[
            ("int_parsing", "user_id"),
            ("int_parsing", "id"),
            ("string_too_short", "title"),
        ]);
    put("/api/1/tasks/y", &json!({}))
        .await
        .assert_invalid(&[("int_parsing", "id")]);
}

#[tokio::test]
async fn path_ids_are_digits_with_an_optional_sign() {
    let api = Api::from_env();
    let user = api.register().await;
    let id = api.create_task(&user, &full()).await["id"].clone();
    for good in [format!("{id}"), format!("+{id}"), format!("000{id}")] {
        let answer = api.call(&user, "GET", &user.task_path(&good), None).await;
        assert_eq!(answer.expect(200)["id"], id, "{good}");
        api.call(
            &user,
            "GET",
            &format!("/api/+0{}/tasks/{good}", user.id),
            None,
        )
        .await
        .expect(200);
    }
    let huge = "9".repeat(40);
    for absent in [
        "0",
        "-1",
        "2147483648",
        "-2147483649",
        "9223372036854775808",
        &huge,
        &format!("-{huge}"),
    ] {
        api.call(&user, "GET", &user.task_path(absent), None)
            .await
            .assert_refused(404, "Task not found");
        api.call(&user, "GET", &format!("/api/{absent}/tasks"), None)
            .await
            .assert_refused(403, "Not authorized to access this user's tasks");
    }
    for bad in ["abc", "1.5", "1e3", "0x1", "1_0", "+", "-", "--1"] {
        let answer = api.call(&user, "GET", &user.task_path(bad), None).await;
        assert_eq!(
            answer.expect(422),
            json!({"detail": [{"type": "int_parsing", "loc": ["path", "id"],
                   "msg": "Input should be a valid integer, unable to parse string as an integer", "input": bad}]})
        );
    }
}

#[tokio::test]
async fn the_content_type_decides_if_a_body_is_json() {
    let api = Api::from_env();
    let user = api.register().await;
    let send = async |content_type: Option<&str>| {
        let request = api
            .request("POST", &user.tasks_path())
            .bearer_auth(&user.token)
            .body("{\"title\": \"a\"}");
        api.send(match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        })
        .await
    };
    for json in [
        None,
        Some("application/json; charset=utf-8"),
        Some("Application/JSON"),
        Some("application/vnd.api+json"),
    ] {
        send(json).await.expect(201);
    }
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "text/json",
        "json",
    ] {
        let answer = send(Some(other)).await;
        answer.assert_invalid(&[("model_attributes_type", "body")]);
        assert_eq!(
            answer.json()["detail"][0]["input"],
            "{\"title\": \"a\"}",
            "{other}"
        );
    }
}

#[tokio::test]
async fn bodies_are_limited_to_128_kib() {
    let api = Api::from_env();
    let user = api.register().await;
    let body = |length: usize| {
        let frame = json!({"title": "long", "description": ""})
            .to_string()
            .len();
        json!({"title": "long", "description": "x".repeat(length - frame)})
    };
    let task = api.create_task(&user, &body(128 * 1024)).await;
    assert_eq!(
        api.call(&user, "GET", &user.task_path(&task["id"]), None)
            .await
            .expect(200),
        task
    );
    let answer = api
        .call(
            &user,
            "POST",
            &user.tasks_path(),
            Some(&body(128 * 1024 + 1)),
        )
        .await;
    answer.assert_refused(413, "Request body too large");
}
