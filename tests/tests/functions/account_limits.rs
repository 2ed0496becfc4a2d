//! What one account may store.

use serde_json::{Value, json};
use tests::database::Database;
use tests::fixtures::register;
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::routes::{TASK, TASKS};

/// The functions that work on tasks, with small limits, and a user.
struct Account {
    user_id: String,
    token: String,
    create: Function,
    update: Function,
    delete: Function,
    list: Function,
}

impl Account {
    async fn new(name: &str, limit: &str) -> Self {
        let environment = Environment::default();
        let (user_id, token) = register(&environment).await;
        let environment = environment.with(name, limit);
        Self {
            user_id,
            token,
            create: Function::start("create-task", &environment).await,
            update: Function::start("update-task", &environment).await,
            delete: Function::start("delete-task", &environment).await,
            list: Function::start("list-tasks", &environment).await,
        }
    }

    async fn create(&self, task: &Value, key: Option<&str>) -> HttpResponse {
        let request = HttpEvent::new("POST", TASKS, &[&self.user_id]).bearer(&self.token);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        self.create.http(&request.json(task)).await
    }

    async fn update(&self, id: &Value, changes: &Value) -> HttpResponse {
        let request = HttpEvent::new("PUT", TASK, &[&self.user_id, &id.to_string()]);
        self.update
            .http(&request.bearer(&self.token).json(changes))
            .await
    }

    async fn delete(&self, id: &Value) {
        let request = HttpEvent::new("DELETE", TASK, &[&self.user_id, &id.to_string()]);
        let response = self.delete.http(&request.bearer(&self.token)).await;
        assert_eq!(response.status, 200, "{response:?}");
    }

    async fn list(&self) -> Value {
        let request = HttpEvent::new("GET", TASKS, &[&self.user_id]).bearer(&self.token);
        self.list.http(&request).await.body
    }
}

#[track_caller]
fn assert_full(response: &HttpResponse) {
    assert_eq!(
        (response.status, &response.body),
        (409, &json!({"detail": "Account is full"}))
    );
}

#[tokio::test]
async fn an_account_with_as_many_tasks_as_allowed_is_full() {
    let account = Account::new("MAX_TASKS_PER_ACCOUNT", "2").await;
    let task = json!({"title": "a"});
    let first = account.create(&task, Some("first")).await;
    assert_eq!(account.create(&task, None).await.status, 201);
    assert_full(&account.create(&task, None).await);
    let replayed = account.create(&task, Some("first")).await;
    assert_eq!((replayed.status, &replayed.body), (201, &first.body));
    let id = &first.body["id"];
    let longer = account.update(id, &json!({"description": "longer"})).await;
    assert_eq!(longer.status, 200, "{longer:?}");
    account.delete(id).await;
    assert_eq!(account.create(&task, None).await.status, 201);
    assert_full(&account.create(&task, Some("first")).await);
}

#[tokio::test]
async fn an_account_with_as_much_text_as_allowed_is_full() {
    let account = Account::new("MAX_BYTES_PER_ACCOUNT", "10").await;
    // Bytes of UTF-8, in all texts.
    let first = account
        .create(
            &json!({"title": "ää", "tags": "b", "description": "ccc"}),
            None,
        )
        .await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_full(&account.create(&json!({"title": "12345678901"}), None).await);
    assert_full(&account.create(&json!({"title": "123"}), None).await);
    assert_eq!(
        account.create(&json!({"title": "12"}), None).await.status,
        201
    );
    let id = &first.body["id"];
    assert_full(&account.update(id, &json!({"due_date": "x"})).await);
    for no_larger in [
        json!({"priority": "High", "completed": true}),
        json!({"title": "1234"}),
        json!({"description": null, "due_date": "xxx"}),
        json!({"description": "cc", "due_date": null}),
    ] {
        let response = account.update(id, &no_larger).await;
        assert_eq!(response.status, 200, "{no_larger}: {response:?}");
    }
    assert_eq!(
        account.create(&json!({"title": "1"}), None).await.status,
        201
    );
    assert_full(&account.create(&json!({"title": "1"}), None).await);
}

#[tokio::test]
async fn an_account_above_a_limit_can_read_shrink_and_delete() {
    let account = Account::new("MAX_BYTES_PER_ACCOUNT", "10").await;
    let database = Database::from_env().await;
    let insert =
        "INSERT INTO task (user_id, title) SELECT $1, repeat('a', 100) FROM generate_series(1, 3)";
    let user_id: i32 = account.user_id.parse().expect("an id");
    assert_eq!(database.execute(insert, &[&user_id]).await, 3);
    let tasks = account.list().await;
    assert_full(&account.create(&json!({"title": "a"}), None).await);
    assert_full(&account.update(&tasks[0]["id"], &json!({"tags": "a"})).await);
    let shorter = account
        .update(&tasks[0]["id"], &json!({"title": "a"}))
        .await;
    assert_eq!(shorter.status, 200, "{shorter:?}");
    account.delete(&tasks[1]["id"]).await;
    account.delete(&tasks[2]["id"]).await;
    assert_eq!(
        account.create(&json!({"title": "b"}), None).await.status,
        201
    );
}

#[tokio::test]
async fn a_list_that_is_too_large_is_refused_before_it_is_read() {
    let account = Account::new("MAX_BYTES_PER_ACCOUNT", "10").await;
    let database = Database::from_env().await;
    let insert = "INSERT INTO task (user_id, title, description)
                  SELECT $1, 'a', repeat('x', 1000000) FROM generate_series(1, 7)";
    let user_id: i32 = account.user_id.parse().expect("an id");
    database.execute(insert, &[&user_id]).await;
    for _ in 0..2 {
        assert_eq!(
            account.list().await,
            json!({"detail": "Task list too large, ask for pages with limit"})
        );
    }
    let log = account.list.stop().await;
    // The connection was not given up, and is still the first one.
    assert_eq!(log.matches(r#""message":"connected""#).count(), 1, "{log}");
}
