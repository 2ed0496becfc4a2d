//! The results as a table and as JSON, and their comparison with the targets.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};
use tests::function::binary;
use tests::size;

use crate::growth::Growth;
use crate::hashing::Hashing;
use crate::lists::{ALL_TASKS, ListTime, OWN_TASKS};
use crate::logins::Logins;
use crate::routes::{Cold, RoundTrips, Warm};
use crate::subject::{Kind, LISTED, Subject};
use crate::throughput::Throughput;

/// The results of a run.
pub(crate) struct Report {
    pub(crate) is_quick: bool,
    pub(crate) rows: Vec<Row>,
    /// Cold starts of the baseline and of get-task with the system's certificates, where there are any.
    pub(crate) system_certificates: Option<[Cold; 2]>,
    pub(crate) logins: Logins,
    pub(crate) hashing: Option<Hashing>,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) growth: Vec<Growth>,
    pub(crate) lists: Vec<ListTime>,
}

/// The results of a route or of a baseline. Times are medians, in milliseconds. The names are those in bench.json.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The name of the row that it is compared with.
    baseline: &'static str,
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
    /// Inferred from latency.
    pub(crate) cold_round_trips: f64,
    pub(crate) warm_round_trips: f64,
}

/// The rows of the subjects, from the measurements of each in the same order.
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
            baseline: subject.baseline,
            kind: subject.kind,
            cold_ready_ms: cold.ready.median(),
            cold_ms: cold.answered.median(),
            cold_cpu_ms: cold.cpu.median(),
            warm_p50_ms: warm.latency.median(),
            warm_p99_ms: warm.latency.percentile(99),
            cpu_ms: warm.cpu.median(),
            peak_memory_bytes: warm.peak_memory,
            binary_bytes: size::bytes(&program),
            zipped_bytes: size::zipped_bytes(&program),
            // Noise can make them negative.
            cold_round_trips: round_trips.cold.max(0.0),
            warm_round_trips: round_trips.warm.max(0.0),
        }
    })
    .collect()
}

/// A column of the printed table.
struct Column {
    title: &'static str,
    width: usize,
    /// Digits after the decimal point.
    precision: usize,
    content: Content,
}

enum Content {
    /// A value of the row.
    Value(fn(&Row) -> f64),
    /// The value divided by that of the row's baseline.
    Ratio(fn(&Row) -> f64),
}

impl Column {
    const fn value(
        title: &'static str,
        width: usize,
        precision: usize,
        value: fn(&Row) -> f64,
    ) -> Self {
        let content = Content::Value(value);
        Self {
            title,
            width,
            precision,
            content,
        }
    }

    const fn ratio(value: fn(&Row) -> f64) -> Self {
        Self {
            title: "xbaseline",
            width: 9,
            precision: 2,
            content: Content::Ratio(value),
        }
    }
}

/// The width of the first column, which holds the names.
const NAME_WIDTH: usize = 20;

/// The columns after the name, in groups with a common title.
#[rustfmt::skip]
const GROUPS: [(&str, &[Column]); 5] = [
    ("cold start, ms", &[
        Column::value("ready", 5, 1, |row| row.cold_ready_ms),
        Column::value("answer", 6, 1, |row| row.cold_ms),
        Column::ratio(|row| row.cold_ms),
    ]),
    ("warm, ms", &[
        Column::value("p50", 7, 2, |row| row.warm_p50_ms),
        Column::value("p99", 6, 2, |row| row.warm_p99_ms),
        Column::ratio(|row| row.warm_p50_ms),
    ]),
    ("CPU, ms", &[
        Column::value("request", 7, 3, |row| row.cpu_ms),
        Column::ratio(|row| row.cpu_ms),
    ]),
    ("MiB", &[
        Column::value("peak", 6, 1, |row| mebibytes(row.peak_memory_bytes)),
        Column::value("binary", 6, 2, |row| mebibytes(row.binary_bytes)),
        Column::value("zipped", 6, 2, |row| mebibytes(row.zipped_bytes)),
    ]),
    ("round trips", &[
        Column::value("cold", 6, 0, |row| row.cold_round_trips),
        Column::value("warm", 4, 0, |row| row.warm_round_trips),
    ]),
];

/// A space before each column, and two more before each group.
fn group_width(columns: &[Column]) -> usize {
    2 + columns.iter().map(|column| 1 + column.width).sum::<usize>()
}

/// An upper limit for a result.
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

fn max(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Report {
    /// The row of this name.
    pub(crate) fn row(&self, name: &str) -> &Row {
        let row = self.rows.iter().find(|row| row.name == name);
        row.expect("a row")
    }

    /// The row that a row is compared with.
    fn baseline_of(&self, row: &Row) -> &Row {
        self.row(row.baseline)
    }

    fn rows_of(&self, kinds: &'static [Kind]) -> impl Iterator<Item = &Row> {
        let rows = self.rows.iter();
        rows.filter(|row| kinds.contains(&row.kind))
    }

    fn targets(&self) -> Vec<Target> {
        const AUTHENTICATED: &[Kind] = &[Kind::Task, Kind::Account];
        let (get, list) = (self.row("get-task"), self.row("list-tasks"));
        let (baseline, list_baseline) = (self.baseline_of(get), self.baseline_of(list));
        let worst = |ratio: fn(&Row) -> f64| {
            max(self
                .rows_of(AUTHENTICATED)
                .map(|row| ratio(row) / ratio(self.baseline_of(row))))
        };
        let mut targets = vec![
            Target::new(
                "round trips warm: a route with a token, at most",
                max(self
                    .rows_of(AUTHENTICATED)
                    .map(|row| row.warm_round_trips.round())),
                1.0,
            ),
            Target::new(
                "round trips warm: register and login, at most",
                max(["register", "login"]
                    .map(|name| self.row(name).warm_round_trips.round())
                    .into_iter()),
                2.0,
            ),
            Target::new(
                "round trips cold: a route with a token, above the baseline's",
                max(self
                    .rows_of(AUTHENTICATED)
                    .map(|row| row.cold_round_trips.round()))
                    - baseline.cold_round_trips.round(),
                1.0,
            ),
            Target::new(
                "CPU of get-task / baseline",
                get.cpu_ms / baseline.cpu_ms,
                1.3,
            ),
            Target::new(
                format!("CPU of list-tasks, {LISTED} tasks / baseline"),
                list.cpu_ms / list_baseline.cpu_ms,
                1.5,
            ),
            Target::new(
                "p50 of get-task / baseline",
                get.warm_p50_ms / baseline.warm_p50_ms,
                1.3,
            ),
            Target::new(
                "p50 of list-tasks / baseline",
                list.warm_p50_ms / list_baseline.warm_p50_ms,
                1.3,
            ),
            Target::new(
                "p50 of any route with a token / baseline",
                worst(|row| row.warm_p50_ms),
                1.3,
            ),
            Target::new(
                "cold start of get-task / baseline",
                get.cold_ms / baseline.cold_ms,
                1.25,
            ),
            Target::new(
                "cold start of any route with a token / baseline",
                worst(|row| row.cold_ms),
                1.25,
            ),
            Target::new(
                "peak memory of a task route, MiB, at most",
                max(self
                    .rows_of(&[Kind::Task])
                    .map(|row| mebibytes(row.peak_memory_bytes))),
                14.0,
            ),
            Target::new(
                "zipped size of a route, MiB, at most",
                max(self.rows.iter().map(|row| mebibytes(row.zipped_bytes))),
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
        targets.extend(self.list_targets());
        targets
    }

    /// The limits of how lists grow with the number of the caller's tasks.
    fn list_targets(&self) -> Vec<Target> {
        let p50 = |name, own| {
            let mut lists = self.lists.iter();
            let found = lists.find(|list| list.name == name && list.own == own);
            found.map_or(f64::NAN, |list| list.p50_ms)
        };
        let by_id = ["first page by id", "last page by id", "first page by -id"].map(|name| {
            let ratio = p50(name, 100_000) / p50(name, 100);
            Target::new(format!("p50 of the {name}, 100000 tasks / 100"), ratio, 1.1)
        });
        let by_key = ["first page by title", "first page by due_date"].map(|name| {
            let per_thousand = (p50(name, 10_000) - p50(name, 1_000)) / 9.0;
            Target::new(
                format!("p50 of the {name}, per 1000 tasks / their list"),
                per_thousand / p50(ALL_TASKS, 1_000),
                0.25,
            )
        });
        by_id.into_iter().chain(by_key).collect()
    }

    /// The limits of growth between the last two sizes of the table, and of a 304 beside its 200.
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
        let longest = self.growth.iter().max_by_key(|growth| growth.own);
        let known = longest.into_iter().flat_map(|row| {
            let what = |cost| format!("{cost} of a list of {}, 304 / 200", row.own);
            [
                Target::new(what("p50"), row.known_list_p50_ms / row.list_p50_ms, 0.2),
                Target::new(
                    what("CPU"),
                    row.known_list_cpu_p50_ms / row.list_cpu_p50_ms,
                    0.2,
                ),
            ]
        });
        // Above 1.0 to allow for noise.
        let growth = [
            Target::new(what("get-task"), large.get_p50_ms / small.get_p50_ms, 1.1),
            Target::new(
                what("list-tasks, 100 of them"),
                large.list_p50_ms / small.list_p50_ms,
                1.1,
            ),
        ];
        growth.into_iter().chain(known).collect()
    }

    /// A line for each list, with a column for each size of the account.
    fn write_lists(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "\nlist, p50 in ms: of the caller's")?;
        for own in OWN_TASKS {
            write!(to, " {own:6}")?;
        }
        for lists in self.lists.chunk_by(|one, next| one.name == next.name) {
            write!(to, "\n{:32}", lists[0].name)?;
            for list in lists {
                write!(to, " {:6.2}", list.p50_ms)?;
            }
        }
        writeln!(to)?;
        Ok(())
    }

    /// The content of bench.json.
    pub(crate) fn json(&self) -> Value {
        json!({
            "is_quick": self.is_quick,
            "routes": self.rows,
            "system_certificates": self.system_certificates.as_ref().map(|[baseline, get]| json!({
                "baseline_cold_ms": baseline.answered.median(),
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
            "lists": self.lists,
            "targets": self.targets(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "\n{:NAME_WIDTH$}", "")?;
        for (title, columns) in GROUPS {
            write!(to, "   {title:width$}", width = group_width(columns) - 3)?;
        }
        write!(to, "\n{:NAME_WIDTH$}", "")?;
        for (_, columns) in GROUPS {
            write!(to, "  ")?;
            for column in columns {
                write!(to, " {:>width$}", column.title, width = column.width)?;
            }
        }
        writeln!(to)?;
        for row in &self.rows {
            let baseline = self.baseline_of(row);
            write!(to, "{:NAME_WIDTH$}", row.name)?;
            for (_, columns) in GROUPS {
                write!(to, "  ")?;
                for column in columns {
                    let value = match column.content {
                        Content::Value(value) => value(row),
                        Content::Ratio(value) => value(row) / value(baseline),
                    };
                    let (width, precision) = (column.width, column.precision);
                    write!(to, " {value:width$.precision$}")?;
                }
            }
            writeln!(to)?;
        }
        if let Some([baseline, get]) = &self.system_certificates {
            writeln!(
                to,
                "\ncold start with all of the system's certificates: baseline {:.1} ms, get-task {:.1} ms",
                baseline.answered.median(),
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
            "\nget-task, parallel instances  requests/s   p50, ms   p99, ms"
        )?;
        for row in &self.throughput {
            let connection = if row.pooled { "pooler" } else { "direct" };
            writeln!(
                to,
                "{:21} {connection}  {:10.0} {:9.2} {:9.2}",
                row.instances, row.requests_per_second, row.p50_ms, row.p99_ms
            )?;
        }
        writeln!(
            to,
            "\ntasks in the table   of the caller's   get, ms   list, ms    CPU   304, ms    CPU"
        )?;
        for row in &self.growth {
            writeln!(
                to,
                "{:18} {:17} {:9.2} {:10.2} {:6.2} {:9.2} {:6.2}",
                row.tasks,
                row.own,
                row.get_p50_ms,
                row.list_p50_ms,
                row.list_cpu_p50_ms,
                row.known_list_p50_ms,
                row.known_list_cpu_p50_ms
            )?;
        }
        self.write_lists(to)?;
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
