//! Clocks that triggers did not move: after an import, a replication or a restore without triggers.

use futures_util::future::join;
use serde_json::{Value, json};
use tests::api::PASSWORD;
use tests::database::TestDatabase;
use tests::fixtures::{Fixtures, RouteCase};
use tests::function::{Function, HttpEvent, run};
use tests::routes::{TASK, TASKS, route};

/// A database with one user, who has one task.
async fn database_with_user() -> (TestDatabase, RouteCase) {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let user = fixtures.route_case(route("update-task")).await;
    (database, user)
}

/// Whether each user has a clock that counts the tasks, and is not behind one of them.
async fn clocks_are_right(database: &TestDatabase) -> bool {
    let are_right = r#"
        SELECT bool_and(clock.user_id IS NOT NULL AND clock.tasks = counted.tasks AND clock.bytes = counted.bytes
                        AND clock.version >= counted.version) AS are_right
        FROM "user" AS account
        LEFT JOIN task_clock AS clock ON clock.user_id = account.id
        CROSS JOIN LATERAL (
            SELECT count(*) AS tasks, coalesce(max(version), 0) AS version,
                   coalesce(sum(octet_length(concat(title, description, due_date, tags, recursion_pattern))), 0) AS bytes
            FROM task WHERE task.user_id = account.id
        ) AS counted"#;
    database.owner.query_one(are_right, &[]).await["are_right"] == json!(true)
}

/// The output of `migrate` with these arguments.
async fn migrate(database: &TestDatabase, arguments: &[&str], status: i32) -> String {
    let output = run("migrate", arguments, &database.environment).await;
    assert_eq!(output.status, Some(status), "{}", output.text);
    output.text
}

#[tokio::test]
async fn a_user_without_a_clock_can_do_everything() {
    let (database, user) = database_with_user().await;
    let RouteCase {
        user_id,
        token,
        task_id,
        ..
    } = &user;
    let task = [user_id.as_str(), task_id.as_str()];
    let complete = format!("{TASK}/complete");
    for (function, request, status) in [
        ("list-tasks", HttpEvent::new("GET", TASKS, &[user_id]), 200),
        ("get-task", HttpEvent::new("GET", TASK, &task), 200),
        (
            "create-task",
            HttpEvent::new("POST", TASKS, &[user_id]).json(&json!({"title": "new"})),
            201,
        ),
        (
            "update-task",
            HttpEvent::new("PUT", TASK, &task).json(&json!({"title": "other"})),
            200,
        ),
        (
            "complete-task",
            HttpEvent::new("PATCH", &complete, &task),
            200,
        ),
        ("delete-task", HttpEvent::new("DELETE", TASK, &task), 200),
        (
            "delete-account",
            HttpEvent::new("DELETE", "/api/auth/me", &[]).json(&json!({"password": PASSWORD})),
            200,
        ),
    ] {
        database.owner.execute("DELETE FROM task_clock", &[]).await;
        let function = Function::start(function, &database.environment).await;
        let response = function.http(&request.bearer(token)).await;
        assert_eq!(response.status, status, "{response:?}");
    }
    let accounts = r#"SELECT count(*) AS accounts FROM "user" WHERE id = $1"#;
    let accounts = database
        .owner
        .query_one(accounts, &[&user.user_id_number()])
        .await;
    assert_eq!(accounts, json!({"accounts": 0}));
    database.drop().await;
}

#[tokio::test]
async fn a_write_creates_a_missing_clock() {
    let (database, user) = database_with_user().await;
    for write in [
        "INSERT INTO task (user_id, title) SELECT id, 'new' FROM \"user\", generate_series(1, 3)",
        "UPDATE task SET title = 'changed'",
    ] {
        database.owner.execute("DELETE FROM task_clock", &[]).await;
        database.owner.execute(write, &[]).await;
        assert!(clocks_are_right(&database).await, "{write}");
    }
    let create = Function::start("create-task", &database.environment).await;
    let request = HttpEvent::new("POST", TASKS, &[&user.user_id])
        .bearer(&user.token)
        .json(&json!({"title": "new"}));
    database.owner.execute("DELETE FROM task_clock", &[]).await;
    assert_eq!(create.http(&request).await.status, 201);
    assert!(clocks_are_right(&database).await);
    database.drop().await;
}

/// Changes without triggers, and what `verify` finds. `$` is the user's id.
const DRIFTS: [(&str, &str, &str); 5] = [
    (
        "UPDATE task SET version = 1000",
        "version ",
        "version 1000 or later",
    ),
    ("DELETE FROM task_clock", "none", "tasks 1"),
    (
        "INSERT INTO task (user_id, title) VALUES ($, 'imported')",
        "tasks 1",
        "tasks 2",
    ),
    ("DELETE FROM task", "tasks 1", "tasks 0, bytes 0"),
    (
        "UPDATE task SET description = repeat('x', 5000)",
        "bytes 1",
        "bytes 5001",
    ),
];

#[tokio::test]
async fn verify_names_clocks_that_have_drifted_and_migrate_sets_them() {
    let (database, user) = database_with_user().await;
    let list = Function::start("list-tasks", &database.environment).await;
    let get = HttpEvent::new("GET", TASKS, &[&user.user_id]).bearer(&user.token);
    for (change, found, expected) in DRIFTS {
        let restore = format!(
            "DELETE FROM task; INSERT INTO task (user_id, title) VALUES ({}, 'a')",
            user.user_id
        );
        database.owner.batch_execute(&restore).await;
        migrate(&database, &["--verify"], 0).await;
        let before = list.http(&get).await.etag().to_owned();

        let change = change.replace('$', &user.user_id);
        let without_triggers = format!(
            "ALTER TABLE task DISABLE TRIGGER USER; {change}; ALTER TABLE task ENABLE TRIGGER USER"
        );
        database.owner.batch_execute(&without_triggers).await;
        let text = migrate(&database, &["--verify"], 1).await;
        let line = format!("table task_clock, user {}: found ", user.user_id);
        let line = text.lines().find_map(|text| text.strip_prefix(&line));
        let (was, should) = line
            .and_then(|line| line.split_once("; expected "))
            .unwrap_or_else(|| panic!("{change}: {text}"));
        assert!(was.contains(found), "{change}: {text}");
        assert!(should.contains(expected), "{change}: {text}");
        assert!(should.ends_with("(migrate sets it)"), "{text}");

        let text = migrate(&database, &[], 0).await;
        assert!(text.contains("did not agree with the tasks"), "{text}");
        assert!(clocks_are_right(&database).await, "{change}");
        assert_ne!(list.http(&get).await.etag(), before, "{change}");
        let text = migrate(&database, &[], 0).await;
        assert!(text.starts_with("Nothing to do"), "{text}");
    }
    database.drop().await;
}

#[tokio::test]
async fn migrate_repairs_clocks_while_the_functions_write() {
    let (database, user) = database_with_user().await;
    let import = "ALTER TABLE task DISABLE TRIGGER USER;
                  INSERT INTO task (user_id, title) SELECT id, 'imported' FROM \"user\", generate_series(1, 1000);
                  ALTER TABLE task ENABLE TRIGGER USER";
    database.owner.batch_execute(import).await;
    let create = Function::start("create-task", &database.environment).await;
    let request = HttpEvent::new("POST", TASKS, &[&user.user_id])
        .bearer(&user.token)
        .json(&json!({"title": "new"}));
    let write = async {
        for _ in 0..100 {
            let response = create.http(&request).await;
            assert_eq!(response.status, 201, "{response:?}");
        }
    };
    let (text, ()) = join(migrate(&database, &[], 0), write).await;
    assert!(text.contains("did not agree with the tasks"), "{text}");
    assert!(clocks_are_right(&database).await);
    database.drop().await;
}

#[tokio::test]
async fn a_list_without_a_clock_has_a_new_tag_each_time() {
    let (database, user) = database_with_user().await;
    database.owner.execute("DELETE FROM task_clock", &[]).await;
    let list = Function::start("list-tasks", &database.environment).await;
    let get = HttpEvent::new("GET", TASKS, &[&user.user_id]).bearer(&user.token);
    let first = list.http(&get).await;
    // Nothing tells whether the list has changed meanwhile.
    let again = get.header("if-none-match", first.etag());
    let second = list.http(&again).await;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert_ne!(first.etag(), second.etag());
    database.drop().await;
}

#[tokio::test]
async fn no_version_comes_again_after_a_clock_was_lost() {
    let (database, user) = database_with_user().await;
    let update = Function::start("update-task", &database.environment).await;
    let mut tags = Vec::new();
    for number in 0..12 {
        match number {
            4 => drop(database.owner.execute("DELETE FROM task_clock", &[]).await),
            // From an old dump.
            8 => {
                let rewind = "UPDATE task_clock SET version = 1";
                database.owner.execute(rewind, &[]).await;
            }
            _ => {}
        }
        let title = json!({"title": format!("title {number}")});
        let request = HttpEvent::new("PUT", TASK, &[&user.user_id, &user.task_id]);
        let response = update.http(&request.bearer(&user.token).json(&title)).await;
        assert_eq!(response.status, 200, "{response:?}");
        let tag = Value::from(response.etag());
        assert!(!tags.contains(&tag), "{tag} comes again: {tags:?}");
        tags.push(tag);
    }
    database.drop().await;
}

#[tokio::test]
async fn truncating_the_tasks_moves_the_clocks() {
    let (database, user) = database_with_user().await;
    let list = Function::start("list-tasks", &database.environment).await;
    let get = HttpEvent::new("GET", TASKS, &[&user.user_id]).bearer(&user.token);
    let before = list.http(&get).await.etag().to_owned();
    database.owner.execute("TRUNCATE task", &[]).await;
    assert!(clocks_are_right(&database).await);
    let response = list.http(&get.header("if-none-match", &before)).await;
    assert_eq!((response.status, &response.body), (200, &json!([])));
    database.drop().await;
}
