//! Functions behind a pooler in transaction mode, like Neon's.

use futures_util::future::join_all;
use serde_json::json;
use tests::database::{Database, TestDatabase};
use tests::fixtures::{Fixtures, register};
use tests::function::{Function, HttpEvent};
use tests::routes::{TASKS, routes};
use tests::skip;

#[tokio::test]
async fn a_hundred_instances_share_ten_connections() {
    let database = TestDatabase::migrated().await;
    let Some(environment) = database.pooled_environment() else {
        skip(
            "a hundred instances on a pool of ten",
            "there is no POOLED_DATABASE_URL",
        );
        return database.drop().await;
    };
    let (user_id, token) = register(&database.environment).await;
    let tasks = |method| HttpEvent::new(method, TASKS, &[&user_id]).bearer(&token);
    let requests = [
        ("create-task", tasks("POST").json(&json!({"title": "a"}))),
        ("list-tasks", tasks("GET")),
    ];
    let start = async |(name, request): &(&str, HttpEvent)| {
        (Function::start(name, &environment).await, request.clone())
    };
    let send_at_once = async |instances: &[(Function, HttpEvent)]| {
        let send = async |(function, request): &(Function, HttpEvent)| function.http(request).await;
        for response in join_all(instances.iter().map(send)).await {
            assert!(response.status < 300, "{response:?}");
        }
    };
    // In groups: a hundred cold starts at once take two cores longer than an instance waits for a connection.
    let mut instances = Vec::new();
    for _ in 0..10 {
        let group = join_all(requests.iter().cycle().take(10).map(start)).await;
        send_at_once(&group).await;
        instances.extend(group);
    }
    for _ in 0..4 {
        send_at_once(&instances).await;
    }
    let count = "SELECT (SELECT count(*) FROM task) AS tasks,
                        (SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND usename <> current_user) AS sessions";
    let counted = database.owner.query_one(count, &[]).await;
    assert_eq!(counted["tasks"], json!(250));
    let sessions = counted["sessions"].as_u64().expect("a number");
    assert!((1..=10).contains(&sessions), "{sessions}");
    database.drop().await;
}

#[tokio::test]
async fn a_search_path_that_another_client_emptied_has_no_effect() {
    let database = TestDatabase::migrated().await;
    let Some(environment) = database.pooled_environment() else {
        skip(
            "an emptied search_path on a pooled session",
            "there is no POOLED_DATABASE_URL",
        );
        return database.drop().await;
    };
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let mut route_cases = Vec::new();
    for route in routes() {
        route_cases.push(fixtures.route_case(route).await);
    }
    drop(fixtures);
    // What `pg_dump` writes at the beginning of a dump. The pooler has one session, which it gives to every client in turn.
    let other = Database::connect(environment.value("DATABASE_URL")).await;
    let empty = "SELECT pg_catalog.set_config('search_path', '', false)";
    other.batch_execute(empty).await;
    for route_case in route_cases {
        let function = Function::start(route_case.route.function, &environment).await;
        let response = function.http(&route_case.request()).await;
        let log = function.stop().await;
        assert!(
            route_case.is_success(&response),
            "{:?}: {log}",
            route_case.route
        );
    }
    let health = Function::start("health", &environment).await;
    assert_eq!(health.http(&HttpEvent::deep_health()).await.status, 200);
    let sessions = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'todo/health'";
    assert_eq!(
        database.owner.query_one(sessions, &[]).await["count"],
        json!(1)
    );
    let search_path = "SELECT pg_catalog.current_setting('search_path') AS search_path";
    assert_eq!(
        other.query_one(search_path, &[]).await,
        json!({"search_path": ""})
    );
    database.drop().await;
}
