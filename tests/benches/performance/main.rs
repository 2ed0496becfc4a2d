//! `./dev bench`: measures each route, and a baseline: the minimum that a function over the same crates has to do
//! (tests/baseline).
//!
//! Times differ between machines, and between two minutes on one machine. Therefore everything is measured in one run,
//! in alternation, and the targets are ratios. Sizes and round trips are exact.

mod chart;
mod growth;
mod hashing;
mod lists;
mod logins;
mod report;
mod routes;
mod sample;
mod subject;
mod throughput;

use std::io::Write as _;

use tests::database::{TestDatabase, env_var};
use tests::root;

use report::Report;
use subject::subjects;

/// How much is measured.
struct Effort {
    /// The number of cold starts of each function.
    starts: usize,
    /// The number of rounds through all warm functions.
    rounds: usize,
    /// The number of requests to each function in a round. A function that hashes passwords gets one.
    requests: usize,
    /// The number of tasks in the largest table.
    tasks: i32,
    /// The seconds for which throughput is measured.
    seconds: u64,
}

const FULL: Effort = Effort {
    starts: 40,
    rounds: 40,
    requests: 25,
    tasks: 1_000_000,
    seconds: 2,
};

const QUICK: Effort = Effort {
    starts: 5,
    rounds: 5,
    requests: 20,
    tasks: 100_000,
    seconds: 1,
};

#[tokio::main]
async fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let effort = if is_quick { QUICK } else { FULL };
    let mut own = TestDatabase::migrated().await;
    // The requests of the benchmark must not reach the rate limits.
    for name in [
        "MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS",
        "MAX_FAILED_LOGINS_PER_ACCOUNT",
        "MAX_FAILED_LOGINS_PER_ADDRESS",
        "MAX_REGISTRATIONS_PER_ADDRESS",
    ] {
        own.environment = own.environment.with(name, "1000000000");
    }

    progress("Preparing users and tasks");
    let mut subjects = subjects(&own, &effort).await;
    progress("Measuring cold starts");
    let cold = routes::cold(&mut subjects, effort.starts).await;
    progress("Measuring warm requests");
    let warm = routes::warm(&mut subjects, &effort).await;
    progress("Inferring round trips from added network latency");
    let round_trips = routes::round_trips(&mut subjects).await;
    progress("Measuring cold starts with all of the system's certificates");
    let system_certificates = match env_var("SYSTEM_CERT_FILE") {
        Some(bundle) => {
            Some(routes::with_more_certificates(&mut subjects, &bundle, effort.starts).await)
        }
        None => None,
    };
    progress("Comparing logins with an unknown address and with a wrong password");
    let logins = logins::measure(&own, FULL.rounds).await;
    progress("Measuring password hashing");
    let hashing = hashing::compare(effort.rounds);
    progress("Measuring throughput of several instances");
    let throughput = throughput::measure(&own, effort.seconds).await;
    progress("Measuring requests as tables grow");
    let growth = growth::measure(effort.tasks, effort.rounds).await;
    progress("Measuring filters, orders and pages of lists");
    let lists = lists::measure(&own, effort.rounds).await;
    own.drop().await;

    let report = Report {
        is_quick,
        rows: report::rows(&subjects, &cold, &warm, &round_trips),
        system_certificates,
        logins,
        hashing,
        throughput,
        growth,
        lists,
    };
    print!("{report}");
    let folder = root().join("target");
    std::fs::create_dir_all(&folder).expect("target/");
    let write = |name: &str, text: String| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    write(
        "bench.json",
        serde_json::to_string_pretty(&report.json()).expect("JSON"),
    );
    write("bench.svg", chart::draw(&report));
    progress("Written: target/bench.json, target/bench.svg");
}

/// Prints a step on stderr.
fn progress(step: &str) {
    writeln!(std::io::stderr(), "    {step}").expect("stderr");
}
