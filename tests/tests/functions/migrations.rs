//! Applying the migrations.

use serde_json::{Value, json};
use tests::database::{self, Database, OwnDatabase};
use tests::function::{Environment, Function, HttpEvent, run};

/// A database without tables, and what a function that works on it is given.
pub(crate) async fn own_database() -> (OwnDatabase, Environment) {
    let server = database::connect("migrations")
        .await
        .expect("a DATABASE_URL");
    let own = OwnDatabase::create(server).await;
    let environment = Environment::default().with("DATABASE_URL", own.url.clone());
    (own, environment)
}

/// One with the tables of this build.
pub(crate) async fn migrated_database() -> (OwnDatabase, Environment) {
    let (own, environment) = own_database().await;
    assert_eq!(run("migrate", &[], &environment).await.status, Some(0));
    (own, environment)
}

async fn history(url: &str) -> Vec<Value> {
    let database = Database::connect(url).await;
    database
        .rows(
            "SELECT version, name, applied_on FROM refinery_schema_history ORDER BY version",
            &[],
        )
        .await
}

#[tokio::test]
async fn an_empty_event_brings_an_empty_database_up_to_date_and_a_second_one_changes_nothing() {
    let (own, environment) = own_database().await;
    // It signs no tokens, so it needs no key.
    let function = Function::start("migrate", &environment.without("SECRET_KEY")).await;
    let first = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        first["applied"].as_array().map(Vec::len),
        Some(1),
        "{first}"
    );
    let before = history(&own.url).await;
    let second = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        second,
        json!({"applied": [], "schema_version": first["schema_version"]})
    );
    assert_eq!(history(&own.url).await, before);
    own.drop().await;
}

#[tokio::test]
async fn of_two_runs_at_once_one_works_and_the_other_finds_nothing_to_do() {
    let (own, environment) = own_database().await;
    let environment = environment.without("SECRET_KEY");
    let (first, second) = tokio::join!(
        run("migrate", &[], &environment),
        run("migrate", &[], &environment)
    );
    assert_eq!(
        (first.status, second.status),
        (Some(0), Some(0)),
        "{first:?} {second:?}"
    );
    let mut words = [&first, &second].map(|ended| {
        ended
            .output
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    words.sort();
    assert_eq!(words, ["Applied", "Nothing"], "{first:?} {second:?}");
    assert_eq!(history(&own.url).await.len(), 1);
    own.drop().await;
}

#[tokio::test]
async fn on_request_a_database_in_use_is_left_alone() {
    let (own, environment) = own_database().await;
    Database::connect(&own.url)
        .await
        .execute("CREATE TABLE task (id integer)", &[])
        .await;
    let ended = run("migrate", &["--if-empty"], &environment).await;
    assert_eq!(ended.status, Some(0), "{}", ended.output);
    assert!(ended.output.contains("Left alone"), "{}", ended.output);
    let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'task'";
    assert_eq!(
        Database::connect(&own.url)
            .await
            .rows(columns, &[])
            .await
            .len(),
        1
    );

    Database::connect(&own.url)
        .await
        .execute("DROP TABLE task", &[])
        .await;
    let ended = run("migrate", &["--if-empty"], &environment).await;
    assert!(ended.output.starts_with("Applied"), "{}", ended.output);
    own.drop().await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_database_as_it_was_and_fails_the_run() {
    let (own, environment) = own_database().await;
    Database::connect(&own.url)
        .await
        .execute("CREATE TABLE session (id integer)", &[])
        .await;
    let ended = run("migrate", &[], &environment).await;
    assert_eq!(ended.status, Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("a migration failed"),
        "{}",
        ended.output
    );
    let function = Function::start("migrate", &environment).await;
    assert!(function.invoke(json!({})).await.is_err());
    let tables =
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    let tables = Database::connect(&own.url).await.rows(tables, &[]).await;
    assert_eq!(
        tables,
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
    let ended = run("migrate", &[], &environment).await;
    assert_eq!(ended.status, Some(1));
    assert!(ended.output.contains("-pooler"), "{}", ended.output);
}

#[tokio::test]
async fn a_function_on_a_database_without_tables_is_unavailable() {
    let (own, environment) = own_database().await;
    let function = Function::start("login", &environment).await;
    let body = json!({"email": "a@example.com", "password": "b"});
    let answer = function
        .http(&HttpEvent::new("POST", "/api/auth/login", &[]).json(&body))
        .await;
    assert_eq!(
        (answer.status, answer.body),
        (503, json!({"detail": "Service temporarily unavailable"}))
    );
    assert!(function.stop().await.contains("Run the migrations"));
    let health = Function::start("health", &environment).await;
    assert_eq!(health.http(&HttpEvent::deep_health()).await.status, 503);
    own.drop().await;
}
