//! Taking over a database of the service that this one replaces, and giving it back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::database::TestDatabase;
use tests::function::{Environment, Function, HttpEvent, HttpResponse, run, spawn};
use tests::legacy::{LONG_PASSWORD, LegacySchema, PASSWORD};
use tests::{token, unique};
use tokio::time::{sleep, timeout};

async fn former_database(former: LegacySchema, users: u32) -> TestDatabase {
    let own = TestDatabase::empty().await;
    own.owner.batch_execute(&former.tables()).await;
    own.owner.batch_execute(&former.rows(users)).await;
    own
}

/// Runs the migrations, which must succeed, and gives what they say.
async fn migrate(own: &TestDatabase) -> String {
    let output = run("migrate", &[], &own.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    output.text
}

async fn verify(own: &TestDatabase) {
    let output = run("migrate", &["--verify"], &own.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
}

async fn rows(own: &TestDatabase, table: &str) -> Vec<Value> {
    let query = format!("SELECT * FROM \"{table}\" ORDER BY id");
    own.owner.query(&query, &[]).await
}

async fn sequences(own: &TestDatabase) -> Vec<Value> {
    let query = "SELECT last_value, is_called FROM user_id_seq
                 UNION ALL SELECT last_value, is_called FROM task_id_seq";
    own.owner.query(query, &[]).await
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().expect("a text")
}

/// What becomes of the former service's users.
fn adopted_users(mut users: Vec<Value>) -> Vec<Value> {
    let mut seen = Vec::new();
    for user in &mut users {
        let key = text(user, "email").to_lowercase();
        user["email_key"] = if seen.contains(&key) {
            Value::Null
        } else {
            json!(key)
        };
        seen.push(key);
    }
    users
}

/// What becomes of its tasks.
fn adopted_tasks(mut tasks: Vec<Value>) -> Vec<Value> {
    for task in &mut tasks {
        task["priority"] = match text(task, "priority").to_lowercase().as_str() {
            "high" => json!("High"),
            "medium" => json!("Medium"),
            "low" => json!("Low"),
            other => panic!("{other}"),
        };
    }
    tasks
}

/// What becomes of its sessions, by their names. Their ids may change.
fn adopted_sessions(tables: Vec<Vec<Value>>) -> BTreeMap<String, Value> {
    let mut sessions = BTreeMap::<String, Value>::new();
    for mut session in tables.into_iter().flatten() {
        session["id"].take();
        let name = text(&session, "token_jti").to_owned();
        let revoked = session["revoked"] == true
            || sessions
                .get(&name)
                .is_some_and(|other| other["revoked"] == true);
        session["revoked"] = revoked.into();
        session["revoked_at"] = if revoked {
            json!("2025-08-03T00:00:00")
        } else {
            Value::Null
        };
        sessions.insert(name, session);
    }
    sessions
}

#[tokio::test]
async fn every_shape_of_the_former_service_is_adopted_and_no_row_is_lost() {
    for former in LegacySchema::all() {
        let own = former_database(former, 20).await;
        let users = adopted_users(rows(&own, "user").await);
        let tasks = adopted_tasks(rows(&own, "task").await);
        let mut sessions = Vec::new();
        for table in former.sessions {
            sessions.push(rows(&own, table).await);
        }
        let sessions = adopted_sessions(sessions);
        let positions = sequences(&own).await;

        let output = migrate(&own).await;
        assert!(
            output.contains("Applied V1__schema"),
            "{former:?}: {output}"
        );
        assert!(
            output.contains("the users 5, 6, 9 differ by case alone"),
            "{former:?}: {output}"
        );

        assert_eq!(rows(&own, "user").await, users, "{former:?}");
        assert_eq!(rows(&own, "task").await, tasks, "{former:?}");
        let found = adopted_sessions(vec![rows(&own, "session").await]);
        assert_eq!(found, sessions, "{former:?}");
        assert_eq!(sequences(&own).await, positions, "{former:?}");
        let others =
            "SELECT typname FROM pg_type WHERE typname IN ('priorityenum', 'user_sessions')";
        assert_eq!(
            own.owner.query(others, &[]).await,
            [] as [Value; 0],
            "{former:?}"
        );
        verify(&own).await;

        let output = migrate(&own).await;
        assert!(output.starts_with("Nothing to do"), "{former:?}: {output}");
        assert_eq!(rows(&own, "user").await, users, "{former:?}");
        own.drop().await;
    }
}

#[tokio::test]
async fn tables_without_rows_are_adopted() {
    let own = TestDatabase::empty().await;
    own.owner
        .batch_execute(&LegacySchema::all()[6].tables())
        .await;
    migrate(&own).await;
    verify(&own).await;
    // There is nobody to keep a former password of.
    let kept = "SELECT to_regclass('former_password') IS NOT NULL AS kept";
    assert_eq!(own.owner.query_one(kept, &[]).await, json!({"kept": false}));
    own.drop().await;
}

async fn log_in(login: &Function, email: &str, password: &str) -> HttpResponse {
    let body = json!({"email": email, "password": password});
    login
        .http(&HttpEvent::new("POST", "/api/auth/login", &[]).json(&body))
        .await
}

#[tokio::test]
async fn every_adopted_user_logs_in_and_is_given_a_new_hash() {
    let own = former_database(LegacySchema::USUAL, 1).await;
    migrate(&own).await;
    let login = Function::start("login", &own.environment).await;
    for (email, password, id) in [
        ("ada@example.com", PASSWORD, "3"),
        ("ADA@example.com", PASSWORD, "3"),
        ("Bob@Example.com", PASSWORD, "5"),
        ("bob@example.com", PASSWORD, "6"),
        ("BOB@EXAMPLE.COM", PASSWORD, "9"),
        ("", PASSWORD, "11"),
        ("not an address", PASSWORD, "12"),
        ("grösse@exämple.de", PASSWORD, "13"),
        ("long@example.com", LONG_PASSWORD, "14"),
        ("user1@example.com", PASSWORD, "101"),
    ] {
        // The first by the former hash, the second by the new one.
        for _ in 0..2 {
            let answer = log_in(&login, email, password).await;
            assert_eq!(
                (answer.status, &answer.body["user_id"]),
                (200, &json!(id)),
                "{email}"
            );
        }
        let wrong = log_in(&login, email, "another password").await;
        assert_eq!(wrong.status, 401, "{email}");
    }
    let hashes = "SELECT count(*) AS users, count(*) FILTER (WHERE hashed_password LIKE '$argon2id$%') AS rehashed
                  FROM \"user\"";
    assert_eq!(
        own.owner.query_one(hashes, &[]).await,
        json!({"users": 9, "rehashed": 9})
    );
    own.drop().await;
}

#[tokio::test]
async fn of_addresses_that_differ_by_case_only_the_exact_spellings_are_known_and_none_can_be_added()
{
    let own = former_database(LegacySchema::USUAL, 0).await;
    migrate(&own).await;
    let login = Function::start("login", &own.environment).await;
    let register = Function::start("register", &own.environment).await;
    let register = async |email: &str| {
        let body = json!({"username": unique(), "email": email, "password": PASSWORD});
        register
            .http(&HttpEvent::new("POST", "/api/auth/register", &[]).json(&body))
            .await
    };
    let third = "bOb@example.com";
    assert_eq!(log_in(&login, third, PASSWORD).await.status, 401);
    assert_eq!(register(third).await.status, 409);

    // The account that has the key goes, and the next one has it.
    own.owner
        .execute("DELETE FROM \"user\" WHERE id = 5", &[])
        .await;
    assert_eq!(register(third).await.status, 409);
    assert_eq!(log_in(&login, third, PASSWORD).await.status, 401);
    own.owner
        .execute("DELETE FROM \"user\" WHERE id = 9", &[])
        .await;
    // One is left, and has the address in every spelling.
    assert_eq!(log_in(&login, third, PASSWORD).await.body["user_id"], "6");
    assert_eq!(register(third).await.status, 409);
    own.owner
        .execute("DELETE FROM \"user\" WHERE id = 6", &[])
        .await;
    assert_eq!(register(third).await.status, 201);
    own.drop().await;
}

fn former_token(user_id: i64, session: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
        .as_secs();
    let claims = json!({"sub": user_id.to_string(), "email": "e", "username": "u", "iat": now, "exp": now + 600, "jti": session});
    let key = std::env::var("SECRET_KEY").expect("a SECRET_KEY");
    token::sign(&claims, &key)
}

#[tokio::test]
async fn tokens_of_the_former_service_keep_working_and_its_logouts_too() {
    for former in LegacySchema::all() {
        let own = former_database(former, 20).await;
        migrate(&own).await;
        let me = Function::start("me", &own.environment).await;
        let sessions = "SELECT user_id, token_jti, NOT revoked AND expires_at > now() AT TIME ZONE 'utc' AS lives
                        FROM session ORDER BY id";
        for session in own.owner.query(sessions, &[]).await {
            let user_id = session["user_id"].as_i64().expect("an id");
            let token = former_token(user_id, text(&session, "token_jti"));
            let answer = me
                .http(&HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token))
                .await;
            if session["lives"] == true {
                assert_eq!(
                    (answer.status, &answer.body["id"]),
                    (200, &json!(user_id)),
                    "{session}"
                );
            } else {
                assert_eq!(answer.status, 401, "{session}");
            }
        }
        own.drop().await;
    }
}

/// Everything in the former service's tables, in short.
async fn content(own: &TestDatabase) -> Value {
    own.owner
        .query_one(
            "SELECT (SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM \"user\" AS t) AS users,
                    (SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM task AS t) AS tasks,
                    (SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM session AS t) AS sessions",
            &[],
        )
        .await
}

/// Waits until a condition on the database holds.
async fn until(own: &TestDatabase, condition: &str) {
    let query = format!("SELECT {condition} AS holds");
    let holds = async {
        while own.owner.query_one(&query, &[]).await["holds"] == false {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(9), holds)
        .await
        .unwrap_or_else(|_| panic!("never: {condition}"));
}

/// Another session than ours in this database.
const OTHERS: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[tokio::test]
async fn a_migration_that_is_killed_changes_nothing_and_the_next_one_finishes() {
    let kill_process = "";
    let kill_connection = "SELECT pg_terminate_backend(pid) ";
    for kill in [kill_process, kill_connection] {
        let own = former_database(LegacySchema::USUAL, 100).await;
        let before = content(&own).await;
        // It stops close to its end, with everything changed, since it waits for what another may be about to create.
        let other = own.connect().await;
        other.batch_execute("BEGIN; CREATE FUNCTION set_user_email_key() RETURNS integer LANGUAGE sql AS 'SELECT 1'").await;
        let mut process = spawn("migrate", &own.environment);
        until(
            &own,
            &format!("EXISTS (SELECT {OTHERS} AND wait_event_type = 'Lock')"),
        )
        .await;
        if kill == kill_process {
            process.start_kill().expect("a process");
        } else {
            own.owner
                .query(
                    &format!("{kill} {OTHERS} AND wait_event_type = 'Lock'"),
                    &[],
                )
                .await;
        }
        let status = process.wait().await.expect("an end");
        assert!(!status.success(), "{status}");
        drop(other);
        until(&own, &format!("NOT EXISTS (SELECT {OTHERS})")).await;
        assert_eq!(content(&own).await, before);
        assert!(run("migrate", &["--verify"], &own.environment).await.status == Some(1));

        migrate(&own).await;
        verify(&own).await;
        own.drop().await;
    }
}

#[tokio::test]
async fn a_table_that_is_in_use_stops_a_migration_in_time_and_without_a_change() {
    let own = former_database(LegacySchema::USUAL, 1).await;
    let before = content(&own).await;
    own.owner.batch_execute("BEGIN; SELECT FROM task").await;
    let output = run("migrate", &[], &own.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("idle in a transaction"),
        "{}",
        output.text
    );
    own.owner.batch_execute("ROLLBACK").await;
    assert_eq!(content(&own).await, before);
    migrate(&own).await;
    own.drop().await;
}

#[tokio::test]
async fn a_view_that_keeps_a_column_from_changing_is_named_and_nothing_is_changed() {
    let own = former_database(LegacySchema::USUAL, 1).await;
    let before = content(&own).await;
    own.owner
        .batch_execute("CREATE VIEW urgent AS SELECT id FROM task WHERE priority = 'HIGH'")
        .await;
    let output = run("migrate", &[], &own.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("on view urgent depends on column"),
        "{}",
        output.text
    );
    assert_eq!(content(&own).await, before);
    own.drop().await;
}

#[tokio::test]
async fn what_an_operator_added_to_the_sessions_goes_with_them() {
    let own = former_database(LegacySchema::all()[6], 10).await;
    own.owner
        .batch_execute(
            "ALTER TABLE session ALTER token TYPE varchar(255) USING md5(token);
             ALTER TABLE user_sessions ADD COLUMN device text;
             UPDATE user_sessions SET device = 'device of ' || token_jti;
             UPDATE user_sessions SET token = session.token FROM session
             WHERE session.id = user_sessions.id AND session.token_jti <> user_sessions.token_jti
               AND NOT EXISTS (SELECT FROM user_sessions AS other WHERE other.token = session.token);",
        )
        .await;
    let sessions = "SELECT token_jti, token, device FROM user_sessions ORDER BY token_jti";
    let before = own.owner.query(sessions, &[]).await;
    migrate(&own).await;
    verify(&own).await;
    let sessions =
        "SELECT token_jti, token, device FROM session WHERE device IS NOT NULL ORDER BY token_jti";
    let after = own.owner.query(sessions, &[]).await;
    let alone = |rows: &[Value]| -> Vec<Value> {
        rows.iter()
            .filter(|row| text(row, "token_jti").ends_with("user_sessions"))
            .cloned()
            .collect()
    };
    assert_eq!(alone(&after), alone(&before));
    assert!(!alone(&after).is_empty());
    own.drop().await;
}

#[tokio::test]
async fn a_hundred_thousand_tasks_are_adopted_in_ten_seconds() {
    let own = former_database(LegacySchema::all()[6], 21_700).await;
    let tasks = own.owner.query_one("SELECT count(*) FROM task", &[]).await;
    assert!(tasks["count"].as_u64() > Some(100_000), "{tasks}");
    let started = Instant::now();
    migrate(&own).await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        own.owner.query_one("SELECT count(*) FROM task", &[]).await,
        tasks
    );
    own.drop().await;
}

/// The columns and keys of the former service's tables, wherever they stand.
async fn shape(own: &TestDatabase) -> Vec<Value> {
    let query = "
        SELECT attrelid::regclass::text AS relation, attname::text AS name,
               format('%s %s %s', format_type(atttypid, atttypmod), attnotnull, regexp_replace(pg_get_expr(adbin, adrelid), '''.*''', ''))
                   AS is
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid IN ('\"user\"'::regclass, 'task'::regclass, 'session'::regclass, 'user_sessions'::regclass)
          AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT conrelid::regclass::text, '', pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'f', 'u')
        UNION ALL
        SELECT typname::text, enumlabel::text, enumsortorder::text
        FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid
        ORDER BY 1, 2, 3";
    own.owner.query(query, &[]).await
}

#[tokio::test]
async fn the_way_back_restores_the_former_shape_with_the_new_rows() {
    let script = tests::read("sql/restore_former_schema.sql");
    for former in LegacySchema::all() {
        let own = former_database(former, 3).await;
        let before = rows(&own, "user").await;
        migrate(&own).await;

        // Life goes on: a former user logs in and is given a new hash, and a new one comes and has a task.
        let login = Function::start("login", &own.environment).await;
        assert_eq!(
            log_in(&login, "ada@example.com", PASSWORD).await.status,
            200
        );
        let (new_id, token) = tests::fixtures::register(&own.environment).await;
        let create = Function::start("create-task", &own.environment).await;
        let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&new_id]).bearer(&token);
        let task = create
            .http(&request.json(&json!({"title": "new", "priority": "Low"})))
            .await;
        assert_eq!(task.status, 201, "{:?}", task.body);
        let users = rows(&own, "user").await;
        let (tasks, sessions) = (rows(&own, "task").await, rows(&own, "session").await);

        own.owner.batch_execute(&script).await;

        let restored = rows(&own, "user").await;
        assert_eq!(restored.len(), before.len() + 1, "{former:?}");
        for (restored, before) in restored.iter().zip(&before) {
            for column in ["id", "username", "email", "hashed_password", "created_at"] {
                assert_eq!(restored[column], before[column], "{former:?}");
            }
        }
        let restored_tasks = rows(&own, "task").await;
        assert_eq!(adopted_tasks(restored_tasks.clone()), tasks, "{former:?}");
        assert_eq!(restored_tasks.last().expect("a task")["priority"], "LOW");
        assert_eq!(
            rows(&own, "session").await.len(),
            sessions.len(),
            "{former:?}"
        );
        assert_eq!(
            adopted_sessions(vec![rows(&own, "user_sessions").await]).len(),
            sessions.len(),
            "{former:?}"
        );
        let fresh = TestDatabase::empty().await;
        let as_before = LegacySchema {
            sessions: &["session", "user_sessions"],
            constraints: true,
            ..LegacySchema::USUAL
        };
        fresh.owner.batch_execute(&as_before.tables()).await;
        let with_constraints = |shape: Vec<Value>| -> Vec<Value> {
            // An index of the former service's serves as well as a constraint.
            let is_unique = |row: &Value| text(row, "is").starts_with("UNIQUE");
            shape.into_iter().filter(|row| !is_unique(row)).collect()
        };
        assert_eq!(
            with_constraints(shape(&own).await),
            with_constraints(shape(&fresh).await),
            "{former:?}"
        );
        fresh.drop().await;

        // And forward again.
        migrate(&own).await;
        verify(&own).await;
        let again = rows(&own, "user").await;
        assert_eq!(again.len(), users.len(), "{former:?}");
        assert_eq!(rows(&own, "task").await, tasks, "{former:?}");
        let me = Function::start("me", &own.environment).await;
        let answer = me
            .http(&HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token))
            .await;
        assert_eq!(
            (answer.status, answer.body["id"].to_string()),
            (200, new_id),
            "{former:?}"
        );
        own.drop().await;
    }
}

#[tokio::test]
async fn a_function_on_a_database_that_is_not_yet_adopted_is_unavailable() {
    let own = former_database(LegacySchema::USUAL, 1).await;
    let login = Function::start("login", &own.environment).await;
    assert_eq!(
        log_in(&login, "ada@example.com", PASSWORD).await.status,
        503
    );
    let before: Environment = own.environment.clone();
    assert_eq!(
        run("migrate", &["--if-empty"], &before).await.status,
        Some(0)
    );
    assert_eq!(
        log_in(&login, "ada@example.com", PASSWORD).await.status,
        503
    );
    migrate(&own).await;
    assert_eq!(
        log_in(&login, "ada@example.com", PASSWORD).await.status,
        200
    );
    own.drop().await;
}
