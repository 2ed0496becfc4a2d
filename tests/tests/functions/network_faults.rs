//! What becomes of requests when connections fail: answers in time, and nothing lost or done twice.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::certificate::SelfSignedCertificate;
use tests::chaos_proxy::{ChaosProxy, Direction, Fault};
use tests::database::{self, Database, TestDatabase};
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::neon_proxy::NeonProxy;
use tests::{skip, unique};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use tests::fixtures::{Fixtures, RouteCase};
use tests::routes::{route, routes};

/// More than the time for which a connection is trusted after it was last heard.
const DOUBT: Duration = Duration::from_millis(5_200);

/// The time to find a connection dead and to make another, with what busy tests take.
const PROOF_AND_CONNECTING: Duration = Duration::from_secs(3);

/// The time after which a request without a connection has its answer.
const NO_CONNECTION: Duration = Duration::from_secs(6);

/// The same for one whose statement is not answered, and then cancelled.
const NO_ANSWER: Duration = Duration::from_secs(8);

/// The time in which bytes arrive at another process of this machine.
const ARRIVAL: Duration = Duration::from_millis(50);

/// An instance, with a proxy of its own between it and the database.
pub(crate) struct Instance {
    pub(crate) function: Function,
    pub(crate) proxy: ChaosProxy,
    /// What the server calls its sessions.
    name: String,
}

impl Instance {
    /// One that connects by way of a proxy which may have something in store.
    async fn start(function: &str, proxy: ChaosProxy) -> Self {
        Self::start_on(function, proxy, &Environment::default()).await
    }

    async fn start_on(function: &str, proxy: ChaosProxy, environment: &Environment) -> Self {
        let name = format!("test-{}", unique());
        let url = proxy.url_for(environment.value("DATABASE_URL"));
        let url = format!("{url}&application_name={name}");
        let environment = environment.clone().with("DATABASE_URL", url);
        Self {
            function: Function::start(function, &environment).await,
            proxy,
            name,
        }
    }

    /// One that has connected, ahead of its first request.
    pub(crate) async fn connected(function: &str) -> Self {
        Self::connected_on(function, &Environment::default()).await
    }

    async fn connected_on(function: &str, environment: &Environment) -> Self {
        let instance = Self::start_on(function, ChaosProxy::start().await, environment).await;
        // It has asked for the schema's version, and has the answer.
        let asked = "SELECT 1 FROM pg_stat_activity
                     WHERE application_name = $1 AND state = 'idle' AND query <> ''";
        let database = look().await;
        let asked = async || !database.query(asked, &[&instance.name]).await.is_empty();
        eventually("a connection", asked).await;
        sleep(ARRIVAL).await;
        instance
    }

    /// Has the server end its sessions.
    async fn end_sessions(&self, database: &Database) {
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        assert_eq!(database.query(end, &[&self.name]).await.len(), 1);
    }

    /// Sends a request, and sees that the answer comes in time.
    async fn answer(&self, request: &HttpEvent, limit: Duration) -> HttpResponse {
        self.answer_while(request, limit, async {}).await
    }

    /// The same, while something happens.
    async fn answer_while(
        &self,
        request: &HttpEvent,
        limit: Duration,
        event: impl Future<Output = ()>,
    ) -> HttpResponse {
        let started = Instant::now();
        let (answer, ()) = tokio::join!(self.function.http(request), event);
        let took = started.elapsed();
        assert!(took < limit, "{took:?} of {limit:?}: {answer:?}");
        answer
    }
}

/// Waits for what other processes are about to do.
async fn eventually(what: &str, happens: impl AsyncFn() -> bool) {
    let wait = async {
        while !happens().await {
            sleep(ARRIVAL).await;
        }
    };
    let waited = timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "there is not: {what}");
}

async fn look() -> Database {
    database::connect_or_skip("faults")
        .await
        .expect("a DATABASE_URL")
}

/// How many round trips a first connection takes, the schema's version included.
async fn connecting() -> u64 {
    Instance::connected("me").await.proxy.round_trips()
}

/// Sees that every route does after one thing, and while another happens, and in time, what it does without.
async fn no_route_notices(
    before: impl AsyncFn(&Instance, &Database),
    meanwhile: impl AsyncFn(&Instance, &Database),
) {
    let database = look().await;
    let fixtures = Fixtures::new().await;
    join_all(routes().iter().map(async |route| {
        let [_, after] = fixtures.expected_snapshots(route, &database).await;
        let route_case = fixtures.route_case(route).await;
        let instance = Instance::connected(route.function).await;
        before(&instance, &database).await;
        let event = meanwhile(&instance, &database);
        let answer = instance
            .answer_while(&route_case.request(), PROOF_AND_CONNECTING, event)
            .await;
        assert!(route_case.is_success(&answer), "{route:?}: {answer:?}");
        assert_eq!(route_case.snapshot(&database).await, after, "{route:?}");
    }))
    .await;
}

// ----- A connection that dies while it is idle -----

#[tokio::test]
async fn no_route_notices_that_its_connection_was_ended_while_idle() {
    let end = async |instance: &Instance, database: &Database| {
        instance.end_sessions(database).await;
        instance.proxy.wait_until_closed().await;
    };
    no_route_notices(end, async |_, _| ()).await;
}

#[tokio::test]
async fn no_route_notices_that_its_connection_was_ended_while_frozen() {
    let freeze = async |instance: &Instance, _: &Database| instance.function.freeze();
    // The request is there before the end of the connection: who looks at it first does not know of the other.
    let end_and_thaw = async |instance: &Instance, database: &Database| {
        sleep(ARRIVAL).await;
        instance.end_sessions(database).await;
        sleep(ARRIVAL).await;
        instance.function.thaw();
    };
    no_route_notices(freeze, end_and_thaw).await;
}

#[tokio::test]
async fn a_connection_that_was_ended_during_a_long_freeze_is_replaced_before_it_is_used() {
    let route_case = Fixtures::new().await.route_case(route("get-task")).await;
    let instance = Instance::connected("get-task").await;
    instance.function.freeze();
    instance.end_sessions(&look().await).await;
    sleep(DOUBT).await;
    let thaw = async {
        sleep(ARRIVAL).await;
        instance.function.thaw();
    };
    let request = route_case.request();
    let answer = instance.answer_while(&request, PROOF_AND_CONNECTING, thaw);
    assert!(route_case.is_success(&answer.await));
    let log = instance.function.stop().await;
    assert!(
        log.contains(r#""retries":0"#) && !log.contains("again"),
        "{log}"
    );
}

#[tokio::test]
async fn no_route_notices_that_the_server_fell_silent_while_it_was_frozen() {
    let fall_silent = async |instance: &Instance, _: &Database| {
        instance.function.freeze();
        instance.proxy.silence_open_connections();
        sleep(DOUBT).await;
    };
    let thaw = async |instance: &Instance, _: &Database| instance.function.thaw();
    no_route_notices(fall_silent, thaw).await;
}

#[tokio::test]
async fn a_doubtful_connection_is_proven_by_a_read_and_before_a_write() {
    let fixtures = Fixtures::new().await;
    join_all(
        [("get-task", 1), ("create-task", 2)].map(async |(function, round_trips)| {
            let route_case = fixtures.route_case(route(function)).await;
            let instance = Instance::connected(function).await;
            sleep(DOUBT).await;
            let before = instance.proxy.round_trips();
            let answer = instance.function.http(&route_case.request()).await;
            assert!(route_case.is_success(&answer), "{answer:?}");
            let took = instance.proxy.round_trips() - before;
            assert_eq!(took, round_trips, "{function}");
        }),
    )
    .await;
}

// ----- A server that says nothing -----

#[tokio::test]
async fn where_the_server_says_nothing_the_answer_comes_in_time_and_nothing_is_left_over() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    // Whatever the connection is asked, and last the statement itself.
    let connecting = connecting().await;
    join_all((1..=connecting + 1).map(async |step| {
        let proxy = ChaosProxy::start().await;
        proxy.inject_always(step, Fault::Blackhole);
        let instance = Instance::start("me", proxy).await;
        let limit = if step > connecting {
            NO_ANSWER
        } else {
            NO_CONNECTION
        };
        let answer = instance.answer(&route_case.request(), limit).await;
        answer.assert_unavailable();
        let cause = if step > connecting {
            "no answer to a statement"
        } else {
            "could not connect: no answer in 2.5s"
        };
        assert!(instance.function.output().contains(cause), "{step}");
        instance.proxy.wait_until_closed().await;

        instance.proxy.clear();
        let answer = instance.function.http(&route_case.request()).await;
        assert!(route_case.is_success(&answer), "{step}: {answer:?}");
    }))
    .await;
}

#[tokio::test]
async fn where_the_network_drops_everything_the_answer_comes_in_time() {
    // A queue of connections that is full: the system drops what else comes.
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    socket.bind(any).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(ARRIVAL, TcpStream::connect(address)).await {
        queue.push(connected.expect("a connection"));
        assert!(queue.len() < 100, "nothing is dropped");
    }
    let url = format!("postgresql://u:p@127.0.0.1:{}/d", address.port());
    let environment = Environment::default().with("DATABASE_URL", url);
    let function = Function::start("health", &environment).await;
    let started = Instant::now();
    function
        .http(&HttpEvent::deep_health())
        .await
        .assert_unavailable();
    assert!(started.elapsed() < NO_CONNECTION, "{:?}", started.elapsed());
    let log = function.stop().await;
    assert!(log.contains("could not connect: "), "{log}");
}

#[tokio::test]
async fn where_the_first_connection_says_nothing_a_second_one_answers() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    join_all((1..=connecting().await).map(async |step| {
        let proxy = ChaosProxy::start().await;
        proxy.inject_once(Direction::ToServer, step - 1, 0, Fault::Blackhole);
        let instance = Instance::start("me", proxy).await;
        let answer = instance.answer(&route_case.request(), NO_CONNECTION).await;
        assert!(route_case.is_success(&answer), "{step}: {answer:?}");
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

// ----- A server without a slot, or that refuses -----

/// A database to which there is no connection to be had, directly and by way of the pooler.
async fn without_slot() -> (TestDatabase, Vec<Environment>) {
    let own = TestDatabase::migrated().await;
    let environments = [Some(own.environment.clone()), own.pooled_environment()];
    own.set_connection_limit(0).await;
    (own, environments.into_iter().flatten().collect())
}

#[tokio::test]
async fn a_request_waits_for_a_slot() {
    let (own, environments) = without_slot().await;
    let ask = async |environment: &Environment| {
        let function = Function::start("health", environment).await;
        let answer = function.http(&HttpEvent::deep_health()).await;
        assert_eq!(answer.status, 200, "{}", function.stop().await);
    };
    let release = async {
        sleep(Duration::from_secs(1)).await;
        own.set_connection_limit(-1).await;
    };
    tokio::join!(join_all(environments.iter().map(ask)), release);
    own.drop().await;
}

#[tokio::test]
async fn a_request_that_gets_no_slot_is_answered_in_time() {
    let (own, environments) = without_slot().await;
    join_all(environments.iter().map(async |environment| {
        let function = Function::start("health", environment).await;
        let started = Instant::now();
        function
            .http(&HttpEvent::deep_health())
            .await
            .assert_unavailable();
        assert!(started.elapsed() < NO_CONNECTION, "{:?}", started.elapsed());
        let log = function.stop().await;
        assert!(log.contains("attempts in 5s"), "{log}");
        // It is asked again and again, but not in a flood.
        let attempts = log.split_once(" attempts").expect("their number").0;
        let attempts = attempts.rsplit_once('(').expect("a number").1;
        assert!(
            (4..40).contains(&attempts.parse().expect("a number")),
            "{log}"
        );
    }))
    .await;
    own.drop().await;
}

/// A server that can turn clients away, and what a function that works on it is given.
async fn doorkeeper(certificate: &SelfSignedCertificate) -> (NeonProxy, Environment) {
    let server = NeonProxy::start(certificate).await;
    let environment = Environment::default()
        .with("DATABASE_URL", server.url())
        .with("SSL_CERT_FILE", certificate.path());
    (server, environment)
}

#[tokio::test]
async fn what_passes_is_waited_for() {
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
        let (server, environment) = doorkeeper(&certificate).await;
        server.reject_connections(2, code, message);
        let function = Function::start("health", &environment).await;
        let answer = function.http(&HttpEvent::deep_health()).await;
        assert_eq!((answer.status, server.connections()), (200, 3), "{message}");
    }
}

#[tokio::test]
async fn what_only_the_operator_can_mend_is_asked_once_and_the_log_says_what_to_do() {
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
        let (server, environment) = doorkeeper(&certificate).await;
        server.reject_connections(u64::MAX, code, message);
        // One that connects ahead of its first request, and does not ask again for that.
        let mut function = Function::start("me", &environment).await;
        function.wait_until_ready().await;
        let started = Instant::now();
        function
            .http(&route_case.request())
            .await
            .assert_unavailable();
        assert!(started.elapsed() < Duration::from_secs(1), "{message}");
        assert_eq!(server.connections(), 1, "{message}");
        let log = function.stop().await;
        assert_eq!(log.matches("could not connect").count(), 1, "{log}");
        assert!(log.contains(advice), "{log}");
    }
}

// ----- A connection that is cut while it is in use -----

/// How far a statement or its answer gets.
const CUTS: [(Direction, usize); 4] = [
    (Direction::ToServer, 0),
    (Direction::ToServer, 40),
    (Direction::ToClient, 0),
    (Direction::ToClient, 40),
];

#[tokio::test]
async fn what_was_cut_off_is_sent_again_only_where_that_does_no_harm() {
    let database = look().await;
    let fixtures = Fixtures::new().await;
    join_all(routes().iter().map(async |route| {
        let [before, after] = fixtures.expected_snapshots(route, &database).await;
        for statement in 0..route.statements {
            for (side, byte) in CUTS {
                let route_case = fixtures.route_case(route).await;
                let instance = Instance::connected(route.function).await;
                instance
                    .proxy
                    .inject_once(side, statement, byte, Fault::Disconnect);
                let answer = instance
                    .answer(&route_case.request(), PROOF_AND_CONNECTING)
                    .await;
                let case = format!("{route:?}, statement {statement}, {side:?} {byte}: {answer:?}");
                assert!(instance.proxy.triggered(), "{case}");
                let happened = if !route.is_idempotent && statement + 1 == route.statements {
                    answer.assert_unavailable();
                    if side == Direction::ToServer {
                        &before
                    } else {
                        &after
                    }
                } else {
                    assert!(route_case.is_success(&answer), "{case}");
                    &after
                };
                assert_eq!(&route_case.snapshot(&database).await, happened, "{case}");
                // The instance is well.
                assert!(instance.function.http(&route_case.request()).await.status < 500);
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn a_write_whose_answer_never_came_is_not_sent_again() {
    let database = look().await;
    let fixtures = Fixtures::new().await;
    let [_, after] = fixtures
        .expected_snapshots(route("create-task"), &database)
        .await;
    let route_case = fixtures.route_case(route("create-task")).await;
    let instance = Instance::connected("create-task").await;
    instance
        .proxy
        .inject_once(Direction::ToClient, 0, 0, Fault::Blackhole);
    let answer = instance.answer(&route_case.request(), NO_ANSWER).await;
    answer.assert_unavailable();
    assert_eq!(route_case.snapshot(&database).await, after);
}

#[tokio::test]
async fn a_long_list_that_is_cut_in_the_middle_is_read_again_from_its_start() {
    let own = TestDatabase::migrated().await;
    let route_case = Fixtures::in_environment(&own.environment)
        .await
        .route_case(route("list-tasks"))
        .await;
    let more = "INSERT INTO task (user_id, title, description, priority, completed, created_at, updated_at)
                SELECT user_id, number, repeat('x', 1000), priority, completed, created_at, updated_at
                FROM task, generate_series(1, 500) AS number";
    own.owner.batch_execute(more).await;
    let instance = Instance::connected_on("list-tasks", &own.environment).await;
    instance
        .proxy
        .inject_once(Direction::ToClient, 0, 250_000, Fault::Disconnect);
    let answer = instance.function.http(&route_case.request()).await;
    assert!(instance.proxy.triggered());
    let titles: Vec<_> = answer
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
    own.drop().await;
}

#[tokio::test]
async fn what_is_cut_off_twice_is_unavailable() {
    let route_case = Fixtures::new().await.route_case(route("me")).await;
    let instance = Instance::connected("me").await;
    // Only the first connection of a process asks for the schema's version.
    let statement = instance.proxy.round_trips();
    instance.proxy.inject_always(statement, Fault::Disconnect);
    let answer = instance
        .answer(&route_case.request(), PROOF_AND_CONNECTING)
        .await;
    answer.assert_unavailable();
    assert_eq!(instance.proxy.accepted_connections(), 2);
    instance.proxy.clear();
    assert!(route_case.is_success(&instance.function.http(&route_case.request()).await));
}

// ----- A statement that takes too long -----

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_is_cancelled_at_its_deadline() {
    let own = TestDatabase::migrated().await;
    let route_case = Fixtures::in_environment(&own.environment)
        .await
        .route_case(route("create-task"))
        .await;
    let before = route_case.snapshot(&own.owner).await;
    let locker = own.connect().await;
    locker
        .batch_execute("BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
        .await;
    let function = Function::start("create-task", &own.environment).await;
    let started = Instant::now();
    function
        .http(&route_case.request())
        .await
        .assert_unavailable();
    assert!(started.elapsed() < NO_ANSWER, "{:?}", started.elapsed());
    let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'task'::regclass";
    eventually("an end of the wait", async || {
        locker.query(waiting, &[]).await.is_empty()
    })
    .await;
    locker.batch_execute("COMMIT").await;
    assert_eq!(route_case.snapshot(&own.owner).await, before);
    let answer = function.http(&route_case.request()).await;
    assert!(route_case.is_success(&answer), "{answer:?}");
    let log = function.stop().await;
    assert!(log.contains("it was cancelled"), "{log}");
    own.drop().await;
}

/// A locked table behind Neon's proxy and a pooler, and instances that have a task to create in it.
struct Locked {
    own: TestDatabase,
    locker: Database,
    proxy: NeonProxy,
    instances: Vec<(Function, RouteCase)>,
    /// What the database holds of each.
    before: Vec<Value>,
    _certificate: SelfSignedCertificate,
}

impl Locked {
    async fn new(count: usize) -> Option<Self> {
        let own = TestDatabase::migrated().await;
        let Some(environment) = own.pooled_environment() else {
            skip(
                "cancelling through a pooler",
                "there is no POOLED_DATABASE_URL",
            );
            own.drop().await;
            return None;
        };
        let fixtures = Fixtures::in_environment(&own.environment).await;
        let certificate = SelfSignedCertificate::create();
        let proxy = NeonProxy::start_for(environment.value("DATABASE_URL"), &certificate).await;
        let environment = environment
            .with("DATABASE_URL", proxy.url())
            .with("SSL_CERT_FILE", certificate.path());
        let (mut instances, mut before) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let route_case = fixtures.route_case(route("create-task")).await;
            before.push(route_case.snapshot(&own.owner).await);
            instances.push((
                Function::start("create-task", &environment).await,
                route_case,
            ));
        }
        let locker = own.connect().await;
        locker
            .batch_execute("BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
            .await;
        Some(Self {
            own,
            locker,
            proxy,
            instances,
            before,
            _certificate: certificate,
        })
    }

    /// Has every instance create its task at the same time.
    async fn create(&self) -> Vec<HttpResponse> {
        let create = async |(function, route_case): &(Function, RouteCase)| {
            let started = Instant::now();
            let answer = function.http(&route_case.request()).await;
            assert!(started.elapsed() < NO_ANSWER, "{:?}", started.elapsed());
            answer
        };
        join_all(self.instances.iter().map(create)).await
    }

    /// What the database holds of each, once nothing runs or waits there any more.
    async fn after(&self) -> Vec<Value> {
        let busy = "SELECT 1 FROM pg_stat_activity
                    WHERE datname = current_database() AND usename <> current_user AND state <> 'idle'";
        eventually("an end of all statements", async || {
            self.own.owner.query(busy, &[]).await.is_empty()
        })
        .await;
        let books = self.instances.iter();
        join_all(books.map(async |(_, route_case)| route_case.snapshot(&self.own.owner).await))
            .await
    }

    /// Ends all of it, and gives what the instances logged.
    async fn end(self) -> String {
        let logs = self.instances.into_iter();
        let logs = join_all(logs.map(async |(function, _)| function.stop().await)).await;
        self.own.drop().await;
        logs.concat()
    }
}

#[tokio::test]
async fn a_write_that_is_given_up_behind_neons_proxy_is_not_done_later() {
    let Some(locked) = Locked::new(8).await else {
        return;
    };
    for answer in locked.create().await {
        answer.assert_unavailable();
    }
    assert_eq!(locked.proxy.cancel_requests(), 8);
    locked.locker.batch_execute("COMMIT").await;
    assert_eq!(locked.after().await, locked.before);
    let log = locked.end().await;
    assert_eq!(log.matches("it was cancelled").count(), 8, "{log}");
}

#[tokio::test]
async fn a_write_that_cannot_be_cancelled_is_not_said_to_be() {
    let Some(locked) = Locked::new(1).await else {
        return;
    };
    locked.proxy.drop_cancel_requests();
    locked.create().await[0].assert_unavailable();
    locked.locker.batch_execute("COMMIT").await;
    locked.after().await;
    let log = locked.end().await;
    assert!(
        log.contains("it could not be cancelled, and may still be done"),
        "{log}"
    );
}

#[tokio::test]
async fn a_write_that_is_done_before_it_is_cancelled_is_answered() {
    let Some(locked) = Locked::new(1).await else {
        return;
    };
    locked.proxy.drop_cancel_requests();
    let release = async {
        eventually("a cancel request", async || {
            locked.proxy.cancel_requests() == 1
        })
        .await;
        locked.locker.batch_execute("COMMIT").await;
    };
    let (answers, ()) = tokio::join!(locked.create(), release);
    assert_eq!(answers[0].status, 201, "{answers:?}");
    assert_ne!(locked.after().await, locked.before);
    locked.end().await;
}

// ----- The end of an instance -----

#[tokio::test]
async fn an_instance_that_ends_frees_its_slot_at_once() {
    let database = look().await;
    // As Lambda does where an extension is registered, and where none is.
    for signal in [Signal::TERM, Signal::KILL] {
        let instance = Instance::connected("me").await;
        let signalled = Instant::now();
        instance.function.signal(signal);
        let sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1";
        let ended = async || database.query(sessions, &[&instance.name]).await.is_empty();
        eventually("an end of the session", ended).await;
        assert!(signalled.elapsed() < Duration::from_secs(1), "{signal:?}");
    }
}
