//! The log: one line of JSON for each event, or readable text on a terminal. Each request has one line, each process one
//! for its first connection, and whatever goes wrong on the way one of its own.

use std::io::{IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

use crate::settings::DatabaseUrl;

mod metrics;
pub(crate) mod request;

/// Whether someone reads along on a terminal.
static IS_FOR_PEOPLE: LazyLock<bool> = LazyLock::new(|| std::io::stdout().is_terminal());

fn is_for_people() -> bool {
    *IS_FOR_PEOPLE
}

/// The crate in which a handler is written: that of a function's binary, such as `get_task`.
pub(crate) fn program_of<H>() -> &'static str {
    let name = std::any::type_name::<H>();
    name.split("::").next().unwrap_or(name)
}

/// Sets up the log of this process. `AWS_LAMBDA_LOG_LEVEL` or `RUST_LOG` names the lowest level of our own lines,
/// `info` by default, which are those of this crate and of `program`, the binary's; of other crates only warnings are
/// shown, since their lower levels print what they are given.
pub fn init(program: &'static str) {
    let level = ["AWS_LAMBDA_LOG_LEVEL", "RUST_LOG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok()?.parse::<LevelFilter>().ok())
        .unwrap_or(LevelFilter::INFO);
    let ours = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target(env!("CARGO_PKG_NAME"), level)
        .with_target(program, level);

    let lines = tracing_subscriber::fmt::layer();
    let lines = if is_for_people() {
        lines.boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    };
    // A second call, as tests make, changes nothing.
    let _ =
        tracing::subscriber::set_global_default(Registry::default().with(lines.with_filter(ours)));
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    error!(
        request_id = request::id(),
        location,
        "panic: {}",
        panic.payload_as_str().unwrap_or("no message")
    );
}

/// Says on stderr why the process ends, a line for each problem, and gives the status it ends with.
pub fn fail(problems: &[String]) -> ExitCode {
    for problem in problems {
        // Plain lines, readable by whoever started it.
        let _ = writeln!(std::io::stderr(), "error: {problem}");
    }
    ExitCode::FAILURE
}

/// The status of a process whose Lambda runtime has ended, and why on stderr where it failed.
pub(crate) fn runtime_ended(result: Result<(), lambda_runtime::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&[format!("the Lambda runtime failed: {error}")]),
    }
}

/// Says what is not heeded in `DATABASE_URL`.
pub(crate) fn warn_of_parameters(url: &DatabaseUrl) {
    if !url.set_aside().is_empty() {
        warn!(
            parameters = url.set_aside().join(" "),
            "parameters of DATABASE_URL without a meaning here"
        );
    }
}

/// Says which database a process works on that has no pool.
pub fn log_database(url: &DatabaseUrl) {
    warn_of_parameters(url);
    info!(
        host = url.host(),
        database = url.database(),
        role = url.role(),
        route = %url.route(),
        "starting"
    );
}

/// Says what the first connection of this process leads to, how long it took, and what it found.
pub(crate) fn connected(url: &DatabaseUrl, tls_version: &str, time: Duration, schema_version: i32) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        function_version = std::env::var("AWS_LAMBDA_FUNCTION_VERSION").ok(),
        host = url.host(),
        database = url.database(),
        role = url.role(),
        route = %url.route(),
        tls_version,
        connect_ms = request::milliseconds(time),
        schema_version,
        "connected"
    );
}
