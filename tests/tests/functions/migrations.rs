//! Migrations, the privileges that they grant, and functions with another schema version.

use serde_json::{Value, json};
use tests::chaos_proxy::ChaosProxy;
use tests::database::{Database, TestDatabase, env_var};
use tests::fixtures::{Fixtures, register};
use tests::function::{Environment, Function, HttpEvent, run};
use tests::legacy::LegacySchema;
use tests::routes::route;
use tests::{newest_migration, skip, unique};

async fn history(database: &TestDatabase) -> Vec<Value> {
    let history = "SELECT version, name, applied_on FROM refinery_schema_history ORDER BY version";
    database.owner.query(history, &[]).await
}

#[tokio::test]
async fn an_empty_event_migrates_and_a_second_one_changes_nothing() {
    let database = TestDatabase::empty().await;
    // The function signs no tokens, so it needs no key.
    let environment = database.environment.clone().without("SECRET_KEY");
    let function = Function::start("migrate", &environment).await;
    let first = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        first["applied"].as_array().map(Vec::len),
        Some(newest_migration()),
        "{first}"
    );
    let before = history(&database).await;
    let second = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        second,
        json!({"applied": [], "schema_version": first["schema_version"]})
    );
    assert_eq!(history(&database).await, before);
    database.drop().await;
}

#[tokio::test]
async fn only_one_of_two_concurrent_runs_migrates() {
    let database = TestDatabase::empty().await;
    let (first, second) = tokio::join!(
        run("migrate", &[], &database.environment),
        run("migrate", &[], &database.environment)
    );
    assert_eq!(
        (first.status, second.status),
        (Some(0), Some(0)),
        "{first:?} {second:?}"
    );
    let mut words = [&first, &second]
        .map(|output| output.text.split(' ').next().unwrap_or_default().to_owned());
    words.sort();
    assert_eq!(words, ["Applied", "Nothing"], "{first:?} {second:?}");
    assert_eq!(history(&database).await.len(), newest_migration());
    database.drop().await;
}

#[tokio::test]
async fn a_run_that_is_out_of_time_ends_its_session() {
    let database = TestDatabase::empty().await;
    // As another run does, for longer than a test's function may take.
    let lock = "SELECT pg_advisory_lock(x'746f646f5f6d6967'::bigint)";
    database.owner.batch_execute(lock).await;
    let function = Function::start("migrate", &database.environment).await;
    let failure = function.invoke(json!({})).await.expect_err("a failure");
    assert!(failure.to_string().contains("longer than"), "{failure}");
    let others = "SELECT state, query FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let others = database.owner.query(others, &[]).await;
    assert_eq!(others, Vec::<Value>::new());
    database.drop().await;
}

#[tokio::test]
async fn if_empty_skips_a_database_with_tables() {
    let database = TestDatabase::empty().await;
    database
        .owner
        .batch_execute("CREATE TABLE task (id integer)")
        .await;
    let output = run("migrate", &["--if-empty"], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(output.text.contains("Left alone"), "{}", output.text);
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'task'";
    assert_eq!(database.owner.query(columns, &[]).await.len(), 1);

    database.owner.batch_execute("DROP TABLE task").await;
    let output = run("migrate", &["--if-empty"], &database.environment).await;
    assert!(output.text.starts_with("Applied"), "{}", output.text);
    database.drop().await;
}

#[tokio::test]
async fn a_failed_run_leaves_nothing_behind() {
    let database = TestDatabase::empty().await;
    // The rows cannot be converted, which is only known when it is tried.
    let schema = LegacySchema::COMMON;
    database
        .owner
        .batch_execute(&format!(
            "{}; {}; UPDATE \"user\" SET hashed_password = repeat('x', 300)",
            schema.create_tables(),
            schema.insert_rows(1)
        ))
        .await;
    let tables = "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1";
    let before = database.owner.query(tables, &[]).await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("a migration failed"),
        "{}",
        output.text
    );
    let function = Function::start("migrate", &database.environment).await;
    assert!(function.invoke(json!({})).await.is_err());
    assert_eq!(database.owner.query(tables, &[]).await, before);
    database.drop().await;
}

/// Tables of other programs with names of ours.
const TABLES_OF_OTHERS: [(&str, &[&str]); 7] = [
    // Better Auth
    (
        r#"CREATE TABLE "user" (id text PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, "emailVerified" boolean NOT NULL,
                                image text, "createdAt" timestamp NOT NULL, "updatedAt" timestamp NOT NULL);
           CREATE TABLE session (id text PRIMARY KEY, "expiresAt" timestamp NOT NULL, token text NOT NULL UNIQUE,
                                 "createdAt" timestamp NOT NULL, "updatedAt" timestamp NOT NULL, "ipAddress" text,
                                 "userAgent" text, "userId" text NOT NULL REFERENCES "user")"#,
        &[
            "the table public.\"user\" is not the legacy service's: it lacks the columns created_at, hashed_password, updated_at, username; it has other types: id (text instead of integer)",
            "the table public.session is not the legacy service's: it lacks the columns created_at, expires_at, revoked, token_jti, user_id; it has other types: id (text instead of integer)",
            "a database of its own",
        ],
    ),
    (
        "CREATE TABLE session (id integer)",
        &["the table public.session is not the legacy service's: it lacks the columns created_at"],
    ),
    (
        "CREATE TABLE task (id uuid PRIMARY KEY, user_id uuid, title text, done boolean)",
        &["the table public.task is not the legacy service's", "id (uuid instead of integer)"],
    ),
    (
        "CREATE VIEW \"user\" AS SELECT 1 AS id",
        &["view \"user\" has the name of a table of this service"],
    ),
    (
        "CREATE TABLE attempt (id integer)",
        &["table attempt has the name of a table that the migrations create"],
    ),
    (
        "CREATE TYPE attempt AS ENUM ('a')",
        &["the type public.attempt has the name of a table that the migrations create"],
    ),
    (
        "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255));
         INSERT INTO refinery_schema_history VALUES (1, 'initial', now()::text, '1')",
        &["the table public.refinery_schema_history holds the migrations of another program (V1__initial)"],
    ),
];

#[tokio::test]
async fn a_database_of_another_program_is_refused_unchanged() {
    let objects = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
                   UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                   ORDER BY 1";
    for (tables, sentences) in TABLES_OF_OTHERS {
        let database = TestDatabase::empty().await;
        database.owner.batch_execute(tables).await;
        let before = database.owner.query(objects, &[]).await;
        let output = run("migrate", &[], &database.environment).await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        assert!(
            output.text.contains("nothing was changed"),
            "{tables}: {}",
            output.text
        );
        for sentence in sentences {
            assert!(
                output.text.contains(sentence),
                "{tables}: {sentence} is not in: {}",
                output.text
            );
        }
        assert_eq!(database.owner.query(objects, &[]).await, before, "{tables}");
        database.drop().await;
    }
}

#[tokio::test]
async fn a_read_only_database_is_refused_with_advice() {
    let database = TestDatabase::empty().await;
    let setting = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    );
    database.owner.batch_execute(&setting).await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("default_transaction_read_only is on"),
        "{}",
        output.text
    );
    database.drop().await;
}

#[tokio::test]
async fn timeouts_of_the_role_do_not_end_a_migration() {
    let database = TestDatabase::empty().await;
    let name = database.name();
    let settings = format!(
        "ALTER DATABASE {name} SET statement_timeout = '1ms';
         ALTER ROLE CURRENT_USER IN DATABASE {name} SET lock_timeout = '2ms';
         ALTER ROLE CURRENT_USER IN DATABASE {name} SET idle_in_transaction_session_timeout = '3ms'"
    );
    database.owner.batch_execute(&settings).await;
    let output = run("migrate", &[], &database.environment).await;
    assert!(output.text.contains("Applied"), "{}", output.text);
    for note in [
        "Warning: statement_timeout is 1ms for this role; this run has no such limit.",
        "Warning: lock_timeout is 2ms for this role; this run waits for 10s.",
        "Warning: idle_in_transaction_session_timeout is 3ms for this role; this run has no such limit.",
    ] {
        assert!(
            output.text.contains(note),
            "{note} is not in: {}",
            output.text
        );
    }
    // The functions have that timeout, too.
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output
            .text
            .contains("statements of the functions, as the role"),
        "{}",
        output.text
    );
    database.drop().await;
}

#[tokio::test]
async fn sequences_behind_imported_rows_are_set() {
    let database = TestDatabase::migrated().await;
    let import = "INSERT INTO \"user\" (id, username, email, hashed_password) VALUES (70, 'a', 'a@example.com', '!');
                  INSERT INTO task (id, user_id, title) VALUES (80, 70, 'a'), (-5, 70, 'b');
                  INSERT INTO session (id, user_id, token_jti, token, expires_at) VALUES (90, 70, 'a', 'a', now())";
    database.owner.batch_execute(import).await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    for (sequence, id) in [
        ("user_id_seq", 70),
        ("task_id_seq", 80),
        ("session_id_seq", 90),
    ] {
        assert!(
            output
                .text
                .contains(&format!("the sequence {sequence} was"))
                && output.text.contains(&format!("the largest id is {id};")),
            "{}",
            output.text
        );
    }
    let (user_id, _) = register(&database.environment).await;
    assert!(user_id.parse::<i32>().expect("a number") > 70);
    let output = run("migrate", &[], &database.environment).await;
    assert!(output.text.starts_with("Nothing to do"), "{}", output.text);
    database.drop().await;
}

#[tokio::test]
async fn a_migration_that_was_edited_is_refused_with_advice() {
    let database = TestDatabase::migrated().await;
    let edit = "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1";
    database.owner.batch_execute(edit).await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("a migration was edited") && output.text.contains("./dev reset"),
        "{}",
        output.text
    );
    database.drop().await;
}

#[tokio::test]
async fn a_pooled_host_is_rejected_as_the_direct_one() {
    let environment = Environment::default().with(
        "DATABASE_URL_UNPOOLED",
        "postgresql://u:p@ep-1-pooler.eu-central-1.aws.neon.tech/d",
    );
    let output = run("migrate", &[], &environment).await;
    assert_eq!(output.status, Some(1));
    assert!(output.text.contains("-pooler"), "{}", output.text);
}

#[tokio::test]
async fn a_pooler_is_detected_under_any_host_name() {
    let Some(pooled) = env_var("POOLED_OWNER_DATABASE_URL") else {
        return skip("migrating through a pooler", "there is no pooler");
    };
    let environment = Environment::default().with("DATABASE_URL_UNPOOLED", pooled);
    for arguments in [&[][..], &["--verify"]] {
        let output = run("migrate", arguments, &environment).await;
        assert_eq!(output.status, Some(1), "{}", output.text);
        assert!(
            output.text.contains("leads to a connection pooler"),
            "{}",
            output.text
        );
    }
}

fn log_in() -> HttpEvent {
    HttpEvent::new("POST", "/api/auth/login", &[])
        .json(&json!({"email": "a@example.com", "password": "b"}))
}

#[tokio::test]
async fn a_function_is_unavailable_without_tables() {
    let database = TestDatabase::empty().await;
    let function = Function::start("login", &database.environment).await;
    let response = function.http(&log_in()).await;
    assert_eq!(
        (response.status, response.body),
        (503, json!({"detail": "Service temporarily unavailable"}))
    );
    assert!(function.stop().await.contains("run the migrations"));
    let health = Function::start("health", &database.environment).await;
    assert_eq!(health.http(&HttpEvent::deep_health()).await.status, 503);
    database.drop().await;
}

#[tokio::test]
async fn a_function_is_unavailable_while_the_schema_is_older() {
    let database = TestDatabase::migrated().await;
    let newest = newest_migration();
    let set_version = async |from: usize, to: usize| {
        let update =
            format!("UPDATE refinery_schema_history SET version = {to} WHERE version = {from}");
        database.owner.batch_execute(&update).await;
    };
    set_version(newest, 0).await;
    let function = Function::start("login", &database.environment).await;
    for _ in 0..2 {
        let response = function.http(&log_in()).await;
        assert_eq!(
            (response.status, &response.body),
            (503, &json!({"detail": "Service temporarily unavailable"}))
        );
        assert!(response.headers["retry-after"].is_string(), "{response:?}");
    }
    set_version(0, newest).await;
    assert_eq!(function.http(&log_in()).await.status, 401);
    let log = function.stop().await;
    assert!(
        log.contains(&format!(
            "the schema is at version {}, and this build needs version {newest}",
            newest - 1
        )),
        "{log}"
    );
    database.drop().await;
}

#[tokio::test]
async fn a_function_works_with_a_newer_schema() {
    let database = TestDatabase::migrated().await;
    let later = "INSERT INTO refinery_schema_history SELECT 1000, 'later', applied_on, '0' FROM refinery_schema_history LIMIT 1";
    database.owner.batch_execute(later).await;
    let function = Function::start("login", &database.environment).await;
    assert_eq!(function.http(&log_in()).await.status, 401);
    let health = Function::start("health", &database.environment).await;
    let response = health.http(&HttpEvent::deep_health()).await;
    assert_eq!(
        (response.status, &response.body["schema_version"]),
        (200, &json!(1000))
    );
    database.drop().await;
}

#[tokio::test]
async fn a_newer_schema_is_not_migrated() {
    let database = TestDatabase::migrated().await;
    let later = "INSERT INTO refinery_schema_history SELECT 1000, 'later', applied_on, '0' FROM refinery_schema_history LIMIT 1;
                 ALTER TABLE task ALTER title TYPE text";
    database.owner.batch_execute(later).await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(
        output.text.starts_with("Nothing to do") && output.text.contains("version 1000"),
        "{}",
        output.text
    );
    database.drop().await;
}

#[tokio::test]
async fn the_schema_version_is_queried_once() {
    let proxy = ChaosProxy::start().await;
    let connection = Database::connect(&proxy.url()).await;
    let connecting = proxy.round_trips();
    drop(connection);

    let proxy = ChaosProxy::start().await;
    let environment = Environment::default().with("DATABASE_URL", proxy.url());
    let function = Function::start("login", &environment).await;
    // A login with an unknown address takes one statement.
    assert_eq!(function.http(&log_in()).await.status, 401);
    let cold = proxy.round_trips();
    assert_eq!(cold, connecting + 2);
    assert_eq!(function.http(&log_in()).await.status, 401);
    assert_eq!(proxy.round_trips(), cold + 1);
}

#[tokio::test]
async fn the_functions_use_a_role_that_owns_nothing() {
    if env_var("APPLICATION_ROLE").is_none() {
        return skip(
            "that the functions use a role that owns nothing",
            "APPLICATION_ROLE is not set",
        );
    }
    let url = env_var("DATABASE_URL").expect("a DATABASE_URL");
    let role = "SELECT count(pg_class.oid) AS owned, bool_or(rolsuper OR rolcreaterole OR rolcreatedb) AS more
                FROM pg_roles LEFT JOIN pg_class ON relowner = pg_roles.oid
                WHERE rolname = current_user";
    let found = Database::connect(&url).await.query_one(role, &[]).await;
    assert_eq!(found, json!({"owned": 0, "more": false}));
}

/// The privileges of a role on each object in the schema.
const PRIVILEGES: &str = "
    SELECT relname::text AS object, string_agg(DISTINCT privilege_type, ' ' ORDER BY privilege_type) AS privileges
    FROM pg_class, aclexplode(relacl)
    WHERE relnamespace = 'public'::regnamespace AND grantee = to_regrole($1)
    GROUP BY relname
    ORDER BY relname";

fn environment_with_role(database: &TestDatabase, role: &str, password: &str) -> Environment {
    let url = env_var("DATABASE_URL").expect("a DATABASE_URL");
    let (_, location) = url.split_once('@').expect("credentials");
    let location = location.replace("/todo?", &format!("/{}?", database.name()));
    database
        .environment
        .clone()
        .with("APPLICATION_ROLE", role)
        .with(
            "DATABASE_URL",
            format!("postgresql://{role}:{password}@{location}"),
        )
}

async fn drop_role(database: &TestDatabase, role: &str) {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let statements =
        format!("GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}");
    database.owner.batch_execute(&statements).await;
}

#[tokio::test]
async fn the_application_role_gets_only_needed_privileges() {
    let database = TestDatabase::empty().await;
    let role = format!("role_{}", unique());
    let environment = environment_with_role(&database, &role, "pass%27word%5C-of-the-role");
    let output = run("migrate", &[], &environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(
        output.text.contains(&format!("Created the role {role}")),
        "{}",
        output.text
    );
    assert!(!output.text.contains("of-the-role"), "{}", output.text);
    assert_eq!(
        database.owner.query(PRIVILEGES, &[&role]).await,
        [
            json!({"object": "active_session", "privileges": "SELECT"}),
            json!({"object": "attempt", "privileges": "DELETE INSERT SELECT UPDATE"}),
            json!({"object": "refinery_schema_history", "privileges": "SELECT"}),
            json!({"object": "session", "privileges": "DELETE INSERT SELECT UPDATE"}),
            json!({"object": "session_id_seq", "privileges": "USAGE"}),
            json!({"object": "task", "privileges": "DELETE INSERT SELECT UPDATE"}),
            json!({"object": "task_clock", "privileges": "SELECT UPDATE"}),
            json!({"object": "task_epoch", "privileges": "SELECT"}),
            json!({"object": "task_id_seq", "privileges": "USAGE"}),
            json!({"object": "user", "privileges": "DELETE INSERT SELECT UPDATE"}),
            json!({"object": "user_id_seq", "privileges": "USAGE"}),
        ]
    );

    // The role can connect with the password and use the tables.
    register(&environment).await;

    // A later run changes nothing, not even the password.
    let other_password = environment_with_role(&database, &role, "another");
    let output = run("migrate", &[], &other_password).await;
    assert!(output.text.starts_with("Nothing to do"), "{}", output.text);
    register(&environment).await;

    // A later run grants missing privileges.
    let revoke = format!(
        "REVOKE DELETE ON session FROM {role}; REVOKE USAGE ON SEQUENCE task_id_seq FROM {role}"
    );
    database.owner.batch_execute(&revoke).await;
    let output = run("migrate", &[], &environment).await;
    assert_eq!(
        output.text.lines().collect::<Vec<_>>(),
        [
            format!("GRANT DELETE ON TABLE session TO {role};"),
            format!("GRANT USAGE ON SEQUENCE task_id_seq TO {role};")
        ]
    );
    drop_role(&database, &role).await;
    database.drop().await;
}

#[tokio::test]
async fn a_sequence_that_no_column_owns_is_granted_too() {
    let database = TestDatabase::migrated().await;
    let role = format!("role_{}", unique());
    let environment = environment_with_role(&database, &role, "of-the-role");
    let disown =
        "ALTER SEQUENCE user_id_seq OWNED BY NONE; ALTER SEQUENCE task_id_seq OWNED BY NONE";
    database.owner.batch_execute(disown).await;
    // The schema is not as it should be, and the functions work nevertheless.
    let output = run("migrate", &[], &environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    Fixtures::in_environment(&environment)
        .await
        .route_case(route("get-task"))
        .await;
    drop_role(&database, &role).await;
    database.drop().await;
}

#[tokio::test]
async fn a_role_without_a_known_password_gets_none() {
    let database = TestDatabase::empty().await;
    let role = format!("Role {}", unique());
    let output = run(
        "migrate",
        &[],
        &database.environment.clone().with("APPLICATION_ROLE", &role),
    )
    .await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(
        output.text.contains("without a password"),
        "{}",
        output.text
    );
    drop_role(&database, &role).await;
    database.drop().await;

    let database = TestDatabase::empty().await;
    // Without a name, the functions use the owner.
    let owner = database
        .environment
        .value("DATABASE_URL_UNPOOLED")
        .to_owned();
    let environment = database.environment.clone().with("DATABASE_URL", owner);
    let output = run("migrate", &[], &environment.without("APPLICATION_ROLE")).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert_eq!(output.text.lines().count(), 1, "{}", output.text);
    let granted = "SELECT count(*) AS granted FROM pg_class, aclexplode(relacl)
                   WHERE relnamespace = 'public'::regnamespace AND grantee <> relowner";
    assert_eq!(
        database.owner.query_one(granted, &[]).await,
        json!({"granted": 0})
    );
    database.drop().await;
}

#[tokio::test]
async fn the_role_of_the_functions_is_verified_under_any_setting() {
    let database = TestDatabase::empty().await;
    // The role in DATABASE_URL is neither the owner nor one that gets grants.
    let environment = database.environment.clone().without("APPLICATION_ROLE");
    let output = run("migrate", &[], &environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("role todo_app: lacks a privilege")
            && output
                .text
                .contains("where APPLICATION_ROLE names the role"),
        "{}",
        output.text
    );
    database.drop().await;
}

#[tokio::test]
async fn blanks_around_the_role_name_are_ignored() {
    let database = TestDatabase::empty().await;
    let role = format!("role_{}", unique());
    for padded in [format!(" {role}\n"), format!("\t{role}\r\n "), role.clone()] {
        let environment = database
            .environment
            .clone()
            .with("APPLICATION_ROLE", padded);
        let output = run("migrate", &[], &environment).await;
        assert_eq!(output.status, Some(0), "{}", output.text);
    }
    let roles = "SELECT rolname::text AS name FROM pg_roles WHERE rolname LIKE '%' || $1 || '%'";
    assert_eq!(
        database.owner.query(roles, &[&role]).await,
        [json!({"name": role})]
    );
    drop_role(&database, &role).await;
    database.drop().await;
}

#[tokio::test]
async fn unreadable_role_names_are_refused() {
    let longest = "x".repeat(64);
    for name in [
        "todo\u{1}app",
        "todo\tapp",
        "todo\napp",
        "todo_app\u{200b}",
        "\u{feff}todo_app",
        "todo\u{a0}app",
        "todo_app\u{3164}",
        "todo\u{202e}app",
        "todo\u{ad}app",
        "\"todo_app\"",
        "'todo_app'",
        "`todo_app`",
        "\u{201c}todo_app\u{201d}",
        "public",
        "none",
        "pg_monitor",
        &longest,
    ] {
        let environment = Environment::default().with("APPLICATION_ROLE", name);
        let output = run("migrate", &["--verify"], &environment).await;
        assert_eq!(output.status, Some(1), "{name:?}: {}", output.text);
        assert!(
            output.text.starts_with("error: APPLICATION_ROLE "),
            "{name:?}: {}",
            output.text
        );
    }
}

#[tokio::test]
async fn no_role_may_create_objects_besides_the_owner() {
    let database = TestDatabase::empty().await;
    let grant = format!(
        "GRANT CREATE, TEMPORARY ON DATABASE {} TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC",
        database.name()
    );
    database.owner.batch_execute(&grant).await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    let privileges = "SELECT has_database_privilege($1, current_database(), 'TEMPORARY') AS temporary,
                             has_database_privilege($1, current_database(), 'CREATE') AS create_schemas,
                             has_schema_privilege($1, 'public', 'CREATE') AS create_tables";
    let role = database.environment.value("APPLICATION_ROLE").to_owned();
    assert_eq!(
        database.owner.query_one(privileges, &[&role]).await,
        json!({"temporary": false, "create_schemas": false, "create_tables": false})
    );
    database.drop().await;
}

#[tokio::test]
async fn verify_says_what_migrate_may_not_revoke() {
    let database = TestDatabase::migrated().await;
    let owner = format!("owner_{}", unique());
    let name = database.name();
    let statements = format!(
        "CREATE ROLE {owner}; GRANT {owner} TO CURRENT_USER; ALTER DATABASE {name} OWNER TO {owner};
         GRANT TEMPORARY ON DATABASE {name} TO PUBLIC; REVOKE {owner} FROM CURRENT_USER"
    );
    database.owner.batch_execute(&statements).await;
    let output = run("migrate", &["--verify"], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(
        output.text.contains(&format!(
            "as {owner}, run REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC"
        )),
        "{}",
        output.text
    );
    let statements = format!(
        "GRANT {owner} TO CURRENT_USER; ALTER DATABASE {name} OWNER TO CURRENT_USER; DROP ROLE {owner}"
    );
    database.owner.batch_execute(&statements).await;
    database.drop().await;
}
