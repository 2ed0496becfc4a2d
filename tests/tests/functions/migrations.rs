//! Applying the migrations, to whom they give access, and what a function makes of a schema that is not its own.

use serde_json::{Value, json};
use tests::chaos_proxy::ChaosProxy;
use tests::database::{Database, TestDatabase, env_var};
use tests::function::{Environment, Function, HttpEvent, run};
use tests::{newest_migration, skip, unique};

async fn history(own: &TestDatabase) -> Vec<Value> {
    let history = "SELECT version, name, applied_on FROM refinery_schema_history ORDER BY version";
    own.owner.query(history, &[]).await
}

#[tokio::test]
async fn an_empty_event_brings_an_empty_database_up_to_date_and_a_second_one_changes_nothing() {
    let own = TestDatabase::empty().await;
    // It signs no tokens, so it needs no key.
    let environment = own.environment.clone().without("SECRET_KEY");
    let function = Function::start("migrate", &environment).await;
    let first = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        first["applied"].as_array().map(Vec::len),
        Some(newest_migration()),
        "{first}"
    );
    let before = history(&own).await;
    let second = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        second,
        json!({"applied": [], "schema_version": first["schema_version"]})
    );
    assert_eq!(history(&own).await, before);
    own.drop().await;
}

#[tokio::test]
async fn of_two_runs_at_once_one_works_and_the_other_finds_nothing_to_do() {
    let own = TestDatabase::empty().await;
    let (first, second) = tokio::join!(
        run("migrate", &[], &own.environment),
        run("migrate", &[], &own.environment)
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
    assert_eq!(history(&own).await.len(), newest_migration());
    own.drop().await;
}

#[tokio::test]
async fn on_request_a_database_in_use_is_left_alone() {
    let own = TestDatabase::empty().await;
    own.owner
        .batch_execute("CREATE TABLE task (id integer)")
        .await;
    let output = run("migrate", &["--if-empty"], &own.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(output.text.contains("Left alone"), "{}", output.text);
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'task'";
    assert_eq!(own.owner.query(columns, &[]).await.len(), 1);

    own.owner.batch_execute("DROP TABLE task").await;
    let output = run("migrate", &["--if-empty"], &own.environment).await;
    assert!(output.text.starts_with("Applied"), "{}", output.text);
    own.drop().await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_database_as_it_was_and_fails_the_run() {
    let own = TestDatabase::empty().await;
    // A table of that name which is no one's that we know.
    own.owner
        .batch_execute("CREATE TABLE session (id integer)")
        .await;
    let output = run("migrate", &[], &own.environment).await;
    assert_eq!(output.status, Some(1), "{}", output.text);
    assert!(
        output.text.contains("a migration failed"),
        "{}",
        output.text
    );
    let function = Function::start("migrate", &own.environment).await;
    assert!(function.invoke(json!({})).await.is_err());
    let tables =
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(
        own.owner.query(tables, &[]).await,
        [
            json!({"table_name": "refinery_schema_history"}),
            json!({"table_name": "session"})
        ]
    );
    own.drop().await;
}

#[tokio::test]
async fn a_pooled_host_is_not_taken_for_the_direct_one() {
    let environment = Environment::default().with(
        "DATABASE_URL_UNPOOLED",
        "postgresql://u:p@ep-1-pooler.eu-central-1.aws.neon.tech/d",
    );
    let output = run("migrate", &[], &environment).await;
    assert_eq!(output.status, Some(1));
    assert!(output.text.contains("-pooler"), "{}", output.text);
}

#[tokio::test]
async fn a_pooler_is_recognised_whatever_its_host_is_called() {
    let Some(pooled) = env_var("POOLED_OWNER_DATABASE_URL") else {
        return skip("migrating through a pooler", "there is none");
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
async fn a_function_on_a_database_without_tables_is_unavailable() {
    let own = TestDatabase::empty().await;
    let function = Function::start("login", &own.environment).await;
    let answer = function.http(&log_in()).await;
    assert_eq!(
        (answer.status, answer.body),
        (503, json!({"detail": "Service temporarily unavailable"}))
    );
    assert!(function.stop().await.contains("run the migrations"));
    let health = Function::start("health", &own.environment).await;
    assert_eq!(health.http(&HttpEvent::deep_health()).await.status, 503);
    own.drop().await;
}

#[tokio::test]
async fn a_function_is_unavailable_while_the_schema_is_behind_and_works_once_it_is_not() {
    let own = TestDatabase::migrated().await;
    let newest = newest_migration();
    let set = async |from: usize, to: usize| {
        let set =
            format!("UPDATE refinery_schema_history SET version = {to} WHERE version = {from}");
        own.owner.batch_execute(&set).await;
    };
    set(newest, 0).await;
    let function = Function::start("login", &own.environment).await;
    for _ in 0..2 {
        let answer = function.http(&log_in()).await;
        assert_eq!(
            (answer.status, &answer.body),
            (503, &json!({"detail": "Service temporarily unavailable"}))
        );
        assert!(answer.headers["retry-after"].is_string(), "{answer:?}");
    }
    set(0, newest).await;
    assert_eq!(function.http(&log_in()).await.status, 401);
    let log = function.stop().await;
    assert!(
        log.contains(&format!(
            "the schema is at version {}, and this build needs version {newest}",
            newest - 1
        )),
        "{log}"
    );
    own.drop().await;
}

#[tokio::test]
async fn a_function_works_while_the_schema_is_ahead() {
    let own = TestDatabase::migrated().await;
    let later = "INSERT INTO refinery_schema_history SELECT 1000, 'later', applied_on, '0' FROM refinery_schema_history LIMIT 1";
    own.owner.batch_execute(later).await;
    let function = Function::start("login", &own.environment).await;
    assert_eq!(function.http(&log_in()).await.status, 401);
    let health = Function::start("health", &own.environment).await;
    let answer = health.http(&HttpEvent::deep_health()).await;
    assert_eq!(
        (answer.status, &answer.body["schema_version"]),
        (200, &json!(1000))
    );
    own.drop().await;
}

#[tokio::test]
async fn a_schema_of_a_later_release_is_left_as_it_is() {
    let own = TestDatabase::migrated().await;
    let later = "INSERT INTO refinery_schema_history SELECT 1000, 'later', applied_on, '0' FROM refinery_schema_history LIMIT 1;
                 ALTER TABLE task ALTER title TYPE text";
    own.owner.batch_execute(later).await;
    let output = run("migrate", &[], &own.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(
        output.text.starts_with("Nothing to do") && output.text.contains("version 1000"),
        "{}",
        output.text
    );
    own.drop().await;
}

#[tokio::test]
async fn the_schema_is_looked_at_once_in_one_round_trip() {
    let proxy = ChaosProxy::start().await;
    let connection = Database::connect(&proxy.url()).await;
    let connecting = proxy.round_trips();
    drop(connection);

    let proxy = ChaosProxy::start().await;
    let environment = Environment::default().with("DATABASE_URL", proxy.url());
    let function = Function::start("login", &environment).await;
    // An unknown address takes one statement.
    assert_eq!(function.http(&log_in()).await.status, 401);
    let cold = proxy.round_trips();
    assert_eq!(cold, connecting + 2);
    assert_eq!(function.http(&log_in()).await.status, 401);
    assert_eq!(proxy.round_trips(), cold + 1);
}

#[tokio::test]
async fn the_functions_under_test_work_as_a_role_that_owns_nothing() {
    if env_var("APPLICATION_ROLE").is_none() {
        return skip(
            "working as a role that owns nothing",
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

/// What a role may do with each object of ours.
const PRIVILEGES: &str = "
    SELECT relname::text AS object, string_agg(DISTINCT privilege_type, ' ' ORDER BY privilege_type) AS privileges
    FROM pg_class, aclexplode(relacl)
    WHERE relnamespace = 'public'::regnamespace AND grantee = to_regrole($1)
    GROUP BY relname
    ORDER BY relname";

fn named_role(own: &TestDatabase, role: &str, password: &str) -> Environment {
    let url = env_var("DATABASE_URL").expect("a DATABASE_URL");
    let (_, location) = url.split_once('@').expect("credentials");
    let location = location.replace("/todo?", &format!("/{}?", own.name()));
    own.environment.clone().with("APPLICATION_ROLE", role).with(
        "DATABASE_URL",
        format!("postgresql://{role}:{password}@{location}"),
    )
}

async fn drop_role(own: &TestDatabase, role: &str) {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let statements =
        format!("GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}");
    own.owner.batch_execute(&statements).await;
}

#[tokio::test]
async fn the_applications_role_is_created_when_it_is_named_and_may_do_no_more_than_the_functions_need()
 {
    let own = TestDatabase::empty().await;
    let role = format!("role_{}", unique());
    let environment = named_role(&own, &role, "pass%27word%5C-of-the-role");
    let output = run("migrate", &[], &environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(
        output.text.contains(&format!("Created the role {role}")),
        "{}",
        output.text
    );
    assert!(!output.text.contains("of-the-role"), "{}", output.text);
    assert_eq!(
        own.owner.query(PRIVILEGES, &[&role]).await,
        [
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

    // It can log in with the password, and work.
    tests::fixtures::register(&environment).await;

    // A later run changes nothing, and leaves a password alone.
    let other_password = named_role(&own, &role, "another");
    let output = run("migrate", &[], &other_password).await;
    assert!(output.text.starts_with("Nothing to do"), "{}", output.text);
    tests::fixtures::register(&environment).await;

    // What it lacks, it is given.
    let take = format!(
        "REVOKE DELETE ON session FROM {role}; REVOKE USAGE ON SEQUENCE task_id_seq FROM {role}"
    );
    own.owner.batch_execute(&take).await;
    let output = run("migrate", &[], &environment).await;
    assert_eq!(
        output.text.lines().collect::<Vec<_>>(),
        [
            format!("GRANT DELETE ON TABLE session TO {role};"),
            format!("GRANT USAGE ON SEQUENCE task_id_seq TO {role};")
        ]
    );
    drop_role(&own, &role).await;
    own.drop().await;
}

#[tokio::test]
async fn a_role_whose_password_is_not_known_is_created_without_one_and_without_a_name_there_is_none()
 {
    let own = TestDatabase::empty().await;
    let role = format!("Role \"{}\"", unique());
    let output = run(
        "migrate",
        &[],
        &own.environment.clone().with("APPLICATION_ROLE", &role),
    )
    .await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    assert!(
        output.text.contains("without a password"),
        "{}",
        output.text
    );
    drop_role(&own, &role).await;
    own.drop().await;

    let own = TestDatabase::empty().await;
    let output = run(
        "migrate",
        &[],
        &own.environment.clone().without("APPLICATION_ROLE"),
    )
    .await;
    assert_eq!(output.text.lines().count(), 1, "{}", output.text);
    let granted = "SELECT count(*) AS granted FROM pg_class, aclexplode(relacl)
                   WHERE relnamespace = 'public'::regnamespace AND grantee <> relowner";
    assert_eq!(
        own.owner.query_one(granted, &[]).await,
        json!({"granted": 0})
    );
    own.drop().await;
}
