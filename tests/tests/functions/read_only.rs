//! A database that accepts no writes: `default_transaction_read_only`, or a read replica.

use serde_json::json;
use tests::database::TestDatabase;
use tests::fixtures::Fixtures;
use tests::function::{Function, HttpEvent};
use tests::routes::routes;

/// Runs every route on a database after these statements.
async fn assert_reads_work_and_writes_are_503(alter: &str) {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let mut route_cases = Vec::new();
    for route in routes() {
        route_cases.push(fixtures.route_case(route).await);
    }
    let alter = alter.replace("{database}", database.name());
    database.owner.batch_execute(&alter).await;

    for route_case in route_cases {
        let name = route_case.route.function;
        let function = Function::start(name, &database.environment).await;
        let response = function.http(&route_case.request()).await;
        let log = function.stop().await;
        if route_case.route.method == "GET" {
            assert!(route_case.is_success(&response), "{name}: {log}");
        } else {
            response.assert_unavailable();
            assert!(
                log.contains("SQLSTATE 25006") && log.contains("names a read replica"),
                "{name}: {log}"
            );
        }
    }

    let health = Function::start("health", &database.environment).await;
    let response = health.http(&HttpEvent::deep_health()).await;
    response.assert_unavailable();
    let shallow = health.http(&HttpEvent::new("GET", "/health", &[])).await;
    assert_eq!(
        (shallow.status, shallow.body),
        (200, json!({"status": "ok"}))
    );
    let log = health.stop().await;
    assert!(log.contains("the database is read-only"), "{log}");
    database.drop().await;
}

#[tokio::test]
async fn a_read_only_database_serves_reads_and_refuses_writes_with_503() {
    let alter = "ALTER DATABASE {database} SET default_transaction_read_only = on";
    assert_reads_work_and_writes_are_503(alter).await;
}

#[tokio::test]
async fn a_read_only_role_serves_reads_and_refuses_writes_with_503() {
    let alter = "DO $$ BEGIN EXECUTE format(
                     'ALTER ROLE %I IN DATABASE {database} SET default_transaction_read_only = on',
                     (SELECT grantee FROM information_schema.role_table_grants
                      WHERE table_name = 'task' AND grantee <> current_user AND privilege_type = 'SELECT')
                 ); END $$";
    assert_reads_work_and_writes_are_503(alter).await;
}
