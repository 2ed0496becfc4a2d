//! A function that reaches the database through a [`ChaosProxy`].

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::chaos_proxy::ChaosProxy;
use crate::database::Database;
use crate::function::{Environment, Function, HttpEvent, HttpResponse};
use crate::unique;

/// An upper bound for the time in which bytes reach another process of this machine.
pub const LOCAL_DELIVERY: Duration = Duration::from_millis(50);

/// How long [`eventually`] waits.
const EVENTUALLY: Duration = Duration::from_mins(1);

/// The time in which a function connects before its first request, if it does: its own limit is 5 s.
const PRECONNECT: Duration = Duration::from_secs(10);

/// An instance with its own proxy.
pub struct ProxiedFunction {
    /// The instance.
    pub function: Function,
    /// The proxy between the instance and the database.
    pub proxy: ChaosProxy,
    /// The `application_name` of its database sessions.
    pub application_name: String,
}

impl ProxiedFunction {
    /// Starts a function behind a proxy that can have faults already.
    pub async fn start(function: &str, proxy: ChaosProxy) -> Self {
        Self::start_in(function, proxy, &Environment::default()).await
    }

    async fn start_in(function: &str, proxy: ChaosProxy, environment: &Environment) -> Self {
        let application_name = format!("test-{}", unique());
        let url = proxy.url_for(environment.value("DATABASE_URL"));
        let url = format!("{url}&application_name={application_name}");
        let environment = environment.clone().with("DATABASE_URL", url);
        Self {
            function: Function::start(function, &environment).await,
            proxy,
            application_name,
        }
    }

    /// Starts a function and waits until it has connected, before its first request.
    pub async fn connected(function: &str) -> Self {
        Self::connected_in(function, &Environment::default()).await
    }

    /// The same as [`ProxiedFunction::connected`], with other settings.
    ///
    /// A function connects once before its first request. On a machine that is too busy it may give up; then this starts
    /// another one.
    pub async fn connected_in(function: &str, environment: &Environment) -> Self {
        // Then the query for the schema version is complete.
        let idle = "SELECT 1 FROM pg_stat_activity
                    WHERE application_name = $1 AND state = 'idle' AND query <> ''";
        let database = Database::from_env().await;
        for _ in 0..5 {
            let instance = Self::start_in(function, ChaosProxy::start().await, environment).await;
            let is_idle = async || {
                let sessions = database.query(idle, &[&instance.application_name]).await;
                !sessions.is_empty()
            };
            if holds_within(PRECONNECT, is_idle).await {
                sleep(LOCAL_DELIVERY).await;
                return instance;
            }
        }
        panic!("{function} does not connect");
    }

    /// Terminates its database session on the server.
    pub async fn terminate_session(&self, database: &Database) {
        let terminate =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        let terminated = database.query(terminate, &[&self.application_name]).await;
        assert_eq!(terminated.len(), 1);
    }

    /// Sends a request and asserts that the response arrives in time.
    pub async fn http_within(&self, request: &HttpEvent, limit: Duration) -> HttpResponse {
        self.http_during(request, limit, async {}).await
    }

    /// The same as [`ProxiedFunction::http_within`], while something else happens.
    pub async fn http_during(
        &self,
        request: &HttpEvent,
        limit: Duration,
        event: impl Future<Output = ()>,
    ) -> HttpResponse {
        let started = Instant::now();
        let (response, ()) = tokio::join!(self.function.http(request), event);
        let took = started.elapsed();
        assert!(took < limit, "{took:?} of {limit:?}: {response:?}");
        response
    }
}

/// Waits until a condition holds that depends on other processes.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let held = holds_within(EVENTUALLY, holds).await;
    assert!(held, "this never happens: {what}");
}

async fn holds_within(limit: Duration, holds: impl AsyncFn() -> bool) -> bool {
    let wait = async {
        while !holds().await {
            sleep(LOCAL_DELIVERY).await;
        }
    };
    timeout(limit, wait).await.is_ok()
}
