//! Each route alone: its cold start, its warm requests, its round trips.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tests::chaos_proxy::ChaosProxy;
use tests::function::{Function, HttpEvent, HttpResponse};
use tests::unique;

use crate::Effort;
use crate::sample::Sample;
use crate::subject::{BASELINE, Subject};

/// A cold start, measured from the start of the process.
#[derive(Default)]
pub(crate) struct Cold {
    /// Milliseconds until the function asks for its first event.
    pub(crate) ready: Sample,
    /// Milliseconds until its first answer.
    pub(crate) answered: Sample,
    /// CPU milliseconds until its first answer.
    pub(crate) cpu: Sample,
}

/// The requests of an instance that has answered before.
#[derive(Default)]
pub(crate) struct Warm {
    /// Milliseconds until the answer.
    pub(crate) latency: Sample,
    /// CPU milliseconds of a request.
    pub(crate) cpu: Sample,
    /// The peak memory of the process, in bytes.
    pub(crate) peak_memory: u64,
}

/// Round trips to the database, inferred from latency.
pub(crate) struct RoundTrips {
    /// Those of the first answer, including the connection.
    pub(crate) cold: f64,
    /// Those of a later answer.
    pub(crate) warm: f64,
}

/// Panics if the measured request failed.
fn assert_success(name: &str, answer: &HttpResponse) {
    assert!(answer.status < 300, "{name}: {answer:?}");
}

/// Starts all subjects in turn, `starts` times.
pub(crate) async fn cold(subjects: &mut [Subject], starts: usize) -> Vec<Cold> {
    let mut measured: Vec<_> = subjects.iter().map(|_| Cold::default()).collect();
    for _ in 0..starts {
        for (subject, measured) in subjects.iter_mut().zip(&mut measured) {
            start(subject, measured).await;
        }
    }
    measured
}

async fn start(subject: &mut Subject, measured: &mut Cold) {
    let request = subject.request();
    let mut function = subject.start().await;
    let (answer, timing) = function.http_timed(&request).await;
    measured.cpu.add_time(function.cpu_time());
    measured.ready.add_time(function.wait_until_ready().await);
    measured.answered.add_time(timing.since_start);
    assert_success(subject.name, &answer);
    function.stop().await;
}

/// Sends requests to a warm instance of each subject, in turn.
pub(crate) async fn warm(subjects: &mut [Subject], effort: &Effort) -> Vec<Warm> {
    let mut instances = Vec::new();
    for subject in subjects.iter_mut() {
        let mut function = subject.start().await;
        function.wait_until_ready().await;
        send(&mut function, subject.name, &subject.request()).await;
        instances.push((function, Warm::default()));
    }
    for _ in 0..effort.rounds {
        for (subject, (function, measured)) in subjects.iter_mut().zip(&mut instances) {
            let count = if subject.hashes_password() {
                1
            } else {
                effort.requests
            };
            let requests: Vec<_> = (0..count).map(|_| subject.request()).collect();
            let cpu = function.cpu_time();
            for request in &requests {
                let latency = send(function, subject.name, request).await;
                measured.latency.add_time(latency);
            }
            let cpu = function.cpu_time().saturating_sub(cpu);
            let count = u32::try_from(count).expect("a few");
            measured.cpu.add_time(cpu / count);
        }
    }
    instances
        .into_iter()
        .map(|(function, measured)| Warm {
            peak_memory: function.peak_memory(),
            ..measured
        })
        .collect()
}

/// Sends a request to an instance that waits for one, and waits until the instance is ready again.
async fn send(function: &mut Function, name: &str, request: &HttpEvent) -> Duration {
    let (answer, timing) = function.http_timed(request).await;
    assert_success(name, &answer);
    function.wait_until_ready().await;
    timing.request
}

/// The latencies that are added to the connection to the database, one way.
const ADDED_LATENCIES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

/// Infers the number of round trips from how much the added network latency slows an answer.
pub(crate) async fn round_trips(subjects: &mut [Subject]) -> Vec<RoundTrips> {
    let counted = subjects.iter_mut().map(round_trips_of);
    // A few run concurrently, because they mostly wait.
    stream::iter(counted).buffered(3).collect().await
}

async fn round_trips_of(subject: &mut Subject) -> RoundTrips {
    let mut cold = [Sample::default(), Sample::default()];
    let mut warm = [Sample::default(), Sample::default()];
    for _ in 0..4 {
        for (added, (cold, warm)) in ADDED_LATENCIES.iter().zip(cold.iter_mut().zip(&mut warm)) {
            let proxy = ChaosProxy::start().await;
            proxy.set_delay(*added);
            let url = proxy.url_for(subject.environment.value("DATABASE_URL"));
            let environment = subject.environment.clone().with("DATABASE_URL", url);
            let mut function = Function::start(subject.binary, &environment).await;
            let (answer, timing) = function.http_timed(&subject.request()).await;
            assert_success(subject.name, &answer);
            cold.add_time(timing.since_start);
            function.wait_until_ready().await;
            function.wait_until_ready().await;
            for _ in 0..2 {
                warm.add_time(send(&mut function, subject.name, &subject.request()).await);
            }
            function.stop().await;
        }
    }
    let [short, long] = ADDED_LATENCIES.map(|added| 2.0 * added.as_secs_f64() * 1_000.0);
    let slope = |times: [Sample; 2]| (times[1].min() - times[0].min()) / (long - short);
    RoundTrips {
        cold: slope(cold),
        warm: slope(warm),
    }
}

/// Cold starts of the baseline and of get-task with a certificate file that also holds `bundle`.
pub(crate) async fn with_more_certificates(
    subjects: &mut [Subject],
    bundle: &str,
    starts: usize,
) -> [Cold; 2] {
    let file = std::env::temp_dir().join(format!("{}.crt", unique()));
    let path = file.to_str().expect("a path in UTF-8");
    let read = |path: &str| std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut measured = [Cold::default(), Cold::default()];
    let own = subjects[0].environment.value("SSL_CERT_FILE").to_owned();
    std::fs::write(&file, [read(bundle), read(&own)].concat()).expect("a file");
    for _ in 0..starts {
        for (name, measured) in [BASELINE, "get-task"].iter().zip(&mut measured) {
            let subject = subjects.iter_mut().find(|subject| subject.name == *name);
            let subject = subject.expect("a subject");
            let environment = subject.environment.clone();
            subject.environment = environment.clone().with("SSL_CERT_FILE", path);
            start(subject, measured).await;
            subject.environment = environment;
        }
    }
    std::fs::remove_file(&file).expect("a file of ours");
    measured
}
