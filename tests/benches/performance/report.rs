//! What was measured, as a table, as JSON, and held against the targets.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};
use tests::function::binary;
use tests::size;

use crate::growth::Growth;
use crate::hashing::Hashing;
use crate::logins::Logins;
use crate::routes::{Cold, RoundTrips, Warm};
use crate::subject::{FLOOR, LISTED, Subject};
use crate::throughput::Throughput;

/// All of a run.
pub(crate) struct Report {
    pub(crate) is_quick: bool,
    pub(crate) routes: Vec<Row>,
    /// The floor's and get-task's starts with the system's certificates, where there are any.
    pub(crate) system_certificates: Option<[Cold; 2]>,
    pub(crate) logins: Logins,
    pub(crate) hashing: Option<Hashing>,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) growth: Vec<Growth>,
}

/// A route, or a floor. Times are medians, in milliseconds.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The row that it is measured against.
    floor: &'static str,
    #[serde(skip)]
    pub(crate) kind: Kind,
    pub(crate) cold_ready_ms: f64,
    pub(crate) cold_ms: f64,
    pub(crate) cold_cpu_ms: f64,
    pub(crate) warm_p50_ms: f64,
    pub(crate) warm_p99_ms: f64,
    pub(crate) cpu_ms: f64,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) binary_bytes: u64,
    pub(crate) zipped_bytes: u64,
    /// As latency tells.
    pub(crate) cold_round_trips: f64,
    pub(crate) warm_round_trips: f64,
}

/// What to expect of a row.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Floor,
    Task,
    /// It needs the database, but not the tasks.
    Account,
    /// It hashes passwords.
    Password,
    /// It needs no database.
    Static,
}

/// Puts together what was measured of each.
pub(crate) fn rows(
    subjects: &[Subject],
    cold: &[Cold],
    warm: &[Warm],
    round_trips: &[RoundTrips],
) -> Vec<Row> {
    let measured = cold.iter().zip(warm).zip(round_trips);
    let rows = subjects.iter().zip(measured);
    rows.map(|(subject, ((cold, warm), round_trips))| {
        let program = binary(subject.binary);
        Row {
            name: subject.name,
            floor: subject.floor(),
            kind: kind(subject),
            cold_ready_ms: cold.ready.median(),
            cold_ms: cold.answered.median(),
            cold_cpu_ms: cold.cpu.median(),
            warm_p50_ms: warm.latency.median(),
            warm_p99_ms: warm.latency.percentile(99),
            cpu_ms: warm.cpu.median(),
            peak_memory_bytes: warm.peak_memory,
            binary_bytes: size::bytes(&program),
            zipped_bytes: size::zipped_bytes(&program),
            // Not less than none.
            cold_round_trips: round_trips.cold.max(0.0),
            warm_round_trips: round_trips.warm.max(0.0),
        }
    })
    .collect()
}

fn kind(subject: &Subject) -> Kind {
    match subject.binary {
        FLOOR => Kind::Floor,
        "health" | "docs" => Kind::Static,
        _ if subject.works_on_tasks() => Kind::Task,
        _ if subject.hashes() => Kind::Password,
        _ => Kind::Account,
    }
}

/// What is to be reached.
#[derive(Serialize)]
struct Target {
    what: String,
    measured: f64,
    limit: f64,
    is_met: bool,
}

impl Target {
    fn new(what: impl Into<String>, measured: f64, limit: f64) -> Self {
        Self {
            what: what.into(),
            measured,
            limit,
            is_met: measured <= limit,
        }
    }
}

/// The largest of these.
fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Report {
    /// The row of this name.
    pub(crate) fn row(&self, name: &str) -> &Row {
        let row = self.routes.iter().find(|row| row.name == name);
        row.expect("a row")
    }

    /// The floor below a row.
    pub(crate) fn floor_of(&self, row: &Row) -> &Row {
        self.row(row.floor)
    }

    fn of(&self, kinds: &'static [Kind]) -> impl Iterator<Item = &Row> {
        let rows = self.routes.iter();
        rows.filter(|row| kinds.contains(&row.kind))
    }

    fn targets(&self) -> Vec<Target> {
        const AUTHENTICATED: &[Kind] = &[Kind::Task, Kind::Account];
        let (get, list) = (self.row("get-task"), self.row("list-tasks"));
        let (floor, floor_of_a_list) = (self.floor_of(get), self.floor_of(list));
        let worst = |ratio: fn(&Row) -> f64| {
            most(
                self.of(AUTHENTICATED)
                    .map(|row| ratio(row) / ratio(self.floor_of(row))),
            )
        };
        let mut targets = vec![
            Target::new(
                "round trips warm: a route with a token, at most",
                most(
                    self.of(AUTHENTICATED)
                        .map(|row| row.warm_round_trips.round()),
                ),
                1.0,
            ),
            Target::new(
                "round trips warm: register and login, at most",
                most(
                    ["register", "login"]
                        .map(|name| self.row(name).warm_round_trips.round())
                        .into_iter(),
                ),
                2.0,
            ),
            Target::new(
                "round trips cold: a route with a token, above the floor's",
                most(
                    self.of(AUTHENTICATED)
                        .map(|row| row.cold_round_trips.round()),
                ) - floor.cold_round_trips.round(),
                1.0,
            ),
            Target::new("CPU of get-task / floor", get.cpu_ms / floor.cpu_ms, 1.3),
            Target::new(
                format!("CPU of list-tasks, {LISTED} tasks / floor"),
                list.cpu_ms / floor_of_a_list.cpu_ms,
                1.5,
            ),
            Target::new(
                "p50 of get-task / floor",
                get.warm_p50_ms / floor.warm_p50_ms,
                1.3,
            ),
            Target::new(
                "p50 of list-tasks / floor",
                list.warm_p50_ms / floor_of_a_list.warm_p50_ms,
                1.3,
            ),
            Target::new(
                "p50 of any route with a token / floor",
                worst(|row| row.warm_p50_ms),
                1.3,
            ),
            Target::new(
                "cold start of get-task / floor",
                get.cold_ms / floor.cold_ms,
                1.25,
            ),
            Target::new(
                "cold start of any route with a token / floor",
                worst(|row| row.cold_ms),
                1.25,
            ),
            Target::new(
                "peak memory of a task route, MiB, at most",
                most(
                    self.of(&[Kind::Task])
                        .map(|row| mebibytes(row.peak_memory_bytes)),
                ),
                14.0,
            ),
            Target::new(
                "zipped size of a route, MiB, at most",
                most(self.routes.iter().map(|row| mebibytes(row.zipped_bytes))),
                3.5,
            ),
            Target::new(
                "logins: the slower refusal / the faster",
                self.logins.ratio(),
                1.05,
            ),
        ];
        if let Some(hashing) = &self.hashing {
            let ratio = hashing.ours.median() / hashing.reference.median();
            targets.push(Target::new("hash / reference in C", ratio, 1.0));
        }
        targets.extend(self.growth_targets());
        targets
    }

    /// Between the last two sizes of the table.
    fn growth_targets(&self) -> Vec<Target> {
        let find = |tasks| {
            let mut growth = self.growth.iter();
            growth.find(|growth| growth.tasks == tasks && growth.own == LISTED)
        };
        let largest = self.growth.iter().map(|growth| growth.tasks).max();
        let (Some(large), Some(small)) = (largest.and_then(find), find(10_000)) else {
            return Vec::new();
        };
        let what = |route| format!("p50 of {route}, {} rows / 10000 rows", large.tasks);
        // What it may seem slower by is the noise of a machine.
        vec![
            Target::new(what("get-task"), large.get_p50_ms / small.get_p50_ms, 1.1),
            Target::new(
                what("list-tasks, 100 of them"),
                large.list_p50_ms / small.list_p50_ms,
                1.1,
            ),
        ]
    }

    /// All of it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "is_quick": self.is_quick,
            "routes": self.routes,
            "system_certificates": self.system_certificates.as_ref().map(|[floor, get]| json!({
                "floor_cold_ms": floor.answered.median(),
                "get_task_cold_ms": get.answered.median(),
            })),
            "logins": {
                "unknown_address_ms": self.logins.unknown_address.median(),
                "wrong_password_ms": self.logins.wrong_password.median(),
            },
            "hashing": self.hashing.as_ref().map(|hashing| json!({
                "ours_ms": hashing.ours.median(),
                "first_of_a_process_ms": hashing.first.median(),
                "reference_ms": hashing.reference.median(),
            })),
            "throughput": self.throughput,
            "growth": self.growth,
            "targets": self.targets(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            to,
            "
                       cold start, ms           warm, ms                  CPU, ms         MiB                 round trips
                  ready answer  xfloor       p50    p99  xfloor     request xfloor   peak binary zipped       cold warm"
        )?;
        for row in &self.routes {
            let floor = self.floor_of(row);
            let ratio = |of: fn(&Row) -> f64| of(row) / of(floor);
            writeln!(
                to,
                "{:17} {:5.1} {:6.1} {:7.2}   {:7.2} {:6.2} {:7.2}     {:7.3} {:6.2} {:6.1} {:6.2} {:6.2}     {:6.0} {:4.0}",
                row.name,
                row.cold_ready_ms,
                row.cold_ms,
                ratio(|row| row.cold_ms),
                row.warm_p50_ms,
                row.warm_p99_ms,
                ratio(|row| row.warm_p50_ms),
                row.cpu_ms,
                ratio(|row| row.cpu_ms),
                mebibytes(row.peak_memory_bytes),
                mebibytes(row.binary_bytes),
                mebibytes(row.zipped_bytes),
                row.cold_round_trips,
                row.warm_round_trips,
            )?;
        }
        if let Some([floor, get]) = &self.system_certificates {
            writeln!(
                to,
                "\ncold start with all of the system's certificates: floor {:.1} ms, get-task {:.1} ms",
                floor.answered.median(),
                get.answered.median()
            )?;
        }
        if let Some(hashing) = &self.hashing {
            writeln!(
                to,
                "\nhashing a password: {:.1} ms, the first of a process {:.1} ms, the reference in C {:.1} ms",
                hashing.ours.median(),
                hashing.first.median(),
                hashing.reference.median()
            )?;
        }
        writeln!(
            to,
            "\nrefusing a login: unknown address {:.2} ms, wrong password {:.2} ms",
            self.logins.unknown_address.median(),
            self.logins.wrong_password.median()
        )?;
        writeln!(
            to,
            "\nget-task, instances at once   requests/s   p50, ms   p99, ms"
        )?;
        for row in &self.throughput {
            let way = if row.pooled { "pooler" } else { "direct" };
            writeln!(
                to,
                "{:21} {way}  {:10.0} {:9.2} {:9.2}",
                row.instances, row.requests_per_second, row.p50_ms, row.p99_ms
            )?;
        }
        writeln!(
            to,
            "\ntasks in the table   of the caller's   get, ms   list, ms"
        )?;
        for row in &self.growth {
            writeln!(
                to,
                "{:18} {:17} {:9.2} {:10.2}",
                row.tasks, row.own, row.get_p50_ms, row.list_p50_ms
            )?;
        }
        writeln!(to, "\ntargets")?;
        for target in self.targets() {
            let verdict = if target.is_met { "met" } else { "MISSED" };
            writeln!(
                to,
                "{:6} {:60} {:7.3} of {:.2}",
                verdict, target.what, target.measured, target.limit
            )?;
        }
        Ok(())
    }
}
