//! `./dev bench`: what each route takes, beside the least that a function over the same crates can take (tests/floor).
//!
//! What it measures it measures in one run and in alternation, since no two machines are alike, nor any two minutes of
//! one. What to hold against a target is therefore a ratio, but for sizes and round trips, which are exact.

mod chart;
mod growth;
mod hashing;
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

/// How much of everything.
struct Effort {
    /// Starts of each function.
    starts: usize,
    /// Rounds through all functions while they are warm.
    rounds: usize,
    /// Requests to each in a round; one that hashes a password is asked once.
    requests: usize,
    /// The size of the largest table.
    tasks: i32,
    /// Seconds for which requests are counted.
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
    // As many guesses and registrations as it takes.
    for name in [
        "MAX_FAILED_LOGINS_PER_ACCOUNT_AND_ADDRESS",
        "MAX_FAILED_LOGINS_PER_ACCOUNT",
        "MAX_FAILED_LOGINS_PER_ADDRESS",
        "MAX_REGISTRATIONS_PER_ADDRESS",
    ] {
        own.environment = own.environment.with(name, "1000000000");
    }

    progress("Setting the scene");
    let mut subjects = subjects(&own, &effort).await;
    progress("Starting each function, again and again");
    let cold = routes::cold(&mut subjects, effort.starts).await;
    progress("Asking each while it is warm");
    let warm = routes::warm(&mut subjects, &effort).await;
    progress("Counting round trips by what a longer way adds");
    let round_trips = routes::round_trips(&mut subjects).await;
    progress("Starting with all of the system's certificates");
    let system_certificates = match env_var("SYSTEM_CERT_FILE") {
        Some(bundle) => {
            Some(routes::with_more_certificates(&mut subjects, &bundle, effort.starts).await)
        }
        None => None,
    };
    progress("Logging in with an unknown address and with a wrong password");
    let logins = logins::measure(&own, FULL.rounds).await;
    progress("Hashing");
    let hashing = hashing::compare(effort.rounds);
    progress("Asking several instances at once");
    let throughput = throughput::measure(&own, effort.seconds).await;
    progress("Filling tables");
    let growth = growth::measure(effort.tasks, effort.rounds).await;
    own.drop().await;

    let report = Report {
        is_quick,
        routes: report::rows(&subjects, &cold, &warm, &round_trips),
        system_certificates,
        logins,
        hashing,
        throughput,
        growth,
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

/// Says on stderr what is going on.
fn progress(what: &str) {
    writeln!(std::io::stderr(), "    {what}").expect("stderr");
}
