//! A single function under a Lambda runtime: the real binary, which gets its events from a local server that implements
//! the Lambda Runtime API.

mod http_event;
mod process;
mod process_stats;
mod runtime_api;

pub use http_event::{HttpEvent, HttpResponse};
pub use process::{Environment, ProcessOutput, binary, log_folder, run, spawn};

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Child;
use tokio::time::timeout;

use crate::unique;
use runtime_api::{InvocationResult, RuntimeApi};

/// The X-Ray trace id of every event.
pub const TRACE_ID: &str = "1-5759e988-bd862e3fe1be46a994272793";

/// How long one step of a function may take before the test fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running instance of a function.
pub struct Function {
    process: Child,
    started: Instant,
    /// The file that gets standard output and standard error.
    log: PathBuf,
    runtime_api: RuntimeApi,
    invocations: AtomicU64,
}

/// When a response arrived, before it was read.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Since the request.
    pub request: Duration,
    /// Since the start of the process.
    pub since_start: Duration,
}

impl Function {
    /// Starts a function.
    pub async fn start(name: &str, environment: &Environment) -> Self {
        Self::start_with_wrapper(&[], name, environment).await
    }

    /// Starts a function under another program, such as a tracer.
    pub async fn start_with_wrapper(
        wrapper: &[&str],
        name: &str,
        environment: &Environment,
    ) -> Self {
        let runtime_api = RuntimeApi::start().await;
        let environment = environment
            .clone()
            .with("AWS_LAMBDA_RUNTIME_API", runtime_api.address().to_string())
            .with("AWS_LAMBDA_FUNCTION_NAME", name)
            .with("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .with("AWS_LAMBDA_FUNCTION_VERSION", "1");
        let mut words: Vec<OsString> = wrapper.iter().map(std::convert::Into::into).collect();
        words.push(binary(name).into());
        let mut command = environment.command(&words[0]);
        let kind = if wrapper.is_empty() { "log" } else { "traced" };
        let log = log_folder().join(format!("{}.{kind}", unique()));
        let file = File::create_new(&log).expect("a log");
        let started = Instant::now();
        let process = command
            .args(&words[1..])
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .expect("a process");
        Self {
            process,
            started,
            log,
            runtime_api,
            invocations: 0.into(),
        }
    }

    /// Whether the function requests an event before the process ends.
    pub async fn requests_event(&mut self) -> bool {
        tokio::select! {
            requested = self.runtime_api.event_requested() => requested.is_some(),
            _ = self.process.wait() => false,
        }
    }

    /// Waits until the function requests its first or its next event. Returns the time since the start of the process.
    pub async fn wait_until_ready(&mut self) -> Duration {
        let requested = timeout(TIMEOUT, self.runtime_api.event_requested())
            .await
            .expect("the function does not request an event")
            .expect("a runtime");
        requested - self.started
    }

    /// Invokes the function with an event and returns its response.
    ///
    /// # Errors
    /// The error that the function reports to the Runtime API.
    pub async fn invoke(&self, event: Value) -> Result<Value, Value> {
        let (_, response) = self.invoke_raw(event).await;
        let json = |bytes: Bytes| serde_json::from_slice(&bytes).expect("JSON");
        response.map(json).map_err(json)
    }

    async fn invoke_raw(&self, event: Value) -> InvocationResult {
        let number = self.invocations.fetch_add(1, Ordering::Relaxed);
        let id = format!("00000000-0000-4000-8000-{number:012}");
        let response = self.runtime_api.send(id, event).await;
        timeout(TIMEOUT, response)
            .await
            .expect("the function does not respond")
            .expect("a response")
    }

    /// Sends an HTTP request in the form of API Gateway and returns the response.
    pub async fn http(&self, request: &HttpEvent) -> HttpResponse {
        let response = self.invoke(request.to_event()).await;
        HttpResponse::from(&response.unwrap_or_else(|failure| panic!("{failure}")))
    }

    /// The same as [`Function::http`], with the time at which the response arrived.
    pub async fn http_timed(&self, request: &HttpEvent) -> (HttpResponse, Timing) {
        let event = request.to_event();
        let sent = Instant::now();
        let (arrived, response) = self.invoke_raw(event).await;
        let timing = Timing {
            request: arrived - sent,
            since_start: arrived - self.started,
        };
        let response = serde_json::from_slice(&response.expect("a response")).expect("JSON");
        (HttpResponse::from(&response), timing)
    }

    /// The id of the process.
    pub fn process_id(&self) -> u32 {
        self.process.id().expect("a process")
    }

    /// Freezes the process, as Lambda does between requests.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes a frozen process.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.process_id().cast_signed()).expect("a process");
        kill_process(id, signal).expect("a process of the test");
    }

    /// Kills the process and returns its output.
    pub async fn stop(mut self) -> String {
        self.process.start_kill().expect("a process");
        self.wait().await
    }

    /// Ends the process by ending the events, and returns its output. Unlike [`Function::stop`] this lets a tracer
    /// around the process finish.
    pub async fn finish(mut self) -> String {
        self.runtime_api.end_events();
        self.wait().await
    }

    async fn wait(&mut self) -> String {
        timeout(TIMEOUT, self.process.wait())
            .await
            .expect("the process does not end")
            .expect("a process");
        self.output()
    }

    /// The output of the process so far: standard output and standard error.
    pub fn output(&self) -> String {
        let output = std::fs::read(&self.log).expect("a log");
        String::from_utf8_lossy(&output).into_owned()
    }
}
