//! Creating a task with an `Idempotency-Key`.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{Api, Response, User};

async fn create(api: &Api, user: &User, key: &str, task: &Value) -> Response {
    let request = api.request("POST", &user.tasks_path());
    let request = request
        .bearer_auth(&user.token)
        .header("Idempotency-Key", key);
    api.send(request.json(task)).await
}

async fn count(api: &Api, user: &User) -> usize {
    let list = api.call(user, "GET", &user.tasks_path(), None).await;
    list.expect(200).as_array().expect("a list").len()
}

#[tokio::test]
async fn a_repeated_creation_returns_the_task_as_it_is_now() {
    let api = Api::from_env();
    let user = api.register().await;
    let task = json!({"title": "a", "priority": "Medium"});
    let first = create(&api, &user, "key-1", &task).await;
    let created = first.expect(201);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    // The same task, written in another way.
    for (key, same) in [
        ("key-1", json!({"title": "a"})),
        (
            "\"key-1\"",
            json!({"completed": "off", "tags": null, "title": "a", "unknown": 1}),
        ),
    ] {
        let replayed = create(&api, &user, key, &same).await;
        assert_eq!(replayed.expect(201), created);
        assert_eq!(replayed.headers["idempotent-replayed"], "true");
        assert_eq!(replayed.headers["etag"], first.headers["etag"]);
    }
    let path = user.task_path(&created["id"]);
    let changed = api
        .call(&user, "PUT", &path, Some(&json!({"title": "b"})))
        .await
        .expect(200);
    assert_eq!(
        create(&api, &user, "key-1", &task).await.expect(201),
        changed
    );
    assert_eq!(count(&api, &user).await, 1);

    // A key lives as long as its task, and belongs to its user.
    api.call(&user, "DELETE", &path, None).await.expect(200);
    let again = create(&api, &user, "key-1", &task).await;
    assert!(!again.headers.contains_key("idempotent-replayed"));
    assert_ne!(again.expect(201)["id"], created["id"]);
    let other = api.register().await;
    let others = create(&api, &other, "key-1", &json!({"title": "other"})).await;
    assert_eq!(others.expect(201)["user_id"], other.id);
    assert!(!others.headers.contains_key("idempotent-replayed"));
}

#[tokio::test]
async fn concurrent_creations_with_one_key_create_one_task() {
    let api = Api::from_env();
    let user = api.register().await;
    let task = json!({"title": "a"});
    let requests = (0..10).map(|_| create(&api, &user, "key", &task));
    let responses = join_all(requests).await;
    let ids: Vec<_> = responses
        .iter()
        .map(|one| one.expect(201)["id"].clone())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let replayed = |one: &&Response| one.headers.contains_key("idempotent-replayed");
    assert_eq!(responses.iter().filter(replayed).count(), 9);
    assert_eq!(count(&api, &user).await, 1);
}

#[tokio::test]
async fn a_key_that_was_used_for_another_task_is_422() {
    const SENT: &str = "client:client:key";
    let api = Api::from_env();
    let user = api.register().await;
    create(&api, &user, SENT, &json!({"title": "a"}))
        .await
        .expect(201);
    for other in [
        json!({"title": "b"}),
        json!({"title": "a", "completed": true}),
        json!({"title": "a", "description": ""}),
    ] {
        for key in [SENT, "\"client:client:key\""] {
            let refused = create(&api, &user, key, &other).await;
            refused.assert_invalid(&[("value_error", "idempotency-key")]);
            assert_eq!(refused.json()["detail"][0]["input"], key);
        }
    }
    assert_eq!(count(&api, &user).await, 1);
}

#[tokio::test]
async fn keys_are_1_to_255_visible_ascii_characters() {
    let api = Api::from_env();
    let user = api.register().await;
    let task = json!({"title": "a"});
    for good in [
        "!",
        "~",
        "a,b",
        &"k".repeat(255),
        &format!("\"{}\"", "q".repeat(255)),
    ] {
        create(&api, &user, good, &task).await.expect(201);
    }
    for bad in ["", "\"\"", "a b", "a\tb", "ü", &"k".repeat(256)] {
        create(&api, &user, bad, &task)
            .await
            .assert_invalid(&[("value_error", "idempotency-key")]);
    }
    assert_eq!(count(&api, &user).await, 5);
    // Without a key, each request creates a task.
    for _ in 0..2 {
        api.create_task(&user, &task).await;
    }
    assert_eq!(count(&api, &user).await, 7);
}
