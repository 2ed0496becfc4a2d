//! The deletion of expired sessions.

use serde_json::json;
use tests::database::TestDatabase;
use tests::fixtures::register;
use tests::function::{Function, run};

#[tokio::test]
async fn only_expired_sessions_are_deleted_in_batches() {
    let database = TestDatabase::migrated().await;
    let (user_id, _) = register(&database.environment).await;
    let fill = format!(
        "INSERT INTO session (user_id, token_jti, token, expires_at, revoked)
         SELECT {user_id}, 'old-' || n, n, now() AT TIME ZONE 'utc' - n * interval '1 s', n % 2 = 0
         FROM generate_series(1, 12000) AS n;
         INSERT INTO session (user_id, token_jti, token, expires_at, revoked)
         SELECT {user_id}, 'live-' || n, n, now() AT TIME ZONE 'utc' + interval '1 h', n % 2 = 0
         FROM generate_series(1, 3000) AS n;
         INSERT INTO attempt (key, used, window_started_at, last_used_at, expires_at)
         SELECT int4send(n), 1, now(), now(), now() + CASE WHEN n > 7000 THEN interval '1 h' ELSE interval '0' END
         FROM generate_series(1, 7003) AS n;"
    );
    database.owner.batch_execute(&fill).await;

    // The function signs no tokens, so it needs no key.
    let function = Function::start(
        "purge-sessions",
        &database.environment.clone().without("SECRET_KEY"),
    )
    .await;
    let purged = function
        .invoke(json!({"source": "aws.events"}))
        .await
        .expect("a success");
    assert_eq!(
        purged,
        json!({"deleted": 12_000, "finished": true, "attempts": 7_000})
    );
    let left = "SELECT count(*) AS sessions, count(*) FILTER (WHERE token_jti LIKE 'old-%') AS old FROM session";
    assert_eq!(
        database.owner.query_one(left, &[]).await,
        json!({"sessions": 3_001, "old": 0})
    );
    let again = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        again,
        json!({"deleted": 0, "finished": true, "attempts": 0})
    );
    let log = function.stop().await;
    assert!(
        log.contains("\"deleted\":12000") && log.contains("\"deleted\":0"),
        "{log}"
    );
    database.drop().await;
}

#[tokio::test]
async fn sessions_are_deleted_where_counts_of_attempts_cannot_be() {
    let database = TestDatabase::migrated().await;
    let (user_id, _) = register(&database.environment).await;
    let expire = format!(
        "UPDATE session SET expires_at = now() AT TIME ZONE 'utc' WHERE user_id = {user_id}"
    );
    database.owner.batch_execute(&expire).await;
    let lock_holder = database.lock_table("attempt").await;
    let function = Function::start("purge-sessions", &database.environment).await;
    let failure = function.invoke(json!({})).await.expect_err("a failure");
    assert!(failure.to_string().contains("in time"), "{failure}");
    let left = "SELECT count(*) AS sessions FROM session";
    assert_eq!(
        database.owner.query_one(left, &[]).await,
        json!({"sessions": 0})
    );
    drop(lock_holder);
    database.drop().await;
}

#[tokio::test]
async fn a_failed_purge_is_an_error_and_a_later_one_works() {
    let database = TestDatabase::empty().await;
    let function = Function::start("purge-sessions", &database.environment).await;
    let failure = function.invoke(json!({})).await.expect_err("a failure");
    assert!(
        failure.to_string().contains("run the migrations"),
        "{failure}"
    );
    let output = run("migrate", &[], &database.environment).await;
    assert_eq!(output.status, Some(0), "{}", output.text);
    let purged = function.invoke(json!({})).await.expect("a success");
    assert_eq!(
        purged,
        json!({"deleted": 0, "finished": true, "attempts": 0})
    );
    database.drop().await;
}
