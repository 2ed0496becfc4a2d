//! What every main calls.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use super::request::without_uri;
use super::{Reply, Request};
use crate::error::Cause;
use crate::settings::{self, Settings};
use crate::telemetry::request::Record;
use crate::{App, Error, deadlines, telemetry};
use futures_util::FutureExt as _;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceBuilder;
use lambda_http::{Adapter, LambdaEvent, Response, service_fn};

/// Serves one route, until Lambda ends the process: checks the settings, connects to the database while the first
/// event is on its way, and answers each request with what `handler` makes of it.
///
/// A handler that fails or panics is an answer too; only bad settings and a failing runtime end the process.
pub async fn serve<H, F>(handler: H) -> ExitCode
where
    H: Fn(Request, &'static App) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    match start::<H>() {
        Ok(app) => {
            tokio::spawn(app.database.warm_up());
            run(handler, app).await
        }
        Err(status) => status,
    }
}

/// Like [`serve`], for a route that can answer without the database: it is connected to when the handler asks for it.
pub async fn serve_lazily<H, F>(handler: H) -> ExitCode
where
    H: Fn(Request, &'static App) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    match start::<H>() {
        Ok(app) => run(handler, app).await,
        Err(status) => status,
    }
}

fn start<H>() -> Result<&'static App, ExitCode> {
    let program = telemetry::program_of::<H>();
    telemetry::init(program);
    let mut settings = Settings::from_env().map_err(|problems| telemetry::fail(&problems))?;
    settings.database = settings.database.of_program(program);
    settings::require_lambda().map_err(|problem| telemetry::fail(&[problem]))?;
    telemetry::warn_of_parameters(&settings.database);
    // It lives as long as the process.
    Ok(Box::leak(Box::new(App::new(settings))))
}

async fn run<H, F>(handler: H, app: &'static App) -> ExitCode
where
    H: Fn(Request, &'static App) -> F + Copy + Send + 'static,
    F: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    let answer = move |request: lambda_http::Request| async move {
        let request = Request::from(request);
        let record = Record::of(&request);
        let reply = record.keep(bounded(handler(request, app))).await;
        Ok::<_, Infallible>(Response::from(reply))
    };
    let service = ServiceBuilder::new()
        .map_request(|event: LambdaEvent<LambdaRequest>| LambdaEvent {
            payload: without_uri(event.payload),
            ..event
        })
        .service(Adapter::from(service_fn(answer)));
    telemetry::runtime_ended(lambda_runtime::run_concurrent(service).await)
}

/// The answer of a handler, whatever becomes of it.
async fn bounded(answer: impl Future<Output = Result<Reply, Error>>) -> Result<Reply, Error> {
    match deadlines::in_request(AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        // The panic itself is in the log already.
        Ok(Err(_)) => Err(Error::Internal(Cause::new("the handler panicked"))),
        Err(_) => Err(Error::Unavailable(Cause::new(format!(
            "no answer in {:?}",
            deadlines::REQUEST
        )))),
    }
}
