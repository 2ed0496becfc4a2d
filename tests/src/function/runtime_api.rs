//! A local server that implements the Lambda Runtime API for one function.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{TIMEOUT, TRACE_ID};

/// When a function responded to an event, and its response or its error.
pub(super) type InvocationResult = (Instant, Result<Bytes, Bytes>);

/// An event with its request id.
type Invocation = (String, Value);

/// The server. It stops when it is dropped.
pub(super) struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    events: mpsc::Sender<Invocation>,
    event_requests: mpsc::UnboundedReceiver<Instant>,
    server: JoinHandle<()>,
}

struct Shared {
    events: Mutex<mpsc::Receiver<Invocation>>,
    /// The receivers of the responses, by request id.
    pending: Mutex<HashMap<String, oneshot::Sender<InvocationResult>>>,
    /// Gets the time of each request for an event.
    event_requests: mpsc::UnboundedSender<Instant>,
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl RuntimeApi {
    /// Starts a server on a free port.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (events, receiver) = mpsc::channel(100);
        let (request_sender, event_requests) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: Mutex::new(receiver),
            pending: Mutex::default(),
            event_requests: request_sender,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .layer(DefaultBodyLimit::max(16 * 1024 * 1024))
            .with_state(shared.clone());
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self {
            address,
            shared,
            events,
            event_requests,
            server,
        }
    }

    /// The host and port for `AWS_LAMBDA_RUNTIME_API`.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends an event. The receiver gets the response of the function.
    pub(super) async fn send(
        &self,
        id: String,
        event: Value,
    ) -> oneshot::Receiver<InvocationResult> {
        let (sender, response) = oneshot::channel();
        self.shared.pending.lock().await.insert(id.clone(), sender);
        self.events.send((id, event)).await.expect("a runtime");
        response
    }

    /// Waits until the function requests an event, and returns the time of the request.
    pub(super) async fn event_requested(&mut self) -> Option<Instant> {
        self.event_requests.recv().await
    }

    /// Fails the current or the next request for an event, which ends the function.
    pub(super) fn end_events(&mut self) {
        self.events = mpsc::channel(1).0;
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    // This fails if the test has dropped the receiver.
    let _ = shared.event_requests.send(Instant::now());
    let Some((id, event)) = shared.events.lock().await.recv().await else {
        return incomplete_response();
    };
    let deadline = SystemTime::now() + TIMEOUT;
    let deadline = deadline
        .duration_since(UNIX_EPOCH)
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

/// A response that breaks off. The function exits when it receives it.
fn incomplete_response() -> Response {
    let end = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("the end"))]);
    Response::new(Body::from_stream(end))
}

async fn response(shared: State<Arc<Shared>>, id: Path<String>, body: Bytes) -> StatusCode {
    complete(&shared, &id, Ok(body)).await
}

async fn error(shared: State<Arc<Shared>>, id: Path<String>, body: Bytes) -> StatusCode {
    complete(&shared, &id, Err(body)).await
}

async fn complete(shared: &Shared, id: &str, result: Result<Bytes, Bytes>) -> StatusCode {
    let arrived = Instant::now();
    let sender = shared
        .pending
        .lock()
        .await
        .remove(id)
        .expect("an event of the test");
    // This fails if the test has stopped waiting.
    let _ = sender.send((arrived, result));
    StatusCode::ACCEPTED
}
