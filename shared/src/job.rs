//! What the main of a function without a route calls: a schedule or a deployment invokes it.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use tracing::error;

use crate::database::{self, Database};
use crate::settings::{self, Settings};
use crate::telemetry;

/// Serves a job on the database until Lambda ends the process. Of the settings it needs only `DATABASE_URL`. The job's first
/// statement connects.
///
/// Any event starts the job; see [`serve_events`].
pub async fn serve_job<T: Serialize, J>(job: J) -> ExitCode
where
    J: AsyncFn(&'static Database, Duration) -> Result<T, database::Error>,
{
    let function = telemetry::crate_name_of::<J>();
    telemetry::init(function);
    let url = match Settings::database_from_env() {
        Ok(url) => url.for_function(function),
        Err(errors) => return telemetry::fail(&errors),
    };
    if let Err(errors) = settings::require_lambda() {
        return telemetry::fail(&errors);
    }
    database::log_ignored_parameters(&url);
    // It lives as long as the process.
    let database: &'static Database = Box::leak(Box::new(Database::new(url, 1)));
    serve_events(async |_event, time_left| job(database, time_left).await).await
}

/// Answers events until Lambda ends the process. Each event starts the job, which gets the event and the time that Lambda
/// leaves it. Its result is the function's result, and its error the function's failure.
pub async fn serve_events<T: Serialize, E: Display>(
    job: impl AsyncFn(Value, Duration) -> Result<T, E>,
) -> ExitCode {
    let answer = async |event: LambdaEvent<Value>| {
        let deadline = UNIX_EPOCH + Duration::from_millis(event.context.deadline);
        // `elapsed` fails where the time is in the future, and says how far.
        let time_left = deadline.elapsed().err().map(|ahead| ahead.duration());
        let answer = job(event.payload, time_left.unwrap_or_default()).await;
        answer.map_err(|cause| {
            error!(request_id = event.context.request_id, %cause, "failed");
            lambda_runtime::Error::from(cause.to_string())
        })
    };
    telemetry::exit_status(lambda_runtime::run(service_fn(answer)).await)
}
