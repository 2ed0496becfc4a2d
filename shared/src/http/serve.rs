//! What every main calls.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use futures_util::FutureExt as _;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, LambdaEvent, Response, Service as _, service_fn};
use lambda_runtime::Diagnostic;
use serde_json::value::RawValue;

use super::access_log::log_answer;
use super::app::App;
use super::error::Error;
use super::reply::Reply;
use super::request::{Request, take_query};
use crate::cause::Cause;
use crate::settings::{self, Settings};
use crate::{database, telemetry, timeouts};

/// Serves one route until Lambda ends the process: checks the settings, connects to the database while the first event is
/// being fetched, and answers each request with what `handler` returns.
///
/// A handler that fails or panics is answered too, and an event that is no request is the function's error. Only bad settings
/// and a failing runtime end the process.
pub async fn serve<H, F>(handler: H) -> ExitCode
where
    H: Fn(Request, &'static App) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    match start::<H>() {
        Ok(app) => {
            tokio::spawn(app.database.warm_up());
            run(move |request| handler(request, app)).await
        }
        Err(status) => status,
    }
}

/// Like [`serve`], for a route that can answer without the database: it connects when the handler runs a statement.
pub async fn serve_lazily<H, F>(handler: H) -> ExitCode
where
    H: Fn(Request, &'static App) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    match start::<H>() {
        Ok(app) => run(move |request| handler(request, app)).await,
        Err(status) => status,
    }
}

/// Like [`serve`], for a route that answers everyone the same: it has no settings, no secrets and no database.
pub async fn serve_without_settings<H, F>(handler: H) -> ExitCode
where
    H: Fn(Request) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    telemetry::init(telemetry::crate_name_of::<H>());
    match settings::require_lambda() {
        Ok(()) => run(handler).await,
        Err(errors) => telemetry::fail(&errors),
    }
}

fn start<H>() -> Result<&'static App, ExitCode> {
    let function = telemetry::crate_name_of::<H>();
    telemetry::init(function);
    let mut settings = Settings::from_env().map_err(|errors| telemetry::fail(&errors))?;
    settings::require_lambda().map_err(|errors| telemetry::fail(&errors))?;
    settings.database = settings.database.for_function(function);
    database::log_ignored_parameters(&settings.database);
    // It lives as long as the process.
    Ok(Box::leak(Box::new(App::new(settings))))
}

async fn run<H, F>(handler: H) -> ExitCode
where
    H: Fn(Request) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    let answer = move |request: Request| async move {
        let is_head = request.is_head();
        let reply = log_answer(request, move |request| bounded(handler(request))).await;
        let reply = if is_head { reply.without_body() } else { reply };
        Ok::<_, Infallible>(Response::from(reply))
    };
    // The runtime would read the event where a panic ends the process: an event of 40,000 headers is one. So it gets the
    // event unread.
    let service = service_fn(move |event: LambdaEvent<Box<RawValue>>| async move {
        let read = || {
            let payload = serde_json::from_str::<LambdaRequest>(event.payload.get()).ok()?;
            let (payload, query) = take_query(payload);
            let event = LambdaEvent::new(payload, event.context);
            let answer = move |request| answer(Request::new(request, query.clone()));
            Some(Adapter::from(service_fn(answer)).call(event))
        };
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Some(answer)) => answer.await.map_err(|never| match never {}),
            Ok(None) | Err(_) => Err(unreadable_event()),
        }
    });
    telemetry::exit_status(lambda_runtime::run_concurrent(service).await)
}

/// Why an event is not answered. It repeats nothing of the event, which may hold a token or a password.
fn unreadable_event() -> Diagnostic {
    Diagnostic {
        error_type: "UnreadableEvent".to_owned(),
        error_message: "the event is not a request of an API Gateway HTTP API, payload format 2.0"
            .to_owned(),
    }
}

/// The answer of a handler. A panic and a timeout become errors.
async fn bounded(answer: impl Future<Output = Result<Reply, Error>>) -> Result<Reply, Error> {
    match timeouts::within_request(AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        // The panic itself is already in the log.
        Ok(Err(_)) => Err(Error::Internal(Cause::new("the handler panicked"))),
        Err(_) => Err(Error::Unavailable(Cause::new(format!(
            "no answer in {:?}",
            timeouts::REQUEST
        )))),
    }
}
