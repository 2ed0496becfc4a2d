//! The log of a process, and what is counted of the request that is being answered.
//!
//! The log is one line of JSON for each event, or readable text on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

pub(crate) mod context;

static STDOUT_IS_TERMINAL: LazyLock<bool> = LazyLock::new(|| std::io::stdout().is_terminal());

/// Whether a person reads the log on a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    *STDOUT_IS_TERMINAL
}

/// The name of the crate that defines `H`, a handler or a job: the name of a function's binary, such as `get_task`.
pub(crate) fn crate_name_of<H>() -> &'static str {
    let name = std::any::type_name::<H>();
    name.split("::").next().unwrap_or(name)
}

/// Sets up the log of this process. `AWS_LAMBDA_LOG_LEVEL` or `RUST_LOG` names the lowest level, `info` by default, for
/// the lines of this crate and of the crate `binary`. Other crates log warnings and errors only, since their lower levels
/// print the values that they are given.
pub fn init(binary: &'static str) {
    let level = ["AWS_LAMBDA_LOG_LEVEL", "RUST_LOG"]
        .into_iter()
        .find_map(|name| {
            std::env::var(name)
                .ok()?
                .trim_ascii()
                .parse::<LevelFilter>()
                .ok()
        })
        .unwrap_or(LevelFilter::INFO);
    let targets = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target(env!("CARGO_PKG_NAME"), level)
        .with_target(binary, level);

    let lines = tracing_subscriber::fmt::layer();
    let lines = if stdout_is_terminal() {
        lines.boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    };
    // A second call, as tests make it, changes nothing.
    let subscriber = Registry::default().with(lines.with_filter(targets));
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    error!(
        request_id = context::request_id(),
        location,
        "panic: {}",
        panic.payload_as_str().unwrap_or("no message")
    );
}

/// Writes to stderr why the process ends, each line of the reason as a line of its own, and returns the exit status.
pub fn fail(reason: &impl Display) -> ExitCode {
    for line in reason.to_string().lines() {
        // Plain text: whoever started the process reads it.
        let _ = writeln!(std::io::stderr(), "error: {line}");
    }
    ExitCode::FAILURE
}

/// The exit status of a process whose Lambda runtime has ended. The reason goes to stderr where it failed.
pub(crate) fn exit_status(result: Result<(), lambda_runtime::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("the Lambda runtime failed: {error}")),
    }
}

/// A time in milliseconds, rounded to microseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
