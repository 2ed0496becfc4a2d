//! Migrations, the privileges that they grant, and functions with another schema version.

use serde_json::{Value, json};
use tests::chaos_proxy::ChaosProxy;
use tests::database::{Database, TestDatabase, env_var};
use tests::fixtures::register;
use tests::function::{Environment, Function, HttpEvent, run};
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
async fn a_failed_migration_rolls_back_and_fails_the_run() {
    let database = TestDatabase::empty().await;
    // This table is neither from this service nor from the legacy one.
    database
        .owner
        .batch_execute("CREATE TABLE session (id integer)")
        .await;
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("a migration failed"),
        "{}",
        output.text
    );
    let function = Function::start("migrate", &database.environment).await;
    assert!(function.invoke(json!({})).await.is_err());
    let tables =
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(
        database.owner.query(tables, &[]).await,
        [
            json!({"table_name": "refinery_schema_history"}),
            json!({"table_name": "session"})
        ]
    );
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
async fn a_role_without_a_known_password_gets_none() {
    let database = TestDatabase::empty().await;
    let role = format!("Role \"{}\"", unique());
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
    let output = run(
        "migrate",
        &[],
        &database.environment.clone().without("APPLICATION_ROLE"),
    )
    .await;
    assert_eq!(output.text.lines().count(), 1, "{}", output.text);
    let granted = "SELECT count(*) AS granted FROM pg_class, aclexplode(relacl)
                   WHERE relnamespace = 'public'::regnamespace AND grantee <> relowner";
    assert_eq!(
        database.owner.query_one(granted, &[]).await,
        json!({"granted": 0})
    );
    database.drop().await;
}
