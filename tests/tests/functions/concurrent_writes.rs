//! Writes of several instances to the same rows at the same moment.

use futures_util::future::join_all;
use serde_json::json;
use tests::database::TestDatabase;
use tests::fixtures::{Fixtures, register};
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::{TASKS, route, routes};

/// How many instances write at the same moment.
const INSTANCES: usize = 4;

/// Sends a request with several instances at once, each of them several times in a row. Returns the statuses in order.
async fn send_at_once(
    function: &str,
    environment: &Environment,
    times: usize,
    request: &HttpEvent,
) -> Vec<u64> {
    let start = async || {
        let mut instance = Function::start(function, environment).await;
        instance.wait_until_ready().await;
        instance
    };
    let instances = join_all((0..INSTANCES).map(|_| start())).await;
    let send = async |instance: &Function| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(instance.http(request).await.status);
        }
        statuses
    };
    let statuses = join_all(instances.iter().map(send)).await;
    let mut statuses = statuses.concat();
    statuses.sort_unstable();
    statuses
}

/// Sends the request of every route from several instances at once, on a database with this setting. Every write has to be
/// done, and exactly once.
async fn assert_concurrent_writes_succeed(setting: &str) {
    let database = TestDatabase::migrated().await;
    let setting = setting.replace("{database}", database.name());
    database.owner.batch_execute(&setting).await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    for route in routes() {
        let name = route.function;
        let times = match name {
            "create-task" | "update-task" | "complete-task" => 6,
            _ => 1,
        };
        let case = fixtures.route_case(route).await;
        let statuses = send_at_once(name, &database.environment, times, &case.request()).await;
        match name {
            "register" => assert_eq!(statuses, [201, 409, 409, 409]),
            "delete-task" | "end-session" => assert_eq!(statuses, [200, 404, 404, 404]),
            // The others find another password, or no account.
            "change-password" | "delete-account" => {
                assert_eq!(statuses[0], 200, "{statuses:?}");
                assert!(
                    statuses.iter().all(|status| *status <= 403),
                    "{name}: {statuses:?}"
                );
            }
            _ => {
                let expected = vec![route.success_status; times * INSTANCES];
                assert_eq!(statuses, expected, "{name}");
            }
        }
        let tasks = "SELECT count(*), bool_or(completed) AS completed FROM task WHERE user_id = $1";
        let tasks = database
            .owner
            .query_one(tasks, &[&case.user_id_number()])
            .await;
        match name {
            "create-task" => assert_eq!(tasks["count"], json!(1 + times * INSTANCES)),
            // An even number of times.
            "complete-task" => assert_eq!(tasks["completed"], json!(false)),
            _ => {}
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn concurrent_writes_succeed_under_repeatable_read() {
    let setting = "ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'";
    assert_concurrent_writes_succeed(setting).await;
}

#[tokio::test]
async fn concurrent_writes_succeed_for_a_serializable_role() {
    let setting = "DO $$ BEGIN EXECUTE format(
                       'ALTER ROLE %I IN DATABASE {database} SET default_transaction_isolation = serializable',
                       (SELECT DISTINCT grantee FROM information_schema.role_table_grants
                        WHERE table_name = 'task' AND grantee <> current_user)
                   ); END $$";
    assert_concurrent_writes_succeed(setting).await;
}

#[tokio::test]
async fn a_conflict_that_does_not_end_is_a_503_in_time() {
    let database = TestDatabase::migrated().await;
    let (user_id, token) = register(&database.environment).await;
    for (code, retried) in [("40001", true), ("40003", false), ("23514", false)] {
        // Counts the attempts beyond the transaction, in a sequence.
        let trigger = format!(
            "CREATE SEQUENCE IF NOT EXISTS attempts;
             ALTER SEQUENCE attempts RESTART;
             GRANT USAGE ON SEQUENCE attempts TO PUBLIC;
             CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM nextval('public.attempts');
                 RAISE EXCEPTION 'a conflict' USING ERRCODE = '{code}';
             END $$;
             CREATE OR REPLACE TRIGGER conflict BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION conflict()"
        );
        database.owner.batch_execute(&trigger).await;
        let function = Function::start("create-task", &database.environment).await;
        let request = HttpEvent::new("POST", TASKS, &[&user_id]).bearer(&token);
        let request = request.json(&json!({"title": "a"}));
        let response = function.http(&request).await;
        let log = function.stop().await;
        let attempts = "SELECT last_value FROM attempts";
        let attempts = database.owner.query_one(attempts, &[]).await["last_value"].as_u64();
        if retried {
            response.assert_unavailable();
            assert!(attempts > Some(2), "{code}: {attempts:?} attempts");
        } else {
            assert!(response.status >= 500, "{response:?}");
            assert_eq!(attempts, Some(1), "{code}");
        }
        assert!(log.contains(&format!("SQLSTATE {code}")), "{log}");
    }
    database.drop().await;
}

#[tokio::test]
async fn a_deadlock_is_resolved_and_the_write_is_done() {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let case = fixtures.route_case(route("update-task")).await;
    let function = Function::start("update-task", &database.environment).await;
    // The function's statement locks the task and then another row; the test does it the other way round.
    let trigger = "CREATE TABLE other AS SELECT 1 AS id;
                   CREATE FUNCTION lock_other() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
                   BEGIN
                       PERFORM FROM public.other FOR UPDATE;
                       RETURN NULL;
                   END $$;
                   CREATE TRIGGER lock_other AFTER UPDATE ON task FOR EACH ROW
                   WHEN (NEW.title = 'changed') EXECUTE FUNCTION lock_other()";
    database.owner.batch_execute(trigger).await;
    let other = database.connect().await;
    let lock = "BEGIN; SELECT FROM other FOR UPDATE";
    other.batch_execute(lock).await;
    let close_the_circle = async {
        database.wait_for_blocked_statements(1).await;
        // The server ends the side that has waited for longer, which is the function's unless this machine is very slow.
        let update = "DO $$ BEGIN
                          UPDATE task SET description = 'by hand';
                      EXCEPTION WHEN deadlock_detected THEN NULL;
                      END $$;
                      COMMIT";
        other.batch_execute(update).await;
    };
    let request = case.request();
    let (response, ()) = tokio::join!(function.http(&request), close_the_circle);
    assert_eq!(
        (response.status, &response.body["title"]),
        (200, &json!("changed")),
        "{}",
        function.output()
    );
    database.drop().await;
}

/// The `updated_at` of the only row of a table.
async fn updated_at(database: &TestDatabase, table: &str) -> String {
    let updated_at = format!("SELECT updated_at FROM {table}");
    let row = database.owner.query_one(&updated_at, &[]).await;
    row["updated_at"].as_str().expect("a time").to_owned()
}

#[tokio::test]
async fn an_update_that_began_earlier_and_ends_later_has_the_later_time() {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let case = fixtures.route_case(route("update-task")).await;
    let function = Function::start("update-task", &database.environment).await;
    // The function's transaction has begun when it waits for this lock.
    let other = database.lock_table("session").await;
    let between = async {
        database.wait_for_blocked_statements(1).await;
        let update = "UPDATE task SET description = 'by hand'";
        database.owner.batch_execute(update).await;
        let between = updated_at(&database, "task").await;
        other.batch_execute("COMMIT").await;
        between
    };
    let request = case.request();
    let (response, between) = tokio::join!(function.http(&request), between);
    assert_eq!(response.status, 200, "{response:?}");
    let after = updated_at(&database, "task").await;
    assert!(after > between, "{between} {after}");

    // The same for an account's row.
    let [first, second] = [database.connect().await, database.connect().await];
    first.batch_execute("BEGIN; SELECT now()").await;
    let update = "UPDATE \"user\" SET hashed_password = hashed_password || 'a'";
    second.batch_execute(update).await;
    let between = updated_at(&database, "\"user\"").await;
    first.batch_execute(update).await;
    first.batch_execute("COMMIT").await;
    let after = updated_at(&database, "\"user\"").await;
    assert!(after > between, "{between} {after}");
    database.drop().await;
}

#[tokio::test]
async fn updated_at_never_goes_backwards_under_concurrent_updates() {
    let database = TestDatabase::migrated().await;
    let record = "CREATE TABLE step (table_name name, old timestamp, new timestamp);
                  CREATE FUNCTION record_step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
                  BEGIN
                      INSERT INTO public.step VALUES (TG_TABLE_NAME, OLD.updated_at, NEW.updated_at);
                      RETURN NULL;
                  END $$;
                  CREATE TRIGGER record_step AFTER UPDATE ON task
                  FOR EACH ROW EXECUTE FUNCTION record_step();
                  CREATE TRIGGER record_step AFTER UPDATE ON \"user\"
                  FOR EACH ROW EXECUTE FUNCTION record_step()";
    database.owner.batch_execute(record).await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let (environment, complete) = (&database.environment, route("complete-task"));
    let case = fixtures.route_case(complete).await;
    let statuses = send_at_once(complete.function, environment, 25, &case.request()).await;
    assert_eq!(statuses, [200; 100]);
    // A row whose time lies ahead, as after the clock of the server was set back.
    let ahead = "ALTER TABLE task DISABLE TRIGGER update_task_updated_at;
                 UPDATE task SET updated_at = updated_at + interval '1 day';
                 ALTER TABLE task ENABLE TRIGGER update_task_updated_at";
    database.owner.batch_execute(ahead).await;
    let statuses = send_at_once(complete.function, environment, 5, &case.request()).await;
    assert_eq!(statuses, [200; 20]);

    let change = fixtures.route_case(route("change-password")).await;
    send_at_once("change-password", environment, 2, &change.request()).await;
    let steps = "SELECT count(*) FILTER (WHERE table_name = 'task') AS tasks,
                        count(*) FILTER (WHERE table_name = 'user') > 0 AS has_users,
                        count(*) FILTER (WHERE new <= old) AS backwards
                 FROM step";
    assert_eq!(
        database.owner.query_one(steps, &[]).await,
        json!({"tasks": 121, "has_users": true, "backwards": 0})
    );
    database.drop().await;
}
