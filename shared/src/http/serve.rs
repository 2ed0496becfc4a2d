//! What every main calls.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use futures_util::FutureExt as _;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceBuilder;
use lambda_http::{Adapter, LambdaEvent, Response, service_fn};

use super::access_log::log_answer;
use super::app::App;
use super::error::Error;
use super::reply::Reply;
use super::request::{Request, without_uri};
use crate::cause::Cause;
use crate::settings::{self, Settings};
use crate::{database, telemetry, timeouts};

/// Serves one route until Lambda ends the process: checks the settings, connects to the database while the first event is
/// being fetched, and answers each request with what `handler` returns.
///
/// A handler that fails or panics is answered too. Only bad settings and a failing runtime end the process.
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
    let answer = move |request: lambda_http::Request| async move {
        let request = Request::from(request);
        let reply = log_answer(request, move |request| bounded(handler(request))).await;
        Ok::<_, Infallible>(Response::from(reply))
    };
    let service = ServiceBuilder::new()
        .map_request(|event: LambdaEvent<LambdaRequest>| LambdaEvent {
            payload: without_uri(event.payload),
            ..event
        })
        .service(Adapter::from(service_fn(answer)));
    telemetry::exit_status(lambda_runtime::run_concurrent(service).await)
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
