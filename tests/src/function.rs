//! A single function under a Lambda runtime: the real binary, fed by an HTTP server that speaks the Lambda Runtime API
//! to it, as Lambda itself does.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{unique, without_token};

/// X-Ray's trace of every event.
pub const TRACE_ID: &str = "1-5759e988-bd862e3fe1be46a994272793";

/// How long anything that a function does may take before its test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The path of a function's binary: where there is one, that of the build for Lambda.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let target = test.ancestors().nth(3).expect("target/");
    let path = if cfg!(target_os = "linux") {
        target.join("lambda").join(name).join("bootstrap")
    } else {
        target.join("release").join(name)
    };
    assert!(
        path.is_file(),
        "{} is not built; run `./dev test`",
        path.display()
    );
    path
}

/// What the process of a function is given: the settings that the tests run with, to be changed by a test.
#[derive(Clone, Debug)]
pub struct Environment(HashMap<String, String>);

impl Default for Environment {
    fn default() -> Self {
        let names = [
            "APPLICATION_ROLE",
            "DATABASE_URL",
            "DATABASE_URL_UNPOOLED",
            "SECRET_KEY",
            "SSL_CERT_FILE",
            "ALLOW_LOCAL_DATABASE",
            "MAX_FAILED_LOGINS_PER_ADDRESS",
            "MAX_REGISTRATIONS_PER_ADDRESS",
            "AWS_LAMBDA_LOG_LEVEL",
        ];
        Self(
            names
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
                .collect(),
        )
    }
}

impl Environment {
    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a variable out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> &str {
        &self.0[name]
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.0)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct ProcessOutput {
    /// Its exit status; `None` where a signal ended it.
    pub status: Option<i32>,
    /// Standard output and standard error.
    pub text: String,
}

/// Runs a binary to its end, outside of Lambda.
pub async fn run(name: &str, arguments: &[&str], environment: &Environment) -> ProcessOutput {
    let mut command = environment.command(binary(name));
    let output = timeout(PATIENCE, command.args(arguments).output())
        .await
        .expect("an end")
        .expect("a process");
    let printed = [output.stdout, output.stderr].concat();
    std::fs::write(logs().join(unique()), &printed).expect("a log");
    ProcessOutput {
        status: output.status.code(),
        text: String::from_utf8_lossy(&printed).into_owned(),
    }
}

/// Starts a binary outside of Lambda. It is killed when it is dropped.
pub fn spawn(name: &str, environment: &Environment) -> Child {
    environment
        .command(binary(name))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

/// What a function has made of an event, and when that was here.
type Answered = (Instant, Result<Bytes, Bytes>);

type Answers = HashMap<String, oneshot::Sender<Answered>>;

/// The Runtime API's side of one function.
struct Runtime {
    events: Mutex<mpsc::Receiver<(String, Value)>>,
    answers: Mutex<Answers>,
    /// How often the function asked for an event.
    asked: mpsc::UnboundedSender<Instant>,
}

/// A running function.
pub struct Function {
    process: Child,
    started: Instant,
    /// Where all that it prints goes.
    log: PathBuf,
    runtime: Arc<Runtime>,
    events: mpsc::Sender<(String, Value)>,
    asked: mpsc::UnboundedReceiver<Instant>,
    server: JoinHandle<()>,
    count: std::sync::atomic::AtomicU64,
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Function {
    /// Starts a function.
    pub async fn start(name: &str, environment: &Environment) -> Self {
        Self::start_with_wrapper(&[], name, environment).await
    }

    /// Starts a function under another program, such as a tracer.
    pub async fn start_with_wrapper(
        program: &[&str],
        name: &str,
        environment: &Environment,
    ) -> Self {
        Self::start_binary(program, name, &binary(name), environment).await
    }

    /// Starts the function that lies in a file.
    pub async fn start_from_file(
        name: &str,
        file: &std::path::Path,
        environment: &Environment,
    ) -> Self {
        Self::start_binary(&[], name, file, environment).await
    }

    async fn start_binary(
        program: &[&str],
        name: &str,
        file: &std::path::Path,
        environment: &Environment,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (events, receiver) = mpsc::channel(100);
        let (asked_sender, asked) = mpsc::unbounded_channel();
        let runtime = Arc::new(Runtime {
            events: Mutex::new(receiver),
            answers: Mutex::default(),
            asked: asked_sender,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failure))
            .layer(axum::extract::DefaultBodyLimit::max(16 * 1024 * 1024))
            .with_state(runtime.clone());
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });

        let environment = environment
            .clone()
            .with("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .with("AWS_LAMBDA_FUNCTION_NAME", name)
            .with("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .with("AWS_LAMBDA_FUNCTION_VERSION", "1");
        let mut words: Vec<_> = program.iter().map(std::convert::Into::into).collect();
        words.push(file.to_owned());
        let mut command = environment.command(&words[0]);
        let kind = if program.is_empty() { "log" } else { "traced" };
        let log = logs().join(format!("{}.{kind}", unique()));
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
            runtime,
            events,
            asked,
            server,
            count: 0.into(),
        }
    }

    /// Whether the function asks for an event before it ends.
    pub async fn requests_event(&mut self) -> bool {
        tokio::select! {
            asked = self.asked.recv() => asked.is_some(),
            _ = self.process.wait() => false,
        }
    }

    /// Waits until the function has asked for its next event, or its first, and gives the time from its start to that.
    pub async fn wait_until_ready(&mut self) -> Duration {
        let asked = timeout(PATIENCE, self.asked.recv())
            .await
            .expect("the function does not ask for an event")
            .expect("a runtime");
        asked - self.started
    }

    /// Gives the function an event and waits for what it makes of it.
    ///
    /// # Errors
    /// What the function reports as its own failure.
    pub async fn invoke(&self, event: Value) -> Result<Value, Value> {
        let (_, answer) = self.answer(event).await;
        let json = |bytes: Bytes| serde_json::from_slice(&bytes).expect("JSON");
        answer.map(json).map_err(json)
    }

    async fn answer(&self, event: Value) -> Answered {
        let number = self
            .count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("00000000-0000-4000-8000-{number:012}");
        let (sender, answer) = oneshot::channel();
        self.runtime.answers.lock().await.insert(id.clone(), sender);
        self.events.send((id, event)).await.expect("a runtime");
        timeout(PATIENCE, answer)
            .await
            .expect("the function does not answer")
            .expect("an answer")
    }

    /// Sends an HTTP request as API Gateway would, and gives the status, the headers and the body of the answer.
    pub async fn http(&self, request: &HttpEvent) -> HttpResponse {
        let answer = self.invoke(request.to_event()).await;
        HttpResponse::from(&answer.unwrap_or_else(|failure| panic!("{failure}")))
    }

    /// The same, with how long it took, and how long it was since the function was started.
    pub async fn http_timed(&self, request: &HttpEvent) -> (HttpResponse, Timing) {
        let event = request.to_event();
        let sent = Instant::now();
        let (answered, answer) = self.answer(event).await;
        let timing = Timing {
            request: answered - sent,
            since_start: answered - self.started,
        };
        let answer = serde_json::from_slice(&answer.expect("an answer")).expect("JSON");
        (HttpResponse::from(&answer), timing)
    }

    /// The id of its process.
    pub fn process_id(&self) -> u32 {
        self.process.id().expect("a process")
    }

    /// Freezes the process, as Lambda does between requests.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets the process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.process_id().cast_signed()).expect("a process");
        kill_process(id, signal).expect("a process of ours");
    }

    /// The memory that the process has in use, in bytes.
    pub fn resident_memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory that the process has had in use, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// The time that the threads of the process have run, as Linux counts it for each of those that there are.
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process_id()));
        let nanoseconds = threads.expect("a process").map(|thread| {
            let schedule = thread.expect("a thread").path().join("schedstat");
            // A thread may end meanwhile.
            let schedule = std::fs::read_to_string(schedule).unwrap_or_default();
            let ran: Option<u64> = schedule.split(' ').next().and_then(|ran| ran.parse().ok());
            ran.unwrap_or_default()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// A size in bytes that Linux tells of the process.
    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.expect("a size").trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    /// The processor time that all of its threads have had, in the system's ticks.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process_id()));
        let stat = stat.expect("a process");
        // After the name, which may hold spaces: fields 14 and 15 (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let times = fields.split(' ').skip(11).take(2);
        times
            .map(|time| time.parse::<u64>().expect("a number"))
            .sum()
    }

    /// Ends the process and gives all that it printed.
    pub async fn stop(mut self) -> String {
        self.process.start_kill().expect("a process");
        self.wait().await
    }

    /// Lets the process see that there are no more events, which ends it, and gives all that it printed. Unlike
    /// [`Function::stop`], this leaves a tracer around it the time to finish.
    pub async fn end(mut self) -> String {
        // It may have asked for the next one already, or be about to.
        self.events = mpsc::channel(1).0;
        self.wait().await
    }

    async fn wait(&mut self) -> String {
        timeout(PATIENCE, self.process.wait())
            .await
            .expect("the process does not end")
            .expect("a process");
        self.output()
    }

    /// All that the process has printed so far.
    pub fn output(&self) -> String {
        let printed = std::fs::read(&self.log).expect("a log");
        String::from_utf8_lossy(&printed).into_owned()
    }
}

/// The folder in which `./dev test` looks for secrets when all tests are done.
fn logs() -> PathBuf {
    PathBuf::from(std::env::var_os("TEST_LOGS").expect("TEST_LOGS is not set; run `./dev test`"))
}

/// When an answer was here, before it was read.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the request.
    pub request: Duration,
    /// From the start of the process.
    pub since_start: Duration,
}

/// What a function answered over HTTP.
pub struct HttpResponse {
    /// The status.
    pub status: u64,
    /// The headers, by their names in lower case.
    pub headers: Value,
    /// The body.
    pub body: Value,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = without_token(self.body.clone());
        write!(formatter, "{} {} {body}", self.status, self.headers)
    }
}

impl From<&Value> for HttpResponse {
    fn from(answer: &Value) -> Self {
        let body = answer["body"].as_str().expect("a body");
        Self {
            status: answer["statusCode"].as_u64().expect("a status"),
            headers: answer["headers"].clone(),
            body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")),
        }
    }
}

impl HttpResponse {
    /// Sees that the database could not answer, and that the client is told when to try again.
    #[track_caller]
    pub fn assert_unavailable(&self) {
        assert_eq!(
            (self.status, &self.body),
            (503, &json!({"detail": "Service temporarily unavailable"}))
        );
        let retry_after = self.headers["retry-after"].as_str();
        assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    }
}

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    // A test that does not wait for it does not listen.
    let _ = runtime.asked.send(Instant::now());
    let Some((id, event)) = runtime.events.lock().await.recv().await else {
        return break_off();
    };
    let deadline = std::time::SystemTime::now() + PATIENCE;
    let deadline = deadline
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time after 1970");
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-central-1:000000000000:function:test".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            format!("Root={TRACE_ID};Parent=53995c3f42cd8ad8;Sampled=1"),
        ),
    ];
    (
        headers.map(|(name, value)| (HeaderName::from_static(name), value)),
        event.to_string(),
    )
        .into_response()
}

/// An answer that breaks off, which ends the function: there are no more events.
fn break_off() -> Response {
    let end = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("the end"))]);
    Response::new(Body::from_stream(end))
}

async fn response(runtime: State<Arc<Runtime>>, id: Path<String>, body: Bytes) -> StatusCode {
    resolve(&runtime, &id, Ok(body)).await
}

async fn failure(runtime: State<Arc<Runtime>>, id: Path<String>, body: Bytes) -> StatusCode {
    resolve(&runtime, &id, Err(body)).await
}

async fn resolve(runtime: &Runtime, id: &str, answer: Result<Bytes, Bytes>) -> StatusCode {
    let answered = Instant::now();
    let sender = runtime
        .answers
        .lock()
        .await
        .remove(id)
        .expect("an event of ours");
    // A test that has given up does not listen.
    let _ = sender.send((answered, answer));
    StatusCode::ACCEPTED
}

/// An HTTP request, as API Gateway's HTTP API hands it to a function (payload format 2.0).
#[derive(Clone, Debug)]
pub struct HttpEvent {
    method: String,
    path: String,
    parameters: HashMap<String, String>,
    query: String,
    headers: HashMap<String, String>,
    body: Option<Vec<u8>>,
    encoded: bool,
    source_ip: String,
}

impl HttpEvent {
    /// A request for a route, such as `/api/{user_id}/tasks`, with the values of its path parameters in their order.
    pub fn new(method: &str, route: &str, values: &[&str]) -> Self {
        let names: Vec<_> = route
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(names.len(), values.len(), "{route}");
        let mut path = route.to_owned();
        let mut parameters = HashMap::new();
        for (name, value) in names.iter().zip(values) {
            path = path.replace(&format!("{{{name}}}"), value);
            parameters.insert((*name).to_owned(), (*value).to_owned());
        }
        Self {
            method: method.to_owned(),
            path,
            parameters,
            query: String::new(),
            headers: HashMap::new(),
            body: None,
            encoded: false,
            source_ip: "192.0.2.1".to_owned(),
        }
    }

    /// A look at the database, through a function that needs no token.
    pub fn deep_health() -> Self {
        Self::new("GET", "/health", &[]).query("deep=1")
    }

    /// With a query.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// From another address.
    #[must_use]
    pub fn source_ip(mut self, address: &str) -> Self {
        address.clone_into(&mut self.source_ip);
        self
    }

    /// With a token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Without a token.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.headers.remove("authorization");
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string().as_bytes())
    }

    /// With a body of any bytes.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// With a body that the gateway takes for binary.
    #[must_use]
    pub fn base64(mut self, body: &[u8]) -> Self {
        self.encoded = true;
        self.body(body)
    }

    /// Without the parameters of its path.
    #[must_use]
    pub fn without_parameters(mut self) -> Self {
        self.parameters.clear();
        self
    }

    /// The event that it is to a function.
    pub fn to_event(&self) -> Value {
        // As API Gateway does: what is not text goes in base64.
        let (body, encoded) = match &self.body {
            None => (Value::Null, false),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !self.encoded => (text.into(), false),
                _ => (STANDARD.encode(bytes).into(), true),
            },
        };
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": self.headers,
            "pathParameters": self.parameters,
            "body": body,
            "isBase64Encoded": encoded,
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "test",
                "domainName": "test.execute-api.eu-central-1.amazonaws.com",
                "domainPrefix": "test",
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": self.source_ip,
                    "userAgent": "test"
                },
                "requestId": "test",
                "routeKey": "$default",
                "stage": "$default",
                "time": "23/Nov/2026:06:03:59 +0000",
                "timeEpoch": 1_795_413_839_000_u64
            }
        })
    }
}
