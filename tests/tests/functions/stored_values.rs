//! Values that a database can hold although no function writes them: those of an import, of an operator, or of the legacy
//! service.

use serde_json::{Value, json};
use tests::api::registration;
use tests::database::TestDatabase;
use tests::fixtures::{Fixtures, register};
use tests::function::{Function, HttpEvent, HttpResponse};
use tests::routes::{TASK, TASKS, route};

const FIRST: &str = "0001-01-01T00:00:00";
const LAST: &str = "9999-12-31T23:59:59.999999";

/// Timestamps of PostgreSQL, and how they are answered.
const TIMES: [(&str, &str); 14] = [
    ("-infinity", FIRST),
    ("4713-01-01 00:00:00 BC", FIRST),
    ("0001-12-31 23:59:59.999999 BC", FIRST),
    ("0001-01-01 00:00:00", FIRST),
    ("0001-01-01 00:00:00.000001", "0001-01-01T00:00:00.000001"),
    ("1999-12-31 23:59:59.999999", "1999-12-31T23:59:59.999999"),
    ("2000-01-01 00:00:00", "2000-01-01T00:00:00"),
    ("9999-12-31 23:59:59", "9999-12-31T23:59:59"),
    ("9999-12-31 23:59:59.999999", LAST),
    ("10000-01-01 00:00:00", LAST),
    ("12026-11-23 06:03:59.194993", LAST),
    ("294276-12-31 23:59:59.999998", LAST),
    ("294276-12-31 23:59:59.999999", LAST),
    ("infinity", LAST),
];

fn times(value: &Value) -> [&str; 2] {
    ["created_at", "updated_at"].map(|name| value[name].as_str().expect("a time"))
}

#[tokio::test]
async fn every_timestamp_has_an_answer_and_no_row_makes_a_list_fail() {
    let database = TestDatabase::migrated().await;
    let (user_id, token) = register(&database.environment).await;
    let id: i32 = user_id.parse().expect("an id");
    let insert = "INSERT INTO task (user_id, title, created_at, updated_at)
                  SELECT $1, time, time::timestamp, time::timestamp FROM unnest($2::text[]) AS time";
    let stored: Vec<_> = TIMES.iter().map(|(time, _)| *time).collect();
    database.owner.execute(insert, &[&id, &stored]).await;

    let list = Function::start("list-tasks", &database.environment).await;
    let request = HttpEvent::new("GET", TASKS, &[&user_id]).bearer(&token);
    let response = list.http(&request).await;
    assert_eq!(response.status, 200, "{response:?}");
    let tasks = response.body.as_array().expect("a list");
    assert_eq!(tasks.len(), TIMES.len());
    for (task, (stored, answered)) in tasks.iter().zip(TIMES) {
        assert_eq!(times(task), [answered, answered], "{stored}");
    }

    // Such a task can be read, changed and deleted like any other.
    for (function, method, path) in [
        ("get-task", "GET", "/api/{user_id}/tasks/{id}"),
        ("update-task", "PUT", "/api/{user_id}/tasks/{id}"),
        (
            "complete-task",
            "PATCH",
            "/api/{user_id}/tasks/{id}/complete",
        ),
        ("delete-task", "DELETE", "/api/{user_id}/tasks/{id}"),
    ] {
        let function = Function::start(function, &database.environment).await;
        for (task, (stored, answered)) in tasks.iter().zip(TIMES) {
            let task_id = task["id"].to_string();
            let request = HttpEvent::new(method, path, &[&user_id, &task_id])
                .bearer(&token)
                .json(&json!({"description": method}));
            let response = function.http(&request).await;
            assert_eq!(response.status, 200, "{method} {stored}: {response:?}");
            if method == "PUT" {
                let [created_at, updated_at] = times(&response.body);
                assert_eq!(created_at, answered, "{stored}");
                assert!(updated_at >= answered, "{stored}: {updated_at}");
            }
        }
    }

    let me = Function::start("me", &database.environment).await;
    let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token);
    for (stored, answered) in TIMES {
        let update = format!(
            "ALTER TABLE \"user\" DISABLE TRIGGER USER;
             UPDATE \"user\" SET created_at = '{stored}', updated_at = '{stored}';
             ALTER TABLE \"user\" ENABLE TRIGGER USER"
        );
        database.owner.batch_execute(&update).await;
        let response = me.http(&request).await;
        assert_eq!(response.status, 200, "{stored}: {response:?}");
        assert_eq!(times(&response.body), [answered, answered], "{stored}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_session_can_be_without_an_end_and_a_purge_finds_any_id() {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let endless = fixtures.route_case(route("logout")).await;
    let ended = fixtures.route_case(route("logout")).await;
    for (route_case, end, id) in [(&endless, "infinity", 0), (&ended, "-infinity", i32::MIN)] {
        let update = "UPDATE session SET id = $1, expires_at = $2::text::timestamp, created_at = $2::text::timestamp
                      WHERE user_id = $3";
        let user_id = route_case.user_id_number();
        let updated = database.owner.execute(update, &[&id, &end, &user_id]).await;
        assert_eq!(updated, 1);
    }
    let insert = "INSERT INTO session (id, user_id, token_jti, token, expires_at)
                  SELECT -7, id, 'a', 'a', '4713-01-01 BC' FROM \"user\" LIMIT 1";
    database.owner.batch_execute(insert).await;

    let me = Function::start("me", &database.environment).await;
    let logout = Function::start("logout", &database.environment).await;
    for (route_case, status) in [(&endless, 200), (&ended, 401)] {
        let request = HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&route_case.token);
        assert_eq!(me.http(&request).await.status, status);
    }
    let purge = Function::start("purge-sessions", &database.environment).await;
    let purged = purge.invoke(json!({})).await.expect("a result");
    assert_eq!(purged["deleted"], json!(2), "{purged}");
    for (route_case, status) in [(&endless, 200), (&ended, 401)] {
        assert_eq!(logout.http(&route_case.request()).await.status, status);
    }
    database.drop().await;
}

#[tokio::test]
async fn values_that_no_request_may_have_are_answered_as_they_are() {
    let database = TestDatabase::migrated().await;
    let (user_id, token) = register(&database.environment).await;
    let id: i32 = user_id.parse().expect("an id");
    // A legacy column has no limit, and an operator may have added a label.
    let alter = "ALTER TABLE task ALTER due_date TYPE varchar, ALTER title TYPE varchar;
                 ALTER TYPE priority_enum ADD VALUE 'Urgent'";
    for statement in alter.split(';') {
        database.owner.execute(statement, &[]).await;
    }
    let insert = "INSERT INTO task (id, user_id, title, description, due_date, priority, tags, recursion_pattern)
                  VALUES (-2147483648, $1, '', '', '', 'Urgent', '', ''),
                         (0, $1, repeat('é', 1000), E'\\u0001\\u007f\\uffff', repeat('9', 1000), 'Low', E'\\n', ' '),
                         (2147483647, $1, E'\\U0010ffff', NULL, 'infinity', 'High', NULL, NULL)";
    database.owner.execute(insert, &[&id]).await;
    let list = Function::start("list-tasks", &database.environment).await;
    let request = HttpEvent::new("GET", TASKS, &[&user_id]).bearer(&token);
    let response = list.http(&request).await;
    assert_eq!(response.status, 200, "{response:?}");
    let expected = "SELECT to_jsonb(task) - '{created_at,updated_at,version,creation_key,creation_hash}'::text[] AS task
                    FROM task ORDER BY id";
    let expected = database.owner.query(expected, &[]).await;
    let tasks = response.body.as_array().expect("a list");
    assert_eq!(tasks.len(), 3);
    for (task, expected) in tasks.iter().zip(&expected) {
        for (name, value) in expected["task"].as_object().expect("a row") {
            assert_eq!(&task[name], value, "{name}");
        }
    }
    database.drop().await;
}

async fn register_new_user(database: &TestDatabase) -> (HttpResponse, String) {
    let function = Function::start("register", &database.environment).await;
    let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&registration());
    let response = function.http(&request).await;
    (response, function.stop().await)
}

#[tokio::test]
async fn registration_works_where_the_id_does_not_own_its_sequence() {
    let database = TestDatabase::migrated().await;
    let (response, _) = register_new_user(&database).await;
    let first = response.body["id"].as_i64().expect("an id");
    let alter = "ALTER SEQUENCE user_id_seq OWNED BY NONE";
    database.owner.execute(alter, &[]).await;
    let (response, log) = register_new_user(&database).await;
    assert_eq!(
        (response.status, response.body["id"].as_i64()),
        (201, Some(first + 1)),
        "{log}"
    );
    database.drop().await;
}

#[tokio::test]
async fn registration_without_a_sequence_is_a_500_with_its_cause() {
    let database = TestDatabase::migrated().await;
    let drop =
        "ALTER TABLE \"user\" ALTER id DROP DEFAULT; ALTER SEQUENCE user_id_seq OWNED BY NONE";
    database.owner.batch_execute(drop).await;
    let (response, log) = register_new_user(&database).await;
    assert_eq!(
        (response.status, &response.body),
        (500, &json!({"detail": "Internal Server Error"}))
    );
    assert!(log.contains("there is no next user id"), "{log}");
    database.drop().await;
}

#[tokio::test]
async fn a_suppressed_insert_is_a_500_and_not_a_401() {
    let database = TestDatabase::migrated().await;
    let (user_id, token) = register(&database.environment).await;
    let trigger = "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                   CREATE TRIGGER nothing BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION nothing()";
    database.owner.batch_execute(trigger).await;
    let function = Function::start("create-task", &database.environment).await;
    let request = HttpEvent::new("POST", TASKS, &[&user_id])
        .bearer(&token)
        .json(&json!({"title": "a"}));
    let response = function.http(&request).await;
    assert_eq!(
        (response.status, response.body),
        (500, json!({"detail": "Internal Server Error"}))
    );
    let log = function.stop().await;
    assert!(log.contains("no task was created"), "{log}");
    database.drop().await;
}

#[tokio::test]
async fn a_task_that_is_too_large_can_be_shortened_and_deleted() {
    let database = TestDatabase::migrated().await;
    let (user_id, token) = register(&database.environment).await;
    let id: i32 = user_id.parse().expect("an id");
    // The second one is too large only as JSON.
    let insert = "INSERT INTO task (user_id, title, description) VALUES ($1, 'a', repeat('x', 10000000)),
                                                                        ($1, 'b', repeat('\"', 3200000))";
    database.owner.execute(insert, &[&id]).await;
    let rows = database
        .owner
        .query("SELECT id FROM task ORDER BY id", &[])
        .await;
    let ids = rows.iter().map(|row| row["id"].to_string());
    let [first, second] = &ids.collect::<Vec<_>>()[..] else {
        panic!("two tasks");
    };
    let complete = format!("{TASK}/complete");
    let too_large = json!({"detail": "Task too large"});
    for (function, method, path, id, body, status) in [
        ("get-task", "GET", TASK, first, None, 413),
        ("get-task", "GET", TASK, second, None, 413),
        (
            "update-task",
            "PUT",
            TASK,
            first,
            Some(json!({"title": "new"})),
            413,
        ),
        (
            "complete-task",
            "PATCH",
            complete.as_str(),
            first,
            None,
            413,
        ),
        ("delete-task", "DELETE", TASK, second, None, 200),
        (
            "update-task",
            "PUT",
            TASK,
            first,
            Some(json!({"description": "short"})),
            200,
        ),
        ("get-task", "GET", TASK, first, None, 200),
    ] {
        let function = Function::start(function, &database.environment).await;
        let request = HttpEvent::new(method, path, &[&user_id, id]).bearer(&token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = function.http(&request).await;
        assert_eq!(response.status, status, "{method}");
        if status == 413 {
            assert_eq!(response.body, too_large);
        } else if method != "DELETE" {
            // The changes before were done.
            let task = &response.body;
            assert_eq!(
                (&task["title"], &task["description"], &task["completed"]),
                (&json!("new"), &json!("short"), &json!(true))
            );
        }
    }
    database.drop().await;
}
