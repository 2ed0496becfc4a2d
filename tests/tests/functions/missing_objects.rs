//! Objects that a statement needs and that are missing or out of reach: the log says what to do about it.

use serde_json::json;
use tests::database::TestDatabase;
use tests::fixtures::{Fixtures, register};
use tests::function::{Function, HttpEvent};
use tests::routes::{TASKS, route};

const SUSPECT_NAME: &str = "another program's trigger, rule or default uses this name";
const SOMEONE_REMOVED: &str =
    "run the migrations; where they find nothing to do, someone has removed";
const PRIVILEGE: &str = "run the migrations with the role's name in APPLICATION_ROLE";

#[tokio::test]
async fn a_database_without_migrations_is_logged_as_such() {
    let database = TestDatabase::empty().await;
    let health = Function::start("health", &database.environment).await;
    health
        .http(&HttpEvent::deep_health())
        .await
        .assert_unavailable();
    let log = health.stop().await;
    assert!(
        log.contains("no migration was ever applied to this database"),
        "{log}"
    );
    database.drop().await;
}

#[tokio::test]
async fn a_missing_object_is_told_from_a_missing_privilege() {
    let role = "(SELECT DISTINCT grantee FROM information_schema.role_table_grants
                 WHERE table_name = 'task' AND grantee <> current_user)";
    for (statement, status, advice) in [
        ("ALTER TABLE task RENAME TO old_task", 503, SOMEONE_REMOVED),
        (
            "ALTER TABLE task RENAME due_date TO due",
            503,
            SOMEONE_REMOVED,
        ),
        ("DROP VIEW active_session", 503, SOMEONE_REMOVED),
        ("REVOKE INSERT ON task FROM {role}", 500, PRIVILEGE),
        (
            "REVOKE USAGE ON SEQUENCE task_id_seq FROM {role}",
            500,
            PRIVILEGE,
        ),
        // Its name is found by nobody who connects through a session whose search_path was emptied.
        (
            "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS
             $f$BEGIN INSERT INTO audit_log VALUES (NEW.id); RETURN NEW; END$f$;
             CREATE TRIGGER audit BEFORE INSERT ON task FOR EACH ROW EXECUTE FUNCTION audit()",
            503,
            SUSPECT_NAME,
        ),
    ] {
        let database = TestDatabase::migrated().await;
        let (user_id, token) = register(&database.environment).await;
        let function = Function::start("create-task", &database.environment).await;
        let request = HttpEvent::new("POST", TASKS, &[&user_id]).bearer(&token);
        let request = request.json(&json!({"title": "a"}));
        assert_eq!(function.http(&request).await.status, 201);
        let (statement, named) = match statement.strip_suffix("{role}") {
            Some(revoke) => (revoke, true),
            None => (statement, false),
        };
        let statement = if named {
            format!("DO $$ BEGIN EXECUTE format('{statement}%I', {role}); END $$")
        } else {
            statement.to_owned()
        };
        database.owner.batch_execute(&statement).await;
        let response = function.http(&request).await;
        let log = function.stop().await;
        assert_eq!(response.status, status, "{statement}: {log}");
        assert!(log.contains(advice), "{statement}: {log}");
        database.drop().await;
    }
}

#[tokio::test]
async fn a_role_that_may_read_nothing_is_told_to_be_granted_privileges() {
    for revoke in [
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC, %1$I",
        "REVOKE SELECT ON refinery_schema_history FROM %1$I",
        "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, %1$I",
    ] {
        let database = TestDatabase::migrated().await;
        let fixtures = Fixtures::in_environment(&database.environment).await;
        let case = fixtures.route_case(route("me")).await;
        let revoke = revoke.replace("{database}", database.name());
        let revoke = format!(
            "DO $$ BEGIN EXECUTE format('{revoke}', (
                 SELECT DISTINCT grantee FROM information_schema.role_table_grants
                 WHERE table_name = 'task' AND grantee <> current_user
             )); END $$"
        );
        database.owner.batch_execute(&revoke).await;
        let function = Function::start("me", &database.environment).await;
        function.http(&case.request()).await.assert_unavailable();
        let log = function.stop().await;
        assert!(
            log.contains("permission denied") && log.contains(PRIVILEGE),
            "{revoke}: {log}"
        );
        database.drop().await;
    }
}
