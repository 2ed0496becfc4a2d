//! The adoption of a legacy database, and the rollback to the legacy schema.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::database::TestDatabase;
use tests::fixtures::register;
use tests::function::{Environment, Function, HttpEvent, HttpResponse, run, spawn};
use tests::legacy::{LONG_PASSWORD, LegacySchema, PASSWORD};
use tests::{token, unique};
use tokio::time::{sleep, timeout};

async fn legacy_database(schema: LegacySchema, users: u32) -> TestDatabase {
    let database = TestDatabase::empty().await;
    database.owner.batch_execute(&schema.create_tables()).await;
    database
        .owner
        .batch_execute(&schema.insert_rows(users))
        .await;
    database
}

/// Runs the migrations, asserts success, and returns the output.
async fn migrate(database: &TestDatabase) -> String {
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    output.text
}

async fn verify(database: &TestDatabase) {
    let output = run("migrate", &["--verify"], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
}

async fn rows(database: &TestDatabase, table: &str) -> Vec<Value> {
    let query = format!("SELECT * FROM \"{table}\" ORDER BY id");
    let rows = database.owner.query(&query, &[]).await;
    rows.into_iter().map(without_nulls).collect()
}

/// Without the members that are null, and without versions: migrations have added such columns.
fn without_nulls(mut row: Value) -> Value {
    if let Some(members) = row.as_object_mut() {
        members.retain(|name, value| !value.is_null() && name != "version");
    }
    row
}

/// The last values of the sequences.
async fn sequences(database: &TestDatabase) -> [i64; 2] {
    let query = "SELECT (SELECT last_value FROM user_id_seq) AS users, (SELECT last_value FROM task_id_seq) AS tasks";
    let values = database.owner.query_one(query, &[]).await;
    ["users", "tasks"].map(|name| values[name].as_i64().expect("a number"))
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().expect("a text")
}

/// The expected users after the adoption.
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
    users.into_iter().map(without_nulls).collect()
}

/// The expected tasks after the adoption.
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

/// The expected sessions after the adoption, by `token_jti` and without ids, which can change.
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
        sessions.insert(name, without_nulls(session));
    }
    sessions
}

#[tokio::test]
async fn every_legacy_schema_is_adopted_without_losing_rows() {
    for schema in LegacySchema::all() {
        let database = legacy_database(schema, 20).await;
        let users = adopted_users(rows(&database, "user").await);
        let tasks = adopted_tasks(rows(&database, "task").await);
        let mut sessions = Vec::new();
        for table in schema.session_tables {
            sessions.push(rows(&database, table).await);
        }
        let sessions = adopted_sessions(sessions);
        let positions = sequences(&database).await;

        let output = migrate(&database).await;
        assert!(
            output.contains("Applied V1__schema"),
            "{schema:?}: {output}"
        );
        assert!(
            output.contains("the users 5, 6, 9 differ by case alone"),
            "{schema:?}: {output}"
        );

        assert_eq!(rows(&database, "user").await, users, "{schema:?}");
        assert_eq!(rows(&database, "task").await, tasks, "{schema:?}");
        let found = adopted_sessions(vec![rows(&database, "session").await]);
        assert_eq!(found, sessions, "{schema:?}");
        // They advance, because the verification runs the statements of the functions.
        let found = sequences(&database).await;
        assert!(
            std::iter::zip(found, positions)
                .all(|(found, before)| (before..before + 5).contains(&found)),
            "{schema:?}: {found:?} {positions:?}"
        );
        let others =
            "SELECT typname FROM pg_type WHERE typname IN ('priorityenum', 'user_sessions')";
        assert_eq!(
            database.owner.query(others, &[]).await,
            [] as [Value; 0],
            "{schema:?}"
        );
        verify(&database).await;

        let output = migrate(&database).await;
        assert!(output.starts_with("Nothing to do"), "{schema:?}: {output}");
        assert_eq!(rows(&database, "user").await, users, "{schema:?}");
        database.drop().await;
    }
}

#[tokio::test]
async fn empty_legacy_tables_are_adopted() {
    let database = TestDatabase::empty().await;
    database
        .owner
        .batch_execute(&LegacySchema::all()[6].create_tables())
        .await;
    migrate(&database).await;
    verify(&database).await;
    // Without users the table for legacy password hashes is not created.
    let kept = "SELECT to_regclass('former_password') IS NOT NULL AS kept";
    assert_eq!(
        database.owner.query_one(kept, &[]).await,
        json!({"kept": false})
    );
    database.drop().await;
}

async fn log_in(login: &Function, email: &str, password: &str) -> HttpResponse {
    let body = json!({"email": email, "password": password});
    login
        .http(&HttpEvent::new("POST", "/api/auth/login", &[]).json(&body))
        .await
}

#[tokio::test]
async fn adopted_users_log_in_and_are_rehashed() {
    let database = legacy_database(LegacySchema::COMMON, 1).await;
    migrate(&database).await;
    let login = Function::start("login", &database.environment).await;
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
        // The first login uses the legacy hash, the second one the new hash.
        for _ in 0..2 {
            let response = log_in(&login, email, password).await;
            assert_eq!(
                (response.status, &response.body["user_id"]),
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
        database.owner.query_one(hashes, &[]).await,
        json!({"users": 9, "rehashed": 9})
    );
    database.drop().await;
}

#[tokio::test]
async fn emails_that_differ_by_case_match_exactly_and_stay_taken() {
    let database = legacy_database(LegacySchema::COMMON, 0).await;
    migrate(&database).await;
    let login = Function::start("login", &database.environment).await;
    let register = Function::start("register", &database.environment).await;
    let register = async |email: &str| {
        let body = json!({"username": unique(), "email": email, "password": PASSWORD});
        register
            .http(&HttpEvent::new("POST", "/api/auth/register", &[]).json(&body))
            .await
    };
    let third_spelling = "bOb@example.com";
    assert_eq!(log_in(&login, third_spelling, PASSWORD).await.status, 401);
    assert_eq!(register(third_spelling).await.status, 409);

    // User 5, who has the key, is deleted. Another user gets the key.
    database
        .owner
        .execute("DELETE FROM \"user\" WHERE id = 5", &[])
        .await;
    assert_eq!(register(third_spelling).await.status, 409);
    assert_eq!(log_in(&login, third_spelling, PASSWORD).await.status, 401);
    database
        .owner
        .execute("DELETE FROM \"user\" WHERE id = 9", &[])
        .await;
    // The last of the three users has the address in every spelling.
    assert_eq!(
        log_in(&login, third_spelling, PASSWORD).await.body["user_id"],
        "6"
    );
    assert_eq!(register(third_spelling).await.status, 409);
    database
        .owner
        .execute("DELETE FROM \"user\" WHERE id = 6", &[])
        .await;
    assert_eq!(register(third_spelling).await.status, 201);
    database.drop().await;
}

fn legacy_token(user_id: i64, session: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
        .as_secs();
    let claims = json!({"sub": user_id.to_string(), "email": "e", "username": "u", "iat": now, "exp": now + 600, "jti": session});
    let key = std::env::var("SECRET_KEY").expect("a SECRET_KEY");
    token::sign(&claims, &key)
}

#[tokio::test]
async fn legacy_tokens_and_logouts_stay_valid() {
    for schema in LegacySchema::all() {
        let database = legacy_database(schema, 20).await;
        migrate(&database).await;
        let me = Function::start("me", &database.environment).await;
        let sessions = "SELECT user_id, token_jti, NOT revoked AND expires_at > now() AT TIME ZONE 'utc' AS lives
                        FROM session ORDER BY id";
        for session in database.owner.query(sessions, &[]).await {
            let user_id = session["user_id"].as_i64().expect("an id");
            let token = legacy_token(user_id, text(&session, "token_jti"));
            let response = me
                .http(&HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token))
                .await;
            if session["lives"] == true {
                assert_eq!(
                    (response.status, &response.body["id"]),
                    (200, &json!(user_id)),
                    "{session}"
                );
            } else {
                assert_eq!(response.status, 401, "{session}");
            }
        }
        database.drop().await;
    }
}

/// Hashes of all rows in the legacy tables.
async fn table_hashes(database: &TestDatabase) -> Value {
    database.owner
        .query_one(
            "SELECT (SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM \"user\" AS t) AS users,
                    (SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM task AS t) AS tasks,
                    (SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM session AS t) AS sessions",
            &[],
        )
        .await
}

/// Waits until an SQL condition holds.
async fn wait_until(database: &TestDatabase, condition: &str) {
    let query = format!("SELECT {condition} AS holds");
    let holds = async {
        while database.owner.query_one(&query, &[]).await["holds"] == false {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_mins(1), holds)
        .await
        .unwrap_or_else(|_| panic!("this never holds: {condition}"));
}

/// The other sessions in this database.
const OTHER_SESSIONS: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[tokio::test]
async fn a_killed_migration_rolls_back_and_can_be_repeated() {
    let kill_process = "";
    let kill_connection = "SELECT pg_terminate_backend(pid) ";
    for kill in [kill_process, kill_connection] {
        let database = legacy_database(LegacySchema::COMMON, 100).await;
        let before = table_hashes(&database).await;
        // The migration makes almost all changes, and then waits for a function that another session is creating.
        let other = database.connect().await;
        other.batch_execute("BEGIN; CREATE FUNCTION set_user_email_key() RETURNS integer LANGUAGE sql AS 'SELECT 1'").await;
        let mut process = spawn("migrate", &database.environment);
        wait_until(
            &database,
            &format!("EXISTS (SELECT {OTHER_SESSIONS} AND wait_event_type = 'Lock')"),
        )
        .await;
        if kill == kill_process {
            process.start_kill().expect("a process");
        } else {
            database
                .owner
                .query(
                    &format!("{kill} {OTHER_SESSIONS} AND wait_event_type = 'Lock'"),
                    &[],
                )
                .await;
        }
        let status = process.wait().await.expect("an end");
        assert!(!status.success(), "{status}");
        drop(other);
        wait_until(&database, &format!("NOT EXISTS (SELECT {OTHER_SESSIONS})")).await;
        assert_eq!(table_hashes(&database).await, before);
        assert!(
            run("migrate", &["--verify"], &database.environment)
                .await
                .status
                == Some(1)
        );

        migrate(&database).await;
        verify(&database).await;
        database.drop().await;
    }
}

#[tokio::test]
async fn a_locked_table_fails_the_migration_without_changes() {
    let database = legacy_database(LegacySchema::COMMON, 1).await;
    let before = table_hashes(&database).await;
    database
        .owner
        .batch_execute("BEGIN; SELECT FROM task")
        .await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("idle in a transaction"),
        "{}",
        output.text
    );
    database.owner.batch_execute("ROLLBACK").await;
    assert_eq!(table_hashes(&database).await, before);
    migrate(&database).await;
    database.drop().await;
}

/// What other programs and people add to a legacy database, and what the refusal says of each.
const OBSTACLES: [(&str, &[&str]); 17] = [
    (
        "CREATE VIEW urgent AS SELECT id FROM task WHERE priority = 'HIGH'",
        &[
            "view urgent uses the column task.priority, whose type the migration changes",
            "view urgent uses the type priorityenum",
        ],
    ),
    (
        "CREATE VIEW priorities AS SELECT id, priority FROM task; CREATE MATERIALIZED VIEW notes AS SELECT description FROM task",
        &[
            "view priorities uses the column task.priority",
            "materialized view notes uses the column task.description",
        ],
    ),
    (
        "CREATE TABLE project (priority priorityenum, all_of_them priorityenum[])",
        &[
            "column priority of table project uses the type priorityenum, which the migration removes",
            "column all_of_them of table project uses the type priorityenum",
        ],
    ),
    (
        "CREATE INDEX urgent ON task (id) WHERE priority = 'HIGH'",
        &["index urgent uses the type priorityenum"],
    ),
    (
        "ALTER TABLE task ADD CONSTRAINT known_labels CHECK (priority IN ('LOW', 'MEDIUM', 'HIGH'))",
        &["constraint known_labels on table task uses the "],
    ),
    (
        "ALTER TABLE task ADD CONSTRAINT known_texts CHECK (priority::text IN ('HIGH', 'MEDIUM', 'LOW'))",
        &["constraint known_texts on table task uses the column task.priority"],
    ),
    (
        "CREATE FUNCTION raise_priority(priorityenum) RETURNS priorityenum LANGUAGE sql RETURN $1",
        &["function raise_priority(priorityenum) uses the type priorityenum"],
    ),
    (
        "CREATE DOMAIN importance AS priorityenum",
        &["type importance uses the type priorityenum"],
    ),
    (
        "CREATE TABLE project (name text DEFAULT 'HIGH'::priorityenum::text)",
        &["default value for column name of table project uses the type priorityenum"],
    ),
    (
        "CREATE TYPE pair AS (one priorityenum, two integer); CREATE CAST (priorityenum AS text) WITH INOUT",
        &["column one of composite type pair uses", "cast from priorityenum to text uses"],
    ),
    (
        "CREATE TABLE copies (task task)",
        &["column task of table copies uses the row type of the table task"],
    ),
    (
        "CREATE RULE log AS ON UPDATE TO task WHERE old.priority = 'HIGH' DO ALSO NOTHING",
        &["rule log on table task uses the column task.priority"],
    ),
    (
        "ALTER TABLE task ENABLE ROW LEVEL SECURITY; CREATE POLICY tagged ON task USING (tags IS NOT NULL)",
        &["policy tagged on table task uses the column task.tags"],
    ),
    (
        "ALTER TABLE task ADD COLUMN words integer GENERATED ALWAYS AS (length(description)) STORED",
        &["words of table task uses the column task.description"],
    ),
    (
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER retagged BEFORE UPDATE OF tags ON task FOR EACH ROW EXECUTE FUNCTION nothing()",
        &["trigger retagged on table task uses the column task.tags"],
    ),
    (
        "CREATE TABLE attempt (id integer); CREATE FUNCTION set_user_email_key() RETURNS integer LANGUAGE sql RETURN 1",
        &[
            "table attempt has the name of a table that the migrations create",
            "the function public.set_user_email_key() exists",
        ],
    ),
    (
        "CREATE VIEW active_session AS SELECT 1 AS id; CREATE INDEX idx_task_user_id ON \"user\" (id);
         CREATE TYPE priority_enum AS ENUM ('a')",
        &[
            "view active_session has the name of a view that the migrations create",
            "index idx_task_user_id has the name of an index that the migrations create",
            "the type public.priority_enum has the name of one that the migrations create",
        ],
    ),
];

/// The names of all objects of the schema.
async fn object_names(database: &TestDatabase) -> Vec<Value> {
    let query =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1";
    database.owner.query(query, &[]).await
}

#[tokio::test]
async fn what_is_in_the_way_is_named_before_anything_changes() {
    for (change, obstacles) in OBSTACLES {
        let database = legacy_database(LegacySchema::COMMON, 1).await;
        database.owner.batch_execute(change).await;
        let before = (table_hashes(&database).await, object_names(&database).await);
        let output = run("migrate", &[], &database.environment).await;
        assert_eq!(output.status, Some(1), "{change}: {}", output.text);
        assert!(
            output.text.contains("nothing was changed"),
            "{change}: {}",
            output.text
        );
        for obstacle in obstacles {
            assert!(
                output.text.contains(obstacle),
                "{change}: {obstacle} is not in: {}",
                output.text
            );
        }
        assert_eq!(
            (table_hashes(&database).await, object_names(&database).await),
            before,
            "{change}"
        );
        database.drop().await;
    }
}

#[tokio::test]
async fn indexes_and_other_objects_do_not_stop_the_adoption() {
    let database = legacy_database(LegacySchema::all()[6], 5).await;
    database
        .owner
        .batch_execute(
            "CREATE INDEX by_priority ON task (priority, description); CREATE STATISTICS tagged ON tags, priority FROM task;
             CREATE VIEW titles AS SELECT id, title FROM task; CREATE TYPE colour AS ENUM ('red');
             CREATE INDEX idx_task_user_id ON task (user_id); CREATE SCHEMA other; CREATE TABLE other.attempt (id integer)",
        )
        .await;
    migrate(&database).await;
    verify(&database).await;
    database.drop().await;
}

#[tokio::test]
async fn a_type_of_another_program_stays() {
    let database = TestDatabase::empty().await;
    database
        .owner
        .batch_execute("CREATE TYPE priorityenum AS ENUM ('a', 'b'); CREATE TABLE other (priority priorityenum)")
        .await;
    migrate(&database).await;
    verify(&database).await;
    database
        .owner
        .batch_execute("INSERT INTO other VALUES ('a')")
        .await;
    database.drop().await;
}

#[tokio::test]
async fn a_trigger_function_of_another_program_stays() {
    const FUNCTION: &str = "
        CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := 'theirs'; RETURN NEW; END $$;";
    const LEGACY_TRIGGERS: &str = "
        CREATE TRIGGER update_user_updated_at BEFORE UPDATE ON \"user\" FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
        CREATE TRIGGER update_task_updated_at BEFORE UPDATE ON task FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();";
    const OTHER_TRIGGER: &str = "
        CREATE TABLE other (title text);
        CREATE TRIGGER theirs BEFORE UPDATE ON other FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();";
    let definition = "SELECT (SELECT prosrc FROM pg_proc WHERE oid = to_regproc('update_updated_at_column')) AS source";
    for (statements, stays) in [
        ([FUNCTION, "", ""], true),
        ([FUNCTION, "", OTHER_TRIGGER], true),
        ([FUNCTION, LEGACY_TRIGGERS, OTHER_TRIGGER], true),
        ([FUNCTION, LEGACY_TRIGGERS, ""], false),
    ] {
        let database = legacy_database(LegacySchema::COMMON, 1).await;
        database.owner.batch_execute(&statements.concat()).await;
        let before = database.owner.query_one(definition, &[]).await;
        migrate(&database).await;
        verify(&database).await;
        let expected = if stays {
            before
        } else {
            json!({"source": null})
        };
        assert_eq!(
            database.owner.query_one(definition, &[]).await,
            expected,
            "{statements:?}"
        );
        database.drop().await;
    }
}

#[tokio::test]
async fn columns_added_to_sessions_are_kept() {
    let database = legacy_database(LegacySchema::all()[6], 10).await;
    database.owner
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
    let before = database.owner.query(sessions, &[]).await;
    migrate(&database).await;
    verify(&database).await;
    let sessions =
        "SELECT token_jti, token, device FROM session WHERE device IS NOT NULL ORDER BY token_jti";
    let after = database.owner.query(sessions, &[]).await;
    let only_in_user_sessions = |rows: &[Value]| -> Vec<Value> {
        rows.iter()
            .filter(|row| text(row, "token_jti").ends_with("user_sessions"))
            .cloned()
            .collect()
    };
    assert_eq!(
        only_in_user_sessions(&after),
        only_in_user_sessions(&before)
    );
    assert!(!only_in_user_sessions(&after).is_empty());
    database.drop().await;
}

#[tokio::test]
async fn a_hundred_thousand_tasks_are_adopted_in_a_minute() {
    let database = legacy_database(LegacySchema::all()[6], 21_700).await;
    let tasks = database
        .owner
        .query_one("SELECT count(*) FROM task", &[])
        .await;
    assert!(tasks["count"].as_u64() > Some(100_000), "{tasks}");
    let started = Instant::now();
    migrate(&database).await;
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        database
            .owner
            .query_one("SELECT count(*) FROM task", &[])
            .await,
        tasks
    );
    database.drop().await;
}

/// The columns, keys and enum labels of the legacy tables.
async fn schema_description(database: &TestDatabase) -> Vec<Value> {
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
    database.owner.query(query, &[]).await
}

#[tokio::test]
async fn the_rollback_restores_the_legacy_schema_with_new_rows() {
    let script = tests::read("sql/restore_former_schema.sql");
    for schema in LegacySchema::all() {
        let database = legacy_database(schema, 3).await;
        let before = rows(&database, "user").await;
        migrate(&database).await;

        // After the adoption a legacy user logs in and gets a new hash, and a new user creates a task.
        let login = Function::start("login", &database.environment).await;
        assert_eq!(
            log_in(&login, "ada@example.com", PASSWORD).await.status,
            200
        );
        let (new_id, token) = register(&database.environment).await;
        let create = Function::start("create-task", &database.environment).await;
        let request = HttpEvent::new("POST", "/api/{user_id}/tasks", &[&new_id]).bearer(&token);
        let task = create
            .http(&request.json(&json!({"title": "new", "priority": "Low"})))
            .await;
        assert_eq!(task.status, 201, "{:?}", task.body);
        let create_token = Function::start("create-token", &database.environment).await;
        let request = HttpEvent::new("POST", "/api/auth/tokens", &[]).bearer(&token);
        let body = json!({"name": "a", "password": tests::api::PASSWORD});
        let personal = create_token.http(&request.json(&body)).await;
        assert_eq!(personal.status, 201, "{}", personal.status);
        let personal = personal.body["access_token"].as_str().expect("a token");
        let users = rows(&database, "user").await;
        let (tasks, sessions) = (
            rows(&database, "task").await,
            rows(&database, "session").await,
        );

        database.owner.batch_execute(&script).await;

        let restored = rows(&database, "user").await;
        assert_eq!(restored.len(), before.len() + 1, "{schema:?}");
        for (restored, before) in restored.iter().zip(&before) {
            for column in ["id", "username", "email", "hashed_password", "created_at"] {
                assert_eq!(restored[column], before[column], "{schema:?}");
            }
        }
        let restored_tasks = rows(&database, "task").await;
        assert_eq!(adopted_tasks(restored_tasks.clone()), tasks, "{schema:?}");
        assert_eq!(restored_tasks.last().expect("a task")["priority"], "LOW");
        assert_eq!(
            rows(&database, "session").await.len(),
            sessions.len(),
            "{schema:?}"
        );
        assert_eq!(
            adopted_sessions(vec![rows(&database, "user_sessions").await]).len(),
            sessions.len(),
            "{schema:?}"
        );
        let fresh = TestDatabase::empty().await;
        let expected = LegacySchema {
            session_tables: &["session", "user_sessions"],
            has_constraints: true,
            ..LegacySchema::COMMON
        };
        fresh.owner.batch_execute(&expected.create_tables()).await;
        let legacy = schema_description(&fresh).await;
        let name = |row: &Value| (row["relation"].clone(), row["name"].clone());
        let legacy_names: Vec<_> = legacy.iter().map(name).collect();
        let comparable = |rows: Vec<Value>| -> Vec<Value> {
            // A schema can have unique indexes instead of constraints.
            let is_unique = |row: &Value| text(row, "is").starts_with("UNIQUE");
            // A column that a migration has added stays. It must not be required.
            let is_optional_addition = |row: &Value| {
                !legacy_names.contains(&name(row)) && !text(row, "is").ends_with(" t ")
            };
            rows.into_iter()
                .filter(|row| !is_unique(row) && !is_optional_addition(row))
                .collect()
        };
        let restored_schema = schema_description(&database).await;
        assert_eq!(
            comparable(restored_schema),
            comparable(legacy.clone()),
            "{schema:?}"
        );
        fresh.drop().await;

        // Then the database is adopted again.
        migrate(&database).await;
        verify(&database).await;
        let again = rows(&database, "user").await;
        assert_eq!(again.len(), users.len(), "{schema:?}");
        assert_eq!(rows(&database, "task").await, tasks, "{schema:?}");
        let me = Function::start("me", &database.environment).await;
        let response = me
            .http(&HttpEvent::new("GET", "/api/auth/me", &[]).bearer(&token))
            .await;
        assert_eq!(
            (response.status, response.body["id"].to_string()),
            (200, new_id),
            "{schema:?}"
        );
        // Personal tokens, which the legacy service does not know, have ended for good.
        let response = me
            .http(&HttpEvent::new("GET", "/api/auth/me", &[]).bearer(personal))
            .await;
        assert_eq!(response.status, 401, "{schema:?}");
        database.drop().await;
    }
}

#[tokio::test]
async fn a_function_is_unavailable_before_adoption() {
    let database = legacy_database(LegacySchema::COMMON, 1).await;
    let login = Function::start("login", &database.environment).await;
    assert_eq!(
        log_in(&login, "ada@example.com", PASSWORD).await.status,
        503
    );
    let before: Environment = database.environment.clone();
    assert_eq!(
        run("migrate", &["--if-empty"], &before).await.status,
        Some(0)
    );
    assert_eq!(
        log_in(&login, "ada@example.com", PASSWORD).await.status,
        503
    );
    migrate(&database).await;
    assert_eq!(
        log_in(&login, "ada@example.com", PASSWORD).await.status,
        200
    );
    database.drop().await;
}
