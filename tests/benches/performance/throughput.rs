//! Throughput of many instances.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;
use tests::database::TestDatabase;
use tests::fixtures::Fixtures;
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::route;

use crate::sample::Sample;

/// The result of instances that each get their next request as soon as they have answered the last.
#[derive(Serialize)]
pub(crate) struct Throughput {
    pub(crate) instances: usize,
    pub(crate) pooled: bool,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Measures get-task on the direct connection, and on the pooler where there is one.
pub(crate) async fn measure(own: &TestDatabase, seconds: u64) -> Vec<Throughput> {
    let fixtures = Fixtures::in_environment(&own.environment).await;
    let request = fixtures.route_case(route("get-task")).await.request();
    let environments = [Some(own.environment.clone()), own.pooled_environment()];
    let mut measured = Vec::new();
    for (pooled, environment) in [false, true].into_iter().zip(environments) {
        let Some(environment) = environment else {
            continue;
        };
        for instances in [1, 10, 50] {
            let duration = Duration::from_secs(seconds);
            let latency = run(&environment, instances, &request, duration).await;
            #[expect(clippy::cast_precision_loss, reason = "some thousands")]
            measured.push(Throughput {
                instances,
                pooled,
                requests_per_second: latency.len() as f64 / duration.as_secs_f64(),
                p50_ms: latency.percentile(50),
                p99_ms: latency.percentile(99),
            });
        }
    }
    measured
}

async fn run(
    environment: &Environment,
    instances: usize,
    request: &HttpEvent,
    duration: Duration,
) -> Sample {
    let start = async |_| {
        let mut function = Function::start("get-task", environment).await;
        function.wait_until_ready().await;
        assert_eq!(function.http(request).await.status, 200);
        function
    };
    let functions = join_all((0..instances).map(start)).await;
    let end = Instant::now() + duration;
    let send_until_end = async |function: &Function| {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let (answer, timing) = function.http_timed(request).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            latencies.push(timing.request);
        }
        latencies
    };
    let mut sample = Sample::default();
    for latency in join_all(functions.iter().map(send_until_end))
        .await
        .concat()
    {
        sample.add_time(latency);
    }
    sample
}
