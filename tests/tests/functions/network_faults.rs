//! Network faults: every request gets a response in time, and no write is lost or done twice.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::certificate::SelfSignedCertificate;
use tests::chaos_proxy::{ChaosProxy, Direction, Fault};
use tests::database::{Database, TestDatabase};
use tests::fixtures::{Fixtures, RouteCase};
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::neon_proxy::NeonProxy;
use tests::proxied_function::{LOCAL_DELIVERY, ProxiedFunction, eventually};
use tests::routes::{Route, route, routes};
use tests::skip;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Longer than the idle time after which a connection is health-checked.
const LONG_IDLE: Duration = Duration::from_millis(5_200);

/// After so long without an answer a connection is health-checked.
const IDLE_BEFORE_HEALTH_CHECK: Duration = Duration::from_secs(5);

/// The time to find that a connection is dead and to open another one, on a busy machine.
const HEALTH_CHECK_AND_RECONNECT: Duration = Duration::from_secs(8);

/// The time in which a request without a connection gets its response, on a busy machine.
const WITHOUT_CONNECTION: Duration = Duration::from_secs(8);

/// The time in which a request gets its response if its statement times out and is cancelled, on a busy machine.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of round trips of the first connection, including the query for the schema version.
async fn connection_round_trips() -> u64 {
    ProxiedFunction::connected("me").await.proxy.round_trips()
}

/// Does something with every route, with a few at a time: all at once are too much for a busy machine.
async fn for_each_route(test: impl AsyncFn(&'static Route)) {
    let tests = routes().iter().map(async |route| test(route).await);
    stream::iter(tests)
        .buffer_unordered(4)
        .collect::<()>()
        .await;
}

/// Asserts that every route succeeds in time if one event happens before the request and another during it.
async fn assert_no_effect_on_routes(
    before: impl AsyncFn(&ProxiedFunction, &Database),
    during: impl AsyncFn(&ProxiedFunction, &Database),
) {
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    for_each_route(async |route| {
        let [_, after] = fixtures.expected_snapshots(route, &database).await;
        let route_case = fixtures.route_case(route).await;
        let instance = ProxiedFunction::connected(route.function).await;
        before(&instance, &database).await;
        let event = during(&instance, &database);
        let response = instance
            .http_during(&route_case.request(), HEALTH_CHECK_AND_RECONNECT, event)
            .await;
        assert!(route_case.is_success(&response), "{route:?}: {response:?}");
        assert_eq!(route_case.snapshot(&database).await, after, "{route:?}");
    })
    .await;
}

// ----- Connections that fail while idle -----

#[tokio::test]
async fn a_session_terminated_while_idle_is_replaced() {
    let terminate = async |instance: &ProxiedFunction, database: &Database| {
        instance.terminate_session(database).await;
        instance.proxy.wait_until_closed().await;
    };
    assert_no_effect_on_routes(terminate, async |_, _| ()).await;
}

#[tokio::test]
async fn a_session_terminated_while_frozen_is_replaced() {
    let freeze = async |instance: &ProxiedFunction, _: &Database| instance.function.freeze();
    // The request arrives before the end of the connection, so the function can see the request first.
    let terminate_and_thaw = async |instance: &ProxiedFunction, database: &Database| {
        sleep(LOCAL_DELIVERY).await;
        instance.terminate_session(database).await;
        sleep(LOCAL_DELIVERY).await;
        instance.function.thaw();
    };
    assert_no_effect_on_routes(freeze, terminate_and_thaw).await;
}

#[tokio::test]
async fn a_session_terminated_in_a_long_freeze_needs_no_retry() {
    let route_case = Fixtures::new().await.route_case(route("get-task")).await;
    let instance = ProxiedFunction::connected("get-task").await;
    instance.function.freeze();
    instance
        .terminate_session(&Database::from_env().await)
        .await;
    sleep(LONG_IDLE).await;
    let thaw = async {
        sleep(LOCAL_DELIVERY).await;
        instance.function.thaw();
    };
    let request = route_case.request();
    let response = instance.http_during(&request, HEALTH_CHECK_AND_RECONNECT, thaw);
    assert!(route_case.is_success(&response.await));
    let log = instance.function.stop().await;
    assert!(
        log.contains(r#""retries":0"#) && !log.contains("again"),
        "{log}"
    );
}

#[tokio::test]
async fn a_connection_silent_after_a_freeze_is_replaced() {
    let freeze_and_silence = async |instance: &ProxiedFunction, _: &Database| {
        instance.function.freeze();
        instance.proxy.silence_open_connections();
        sleep(LONG_IDLE).await;
    };
    let thaw = async |instance: &ProxiedFunction, _: &Database| instance.function.thaw();
    assert_no_effect_on_routes(freeze_and_silence, thaw).await;
}

#[tokio::test]
async fn an_unverified_connection_is_checked_before_a_write() {
    let fixtures = Fixtures::new().await;
    join_all(
        [("get-task", 1), ("create-task", 2)].map(async |(function, round_trips)| {
            let route_case = fixtures.route_case(route(function)).await;
            let instance = ProxiedFunction::connected(function).await;
            sleep(LONG_IDLE).await;
            let before = instance.proxy.round_trips();
            let response = instance.function.http(&route_case.request()).await;
            assert!(route_case.is_success(&response), "{response:?}");
            let took = instance.proxy.round_trips() - before;
            assert_eq!(took, round_trips, "{function}");
        }),
    )
    .await;
}

// ----- A silent server -----

#[tokio::test]
async fn a_silent_server_is_503_in_time_and_leaves_no_connection() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    // Each step of connecting, and then the statement itself.
    let connecting = connection_round_trips().await;
    join_all((1..=connecting + 1).map(async |step| {
        let proxy = ChaosProxy::start().await;
        proxy.inject_always(step, Fault::Blackhole);
        let instance = ProxiedFunction::start("me", proxy).await;
        let limit = if step > connecting {
            STATEMENT_TIMEOUT
        } else {
            WITHOUT_CONNECTION
        };
        let response = instance.http_within(&route_case.request(), limit).await;
        response.assert_unavailable();
        let cause = if step > connecting {
            "no answer to a statement"
        } else {
            "could not connect: no answer in 2.5s"
        };
        assert!(instance.function.output().contains(cause), "{step}");
        instance.proxy.wait_until_closed().await;

        instance.proxy.clear();
        let response = instance.function.http(&route_case.request()).await;
        assert!(route_case.is_success(&response), "{step}: {response:?}");
    }))
    .await;
}

#[tokio::test]
async fn dropped_packets_are_503_in_time() {
    // While the backlog of the listener is full, the system drops further connection attempts.
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    socket.bind(any).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(LOCAL_DELIVERY, TcpStream::connect(address)).await {
        queue.push(connected.expect("a connection"));
        assert!(queue.len() < 100, "the system drops no connection attempts");
    }
    let url = format!("postgresql://u:p@127.0.0.1:{}/d", address.port());
    let environment = Environment::default().with("DATABASE_URL", url);
    let function = Function::start("health", &environment).await;
    let started = Instant::now();
    function
        .http(&HttpEvent::deep_health())
        .await
        .assert_unavailable();
    assert!(
        started.elapsed() < WITHOUT_CONNECTION,
        "{:?}",
        started.elapsed()
    );
    let log = function.stop().await;
    assert!(log.contains("could not connect: "), "{log}");
}

#[tokio::test]
async fn a_second_connection_replaces_a_silent_first_one() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    join_all((1..=connection_round_trips().await).map(async |step| {
        let proxy = ChaosProxy::start().await;
        proxy.inject_once(Direction::ToServer, step - 1, 0, Fault::Blackhole);
        let instance = ProxiedFunction::start("me", proxy).await;
        let response = instance
            .http_within(&route_case.request(), WITHOUT_CONNECTION)
            .await;
        assert!(route_case.is_success(&response), "{step}: {response:?}");
        assert!(instance.proxy.triggered());
        assert_eq!(
            (
                instance.proxy.accepted_connections(),
                instance.proxy.open_connections()
            ),
            (2, 1)
        );
    }))
    .await;
}

// ----- A server without connection slots, or that rejects connections -----

/// A database that accepts no connections, with the settings to connect directly and through the pooler.
async fn database_without_slots() -> (TestDatabase, Vec<Environment>) {
    let database = TestDatabase::migrated().await;
    let environments = [
        Some(database.environment.clone()),
        database.pooled_environment(),
    ];
    database.set_connection_limit(0).await;
    (database, environments.into_iter().flatten().collect())
}

#[tokio::test]
async fn a_request_waits_for_a_connection_slot() {
    let (database, environments) = database_without_slots().await;
    let ask = async |environment: &Environment| {
        let function = Function::start("health", environment).await;
        let response = function.http(&HttpEvent::deep_health()).await;
        assert_eq!(response.status, 200, "{}", function.stop().await);
    };
    let release = async {
        sleep(Duration::from_secs(1)).await;
        database.set_connection_limit(-1).await;
    };
    tokio::join!(join_all(environments.iter().map(ask)), release);
    database.drop().await;
}

#[tokio::test]
async fn a_request_without_a_connection_slot_is_503_in_time() {
    let (database, environments) = database_without_slots().await;
    join_all(environments.iter().map(async |environment| {
        let function = Function::start("health", environment).await;
        let started = Instant::now();
        function
            .http(&HttpEvent::deep_health())
            .await
            .assert_unavailable();
        assert!(
            started.elapsed() < WITHOUT_CONNECTION,
            "{:?}",
            started.elapsed()
        );
        let log = function.stop().await;
        assert!(log.contains("attempts in 5s"), "{log}");
        // The function retries with a backoff.
        let attempts = log.split_once(" attempts").expect("their number").0;
        let attempts = attempts.rsplit_once('(').expect("a number").1;
        assert!(
            (4..40).contains(&attempts.parse().expect("a number")),
            "{log}"
        );
    }))
    .await;
    database.drop().await;
}

/// A server that can reject connections, with the settings of functions that use it.
async fn rejecting_server(certificate: &SelfSignedCertificate) -> (NeonProxy, Environment) {
    let server = NeonProxy::start(certificate).await;
    let environment = Environment::default()
        .with("DATABASE_URL", server.url())
        .with("SSL_CERT_FILE", certificate.path());
    (server, environment)
}

#[tokio::test]
async fn transient_connection_errors_are_retried() {
    let certificate = SelfSignedCertificate::create();
    for (code, message) in [
        ("53300", "sorry, too many clients already"),
        (
            "53300",
            "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        ),
        ("08P01", "no more connections allowed (max_client_conn)"),
        (
            "08P01",
            "server login has been failing, try again later (server_login_retry)",
        ),
        ("57P03", "the database system is starting up"),
        (
            "XX000",
            "Too many connections to this endpoint. Please try again later.",
        ),
        (
            "XX000",
            "Failed to acquire permit to connect to the database. Too many database connection attempts are currently ongoing.",
        ),
        ("XX000", "Couldn't connect to compute node"),
        ("XX000", "Control plane request failed"),
    ] {
        let (server, environment) = rejecting_server(&certificate).await;
        server.reject_connections(2, code, message);
        let function = Function::start("health", &environment).await;
        let response = function.http(&HttpEvent::deep_health()).await;
        assert_eq!(
            (response.status, server.connections()),
            (200, 3),
            "{message}"
        );
    }
}

#[tokio::test]
async fn permanent_connection_errors_are_not_retried_and_explained() {
    let certificate = SelfSignedCertificate::create();
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    for (code, message, advice) in [
        (
            "28P01",
            "password authentication failed for user 'todo_app'",
            "check the role, the password",
        ),
        (
            "XX000",
            "password authentication failed for user 'todo_app'",
            "check the role, the password",
        ),
        (
            "XX000",
            "The requested endpoint could not be found, or you don't have access to it.",
            "copy the connection string",
        ),
        (
            "XX000",
            "The endpoint has been disabled. Enable it using Neon API and retry.",
            "enable the compute",
        ),
        (
            "XX000",
            "Your project has exceeded the compute time quota. Upgrade your plan to increase limits.",
            "raise the limit",
        ),
        (
            "XX000",
            "You have exceeded the limit of concurrently active endpoints. Please suspend some endpoints and retry.",
            "suspend another compute",
        ),
        (
            "XX000",
            "This IP address 192.0.2.1 is not allowed to connect to this endpoint. Please add it to the allowed list in the Neon console. Make sure to check for IPv4 or IPv6 addresses.",
            "switch IP Allow off",
        ),
        (
            "XX000",
            "This connection is trying to access this endpoint from a blocked network.",
            "allow connections from the public internet",
        ),
        (
            "XX000",
            "VPC endpoint ID is not specified. This endpoint requires a VPC endpoint ID to connect.",
            "VPC endpoint",
        ),
        (
            "XX000",
            "Inconsistent project name inferred from SNI ('ep-1') and project option ('ep-2').",
            "the host names the endpoint",
        ),
        (
            "XX000",
            "Endpoint ID is not specified. Either please upgrade the postgres client library (libpq) for SNI support or pass the endpoint ID (first part of the domain name) as a parameter: '?options=endpoint%3D<endpoint-id>'.",
            "the endpoint's own name",
        ),
        (
            "08P01",
            "unsupported startup parameter: options",
            "takes no `options`",
        ),
        (
            "3D000",
            "database \"todo\" does not exist",
            "check the database's name",
        ),
        (
            "28000",
            "role \"todo_app\" does not exist",
            "check the role",
        ),
    ] {
        let (server, environment) = rejecting_server(&certificate).await;
        server.reject_connections(u64::MAX, code, message);
        // It connects before its first request, and does not retry for that request.
        let mut function = Function::start("me", &environment).await;
        function.wait_until_ready().await;
        function
            .http(&route_case.request())
            .await
            .assert_unavailable();
        assert_eq!(server.connections(), 1, "{message}");
        let log = function.stop().await;
        assert_eq!(log.matches("could not connect").count(), 1, "{log}");
        assert!(log.contains(advice), "{log}");
    }
}

// ----- Connections that break while in use -----

/// Where a connection breaks: before this byte of a statement or of its response.
const DISCONNECTS: [(Direction, usize); 4] = [
    (Direction::ToServer, 0),
    (Direction::ToServer, 40),
    (Direction::ToClient, 0),
    (Direction::ToClient, 40),
];

#[tokio::test]
async fn only_safe_statements_are_retried_after_a_disconnect() {
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    for_each_route(async |route| {
        let [before, after] = fixtures.expected_snapshots(route, &database).await;
        for statement in 0..route.statements {
            for (direction, byte) in DISCONNECTS {
                let mut attempts = 0;
                let (route_case, instance, response) = loop {
                    attempts += 1;
                    let route_case = fixtures.route_case(route).await;
                    let instance = ProxiedFunction::connected(route.function).await;
                    let started = Instant::now();
                    instance
                        .proxy
                        .inject_once(direction, statement, byte, Fault::Disconnect);
                    let response = instance.function.http(&route_case.request()).await;
                    // On a machine that is too busy the fault may have hit a health check.
                    if started.elapsed() < IDLE_BEFORE_HEALTH_CHECK {
                        break (route_case, instance, response);
                    }
                    assert!(attempts < 10, "{route:?}: {:?}", started.elapsed());
                };
                let case =
                    format!("{route:?}, statement {statement}, {direction:?} {byte}: {response:?}");
                assert!(instance.proxy.triggered(), "{case}");
                let expected = if !route.is_idempotent && statement + 1 == route.statements {
                    response.assert_unavailable();
                    if direction == Direction::ToServer {
                        &before
                    } else {
                        &after
                    }
                } else {
                    assert!(route_case.is_success(&response), "{case}");
                    &after
                };
                assert_eq!(&route_case.snapshot(&database).await, expected, "{case}");
                let works = async || {
                    let response = instance.function.http(&route_case.request()).await;
                    response.status < 500
                };
                eventually("the instance works again", works).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_without_a_response_is_not_retried() {
    let database = Database::from_env().await;
    let fixtures = Fixtures::new().await;
    let [_, after] = fixtures
        .expected_snapshots(route("create-task"), &database)
        .await;
    let route_case = fixtures.route_case(route("create-task")).await;
    let instance = ProxiedFunction::connected("create-task").await;
    instance
        .proxy
        .inject_once(Direction::ToClient, 0, 0, Fault::Blackhole);
    let response = instance
        .http_within(&route_case.request(), STATEMENT_TIMEOUT)
        .await;
    response.assert_unavailable();
    assert_eq!(route_case.snapshot(&database).await, after);
}

#[tokio::test]
async fn an_interrupted_list_is_read_again_from_its_start() {
    let database = TestDatabase::migrated().await;
    let route_case = Fixtures::in_environment(&database.environment)
        .await
        .route_case(route("list-tasks"))
        .await;
    let more = "INSERT INTO task (user_id, title, description, priority, completed, created_at, updated_at)
                SELECT user_id, number, repeat('x', 1000), priority, completed, created_at, updated_at
                FROM task, generate_series(1, 500) AS number";
    database.owner.batch_execute(more).await;
    let instance = ProxiedFunction::connected_in("list-tasks", &database.environment).await;
    instance
        .proxy
        .inject_once(Direction::ToClient, 0, 250_000, Fault::Disconnect);
    let response = instance.function.http(&route_case.request()).await;
    assert!(instance.proxy.triggered());
    let titles: Vec<_> = response
        .body
        .as_array()
        .expect("a list")
        .iter()
        .map(|task| task["title"].clone())
        .collect();
    let expected: Vec<_> = std::iter::once(json!("as it was"))
        .chain((1..=500).map(|number| json!(number.to_string())))
        .collect();
    assert_eq!(titles, expected);
    database.drop().await;
}

#[tokio::test]
async fn a_second_disconnect_is_503() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    let instance = ProxiedFunction::connected("me").await;
    // Only the first connection of a process queries the schema version.
    let statement = instance.proxy.round_trips();
    instance.proxy.inject_always(statement, Fault::Disconnect);
    let response = instance
        .http_within(&route_case.request(), HEALTH_CHECK_AND_RECONNECT)
        .await;
    response.assert_unavailable();
    assert_eq!(instance.proxy.accepted_connections(), 2);
    instance.proxy.clear();
    assert!(route_case.is_success(&instance.function.http(&route_case.request()).await));
}

#[tokio::test]
async fn a_slow_read_on_an_idle_connection_is_sent_once() {
    let database = TestDatabase::migrated().await;
    let fixtures = Fixtures::in_environment(&database.environment).await;
    let route_case = fixtures.route_case(route("get-task")).await;
    let function = Function::start("get-task", &database.environment).await;
    assert!(route_case.is_success(&function.http(&route_case.request()).await));
    sleep(LONG_IDLE).await;
    let lock_holder = database.lock_table("task").await;
    let release = async {
        // Longer than the health check.
        sleep(Duration::from_secs(2)).await;
        lock_holder.batch_execute("ROLLBACK").await;
    };
    let request = route_case.request();
    let (response, ()) = tokio::join!(function.http(&request), release);
    assert!(route_case.is_success(&response), "{response:?}");
    let log = function.stop().await;
    assert!(!log.contains("again"), "{log}");
    database.drop().await;
}

// ----- Statements that take too long -----

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_times_out() {
    let database = TestDatabase::migrated().await;
    let route_case = Fixtures::in_environment(&database.environment)
        .await
        .route_case(route("create-task"))
        .await;
    let before = route_case.snapshot(&database.owner).await;
    let lock_holder = database.lock_table("task").await;
    let function = Function::start("create-task", &database.environment).await;
    let started = Instant::now();
    function
        .http(&route_case.request())
        .await
        .assert_unavailable();
    assert!(
        started.elapsed() < STATEMENT_TIMEOUT,
        "{:?}",
        started.elapsed()
    );
    let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'task'::regclass";
    eventually("the statement stops waiting", async || {
        lock_holder.query(waiting, &[]).await.is_empty()
    })
    .await;
    lock_holder.batch_execute("COMMIT").await;
    assert_eq!(route_case.snapshot(&database.owner).await, before);
    let response = function.http(&route_case.request()).await;
    assert!(route_case.is_success(&response), "{response:?}");
    let log = function.stop().await;
    assert!(log.contains("it was cancelled"), "{log}");
    database.drop().await;
}

/// A locked table behind Neon's proxy and a pooler, and instances that create tasks in it.
struct LockedTable {
    database: TestDatabase,
    /// Holds the lock until `COMMIT`.
    lock_holder: Database,
    proxy: NeonProxy,
    instances: Vec<(Function, RouteCase)>,
    /// The snapshot of each case before its request.
    before: Vec<Value>,
    _certificate: SelfSignedCertificate,
}

impl LockedTable {
    async fn new(count: usize) -> Option<Self> {
        let database = TestDatabase::migrated().await;
        let Some(environment) = database.pooled_environment() else {
            skip(
                "cancelling through a pooler",
                "there is no POOLED_DATABASE_URL",
            );
            database.drop().await;
            return None;
        };
        let fixtures = Fixtures::in_environment(&database.environment).await;
        let certificate = SelfSignedCertificate::create();
        let proxy = NeonProxy::start_for(environment.value("DATABASE_URL"), &certificate).await;
        let environment = environment
            .with("DATABASE_URL", proxy.url())
            .with("SSL_CERT_FILE", certificate.path());
        let (mut instances, mut before) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let route_case = fixtures.route_case(route("create-task")).await;
            before.push(route_case.snapshot(&database.owner).await);
            instances.push((
                Function::start("create-task", &environment).await,
                route_case,
            ));
        }
        let lock_holder = database.lock_table("task").await;
        Some(Self {
            database,
            lock_holder,
            proxy,
            instances,
            before,
            _certificate: certificate,
        })
    }

    /// Creates the tasks of all instances at the same time.
    async fn create_tasks(&self) -> Vec<HttpResponse> {
        let create = async |(function, route_case): &(Function, RouteCase)| {
            let started = Instant::now();
            let response = function.http(&route_case.request()).await;
            assert!(
                started.elapsed() < STATEMENT_TIMEOUT,
                "{:?}",
                started.elapsed()
            );
            response
        };
        join_all(self.instances.iter().map(create)).await
    }

    /// The snapshot of each case after all statements have ended.
    async fn snapshots_after(&self) -> Vec<Value> {
        let busy = "SELECT 1 FROM pg_stat_activity
                    WHERE datname = current_database() AND usename <> current_user AND state <> 'idle'";
        eventually("all statements end", async || {
            self.database.owner.query(busy, &[]).await.is_empty()
        })
        .await;
        let cases = self.instances.iter();
        join_all(cases.map(async |(_, route_case)| route_case.snapshot(&self.database.owner).await))
            .await
    }

    /// Stops the instances, drops the database and returns the logs.
    async fn finish(self) -> String {
        let logs = self.instances.into_iter();
        let logs = join_all(logs.map(async |(function, _)| function.stop().await)).await;
        self.database.drop().await;
        logs.concat()
    }
}

#[tokio::test]
async fn a_cancelled_write_behind_neons_proxy_never_runs() {
    let Some(locked) = LockedTable::new(8).await else {
        return;
    };
    for response in locked.create_tasks().await {
        response.assert_unavailable();
    }
    assert_eq!(locked.proxy.cancel_requests(), 8);
    locked.lock_holder.batch_execute("COMMIT").await;
    assert_eq!(locked.snapshots_after().await, locked.before);
    let log = locked.finish().await;
    assert_eq!(log.matches("it was cancelled").count(), 8, "{log}");
}

#[tokio::test]
async fn a_failed_cancellation_is_logged_as_such() {
    let Some(locked) = LockedTable::new(1).await else {
        return;
    };
    locked.proxy.drop_cancel_requests();
    locked.create_tasks().await[0].assert_unavailable();
    locked.lock_holder.batch_execute("COMMIT").await;
    locked.snapshots_after().await;
    let log = locked.finish().await;
    assert!(
        log.contains("it could not be cancelled, and may still be done"),
        "{log}"
    );
}

#[tokio::test]
async fn a_write_that_completes_before_cancellation_is_201() {
    let Some(locked) = LockedTable::new(1).await else {
        return;
    };
    locked.proxy.drop_cancel_requests();
    let release = async {
        eventually("a cancel request arrives", async || {
            locked.proxy.cancel_requests() == 1
        })
        .await;
        locked.lock_holder.batch_execute("COMMIT").await;
    };
    let (responses, ()) = tokio::join!(locked.create_tasks(), release);
    assert_eq!(responses[0].status, 201, "{responses:?}");
    assert_ne!(locked.snapshots_after().await, locked.before);
    locked.finish().await;
}

// ----- Termination of an instance -----

#[tokio::test]
async fn a_terminated_instance_frees_its_connection_slot() {
    let database = Database::from_env().await;
    // Lambda sends SIGTERM if an extension is registered, and SIGKILL otherwise.
    for signal in [Signal::TERM, Signal::KILL] {
        let instance = ProxiedFunction::connected("me").await;
        instance.function.signal(signal);
        let sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1";
        let ended = async || {
            database
                .query(sessions, &[&instance.application_name])
                .await
                .is_empty()
        };
        eventually("the session ends", ended).await;
    }
}
