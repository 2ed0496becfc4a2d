//! The clock of each user's tasks: the order of the versions is the order of the commits, whoever writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::PASSWORD;
use tests::database::{Database, TestDatabase, env_var};
use tests::fixtures::{Fixtures, RouteCase};
use tests::function::{Function, HttpEvent};
use tests::random;
use tests::routes::{TASK, TASKS, route};

/// The statements of the first release, which knew no clock.
const FORMER_STATEMENTS: [&str; 4] = [
    "INSERT INTO public.task (user_id, title, description, due_date, priority, tags, recursion_pattern, completed)
     VALUES ($1, 'former', 'text', NULL, 'Low', NULL, NULL, false)",
    "UPDATE public.task SET title = 'changed by the former release' WHERE user_id = $1 AND title = 'former'",
    "UPDATE public.task SET completed = NOT completed WHERE user_id = $1",
    "DELETE FROM public.task WHERE user_id = $1 AND title LIKE 'changed%'",
];

/// A database with one user, who has one task.
async fn database_with_user() -> (TestDatabase, RouteCase) {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let user = fixtures.route_case(route("update-task")).await;
    (database, user)
}

async fn clock(database: &Database, user: &RouteCase) -> Value {
    let clock = "SELECT version, tasks, bytes FROM public.task_clock WHERE user_id = $1";
    database.query_one(clock, &[&user.user_id_number()]).await
}

/// Asserts that the clock is at the newest version of a task or after it, and counts what there is.
async fn assert_clock_is_right(database: &Database, user: &RouteCase) {
    let counted = "SELECT count(task.id) AS tasks, coalesce(sum(octet_length(concat(title, description, due_date, tags,
                          recursion_pattern))), 0) AS bytes, coalesce(max(version), 0) AS version
                   FROM public.task WHERE user_id = $1";
    let counted = database.query_one(counted, &[&user.user_id_number()]).await;
    let clock = clock(database, user).await;
    assert_eq!(clock["tasks"], counted["tasks"]);
    assert_eq!(clock["bytes"], counted["bytes"]);
    assert!(
        clock["version"].as_i64() >= counted["version"].as_i64(),
        "{clock}"
    );
}

/// Sends random writes of one user from several instances at once.
struct Writer {
    user: RouteCase,
    create: Function,
    update: Function,
    toggle: Function,
    delete: Function,
}

impl Writer {
    async fn start(database: &TestDatabase, user: &RouteCase) -> Self {
        let start = |name| Function::start(name, &database.environment);
        Self {
            user: user.clone(),
            create: start("create-task").await,
            update: start("update-task").await,
            toggle: start("complete-task").await,
            delete: start("delete-task").await,
        }
    }

    /// Writes once. Until the account is gone, every answer is a success or says that the task is gone; or a 503, where so
    /// many instances connect at once that a slow machine does not answer in time.
    async fn write(&self, tasks: &[String]) -> u64 {
        let RouteCase { user_id, token, .. } = &self.user;
        let id = &tasks[random(tasks.len())];
        let (function, request) = match random(6) {
            0 => (
                &self.create,
                HttpEvent::new("POST", TASKS, &[user_id]).json(&json!({"title": "new"})),
            ),
            1 => (&self.delete, HttpEvent::new("DELETE", TASK, &[user_id, id])),
            2 | 3 => {
                let complete = format!("{TASK}/complete");
                (
                    &self.toggle,
                    HttpEvent::new("PATCH", &complete, &[user_id, id]),
                )
            }
            _ => {
                let title = json!({"title": format!("title {}", random(1000))});
                (
                    &self.update,
                    HttpEvent::new("PUT", TASK, &[user_id, id]).json(&title),
                )
            }
        };
        let response = function.http(&request.bearer(token)).await;
        assert!(
            [200, 201, 401, 404, 503].contains(&response.status),
            "{response:?}"
        );
        response.status
    }
}

/// Creates tasks for the writers.
async fn create_tasks(database: &TestDatabase, user: &RouteCase) -> Vec<String> {
    let insert = "INSERT INTO task (user_id, title) SELECT $1, number::text FROM generate_series(1, 30) AS number";
    database
        .owner
        .execute(insert, &[&user.user_id_number()])
        .await;
    let ids = database.owner.query("SELECT id FROM task", &[]).await;
    ids.iter().map(|row| row["id"].to_string()).collect()
}

#[tokio::test]
async fn a_polling_reader_misses_no_change_of_eight_writers() {
    let (database, user) = database_with_user().await;
    let tasks = create_tasks(&database, &user).await;
    let writers = join_all((0..8).map(|_| Writer::start(&database, &user))).await;
    let is_over = AtomicBool::new(false);
    let reader = database.connect().await;
    let read = async || {
        let (mut seen, mut cursor) = (Vec::new(), 0);
        loop {
            let was_over = is_over.load(Ordering::SeqCst);
            let newer = "SELECT id, version FROM task WHERE version > $1";
            for row in reader.query(newer, &[&cursor]).await {
                cursor = cursor.max(row["version"].as_i64().expect("a version"));
                seen.push(row);
            }
            if was_over {
                return seen;
            }
        }
    };
    let write = async || {
        join_all(writers.iter().map(async |writer| {
            for _ in 0..25 {
                writer.write(&tasks).await;
            }
        }))
        .await;
        is_over.store(true, Ordering::SeqCst);
    };
    let (seen, ()) = tokio::join!(read(), write());
    let stored = database
        .owner
        .query("SELECT id, version FROM task WHERE version > 0", &[])
        .await;
    for row in stored {
        assert!(seen.contains(&row), "{row} was never seen");
    }
    assert_clock_is_right(&database.owner, &user).await;
    database.drop().await;
}

/// Lets all write to one account until one of them has deleted it.
async fn write_and_delete(
    database: &TestDatabase,
    user: &RouteCase,
    writers: &[Writer],
    deletion: &Function,
) {
    let tasks = create_tasks(database, user).await;
    let delete = HttpEvent::new("DELETE", "/api/auth/me", &[])
        .bearer(&user.token)
        .json(&json!({"password": PASSWORD}));
    let write = async |writer: &Writer| {
        let mut count = 0;
        while writer.write(&tasks).await != 401 {
            count += 1;
            if count == 40 {
                // One of them deletes the account, while the others write.
                while let deleted = deletion.http(&delete).await
                    && ![200, 401].contains(&deleted.status)
                {
                    deleted.assert_unavailable();
                }
            }
        }
    };
    join_all(writers.iter().map(write)).await;
}

/// One account after another: one here, and as many as there is time for in `./dev soak`.
#[tokio::test]
async fn writes_and_deletions_of_accounts_soak_without_a_deadlock() {
    let seconds = env_var("SOAK_SECONDS").map_or(0, |text| text.parse().expect("a number"));
    let until = Instant::now() + Duration::from_secs(seconds);
    let (database, mut user) = database_with_user().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let mut writers = join_all((0..6).map(|_| Writer::start(&database, &user))).await;
    let deletion = Function::start("delete-account", &database.environment).await;
    loop {
        write_and_delete(&database, &user, &writers, &deletion).await;
        if Instant::now() >= until {
            break;
        }
        user = fixtures.route_case(route("update-task")).await;
        for writer in &mut writers {
            writer.user = user.clone();
        }
    }
    let count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(
        database.owner.query_one(count, &[]).await,
        json!({"deadlocks": 0})
    );
    let left = "SELECT (SELECT count(*) FROM task) + (SELECT count(*) FROM task_clock) AS rows";
    assert_eq!(
        database.owner.query_one(left, &[]).await,
        json!({"rows": 0})
    );
    database.drop().await;
}

#[tokio::test]
async fn the_former_release_and_a_person_in_psql_move_the_clock() {
    let (database, user) = database_with_user().await;
    let application = Database::connect(database.environment.value("DATABASE_URL")).await;
    for database in [&application, &database.owner] {
        for statement in FORMER_STATEMENTS {
            let before = clock(database, &user).await;
            assert!(database.execute(statement, &[&user.user_id_number()]).await > 0);
            let after = clock(database, &user).await;
            assert!(
                after["version"].as_i64() > before["version"].as_i64(),
                "{statement}"
            );
            assert_clock_is_right(database, &user).await;
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn the_former_release_may_lack_privileges_on_the_clock() {
    let (database, user) = database_with_user().await;
    let role = database.environment.value("DATABASE_URL").to_owned();
    let role = role
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split(':').next());
    let revoke = format!(
        "REVOKE ALL ON task_clock, task_epoch FROM {}",
        role.expect("a role")
    );
    database.owner.batch_execute(&revoke).await;
    let application = Database::connect(database.environment.value("DATABASE_URL")).await;
    for statement in FORMER_STATEMENTS {
        assert!(
            application
                .execute(statement, &[&user.user_id_number()])
                .await
                > 0,
            "{statement}"
        );
    }
    assert_clock_is_right(&database.owner, &user).await;
    database.drop().await;
}

#[tokio::test]
async fn what_changes_nothing_leaves_the_clock_alone() {
    let (database, user) = database_with_user().await;
    let before = clock(&database.owner, &user).await;
    for statement in [
        "UPDATE task SET title = title",
        "UPDATE task SET version = version + 1",
        "UPDATE task SET title = 'a' WHERE false",
        "DELETE FROM task WHERE false",
        "BEGIN; UPDATE task SET title = 'a'; INSERT INTO task (user_id, title) SELECT id, 'b' FROM \"user\";
         DELETE FROM task; ROLLBACK",
    ] {
        database.owner.batch_execute(statement).await;
        assert_eq!(clock(&database.owner, &user).await, before, "{statement}");
    }
    let update = Function::start("update-task", &database.environment).await;
    for (id, changes, condition) in [
        (user.task_id.as_str(), json!({}), "*"),
        (user.task_id.as_str(), json!({"title": "as it was"}), "*"),
        (user.task_id.as_str(), json!({"title": "new"}), "\"x\""),
        ("2000000000", json!({"title": "new"}), "*"),
    ] {
        let request = HttpEvent::new("PUT", TASK, &[&user.user_id, id]).bearer(&user.token);
        update
            .http(&request.json(&changes).header("if-match", condition))
            .await;
        assert_eq!(
            clock(&database.owner, &user).await,
            before,
            "{changes} {condition}"
        );
    }
    database.drop().await;
}

#[tokio::test]
async fn a_task_that_moves_to_another_user_moves_both_clocks() {
    let (database, user) = database_with_user().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let other = fixtures.route_case(route("update-task")).await;
    let before = [
        clock(&database.owner, &user).await,
        clock(&database.owner, &other).await,
    ];
    let moved = "UPDATE task SET user_id = $1 WHERE user_id = $2";
    let ids = (other.user_id_number(), user.user_id_number());
    database.owner.execute(moved, &[&ids.0, &ids.1]).await;
    for (user, before) in [&user, &other].into_iter().zip(before) {
        let after = clock(&database.owner, user).await;
        assert!(
            after["version"].as_i64() > before["version"].as_i64(),
            "{after}"
        );
        assert_clock_is_right(&database.owner, user).await;
    }
    database.drop().await;
}

#[tokio::test]
async fn a_304_of_the_list_reads_no_task() {
    let (database, user) = database_with_user().await;
    let list = Function::start("list-tasks", &database.environment).await;
    let request = HttpEvent::new("GET", TASKS, &[&user.user_id]).bearer(&user.token);
    let etag = list.http(&request).await.etag().to_owned();
    // A read of the table would wait for this lock.
    let _lock = database.lock_table("task").await;
    let response = list.http(&request.header("if-none-match", &etag)).await;
    assert_eq!((response.status, response.etag()), (304, etag.as_str()));
    database.drop().await;
}
