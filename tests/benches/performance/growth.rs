//! Latency of requests as the tables grow.

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;
use tests::api::registration;
use tests::database::TestDatabase;
use tests::function::{Function, HttpEvent};
use tests::routes::{TASK, TASKS};

use crate::sample::Sample;

/// Latencies at one size of the table.
#[derive(Serialize)]
pub(crate) struct Growth {
    /// The number of tasks in the table.
    pub(crate) tasks: i32,
    /// The number of them that are the caller's.
    pub(crate) own: i32,
    /// Milliseconds of get-task.
    pub(crate) get_p50_ms: f64,
    /// Milliseconds of list-tasks.
    pub(crate) list_p50_ms: f64,
    /// CPU milliseconds of list-tasks.
    pub(crate) list_cpu_p50_ms: f64,
    /// Milliseconds of list-tasks where the client knows the list: a 304.
    pub(crate) known_list_p50_ms: f64,
    /// CPU milliseconds of the same.
    pub(crate) known_list_cpu_p50_ms: f64,
}

/// How many of the tasks are the caller's.
const OWN_TASKS: [i32; 3] = [10, 100, 1_000];

/// How many tasks every other user has.
const TASKS_PER_USER: i32 = 100;

/// Latency and CPU of one kind of request.
#[derive(Default)]
struct Cost {
    latency: Sample,
    cpu: Sample,
}

/// The costs of the requests at one size of the table.
#[derive(Default)]
struct Costs {
    get: Cost,
    list: Cost,
    known_list: Cost,
}

/// A database with a given number of tasks.
struct Table {
    own: TestDatabase,
    tasks: i32,
    user_id: String,
    token: String,
    get: Function,
    list: Function,
}

/// Sends the same requests to tables of three sizes, in turn. `largest` is the number of tasks in the largest one.
pub(crate) async fn measure(largest: i32, rounds: usize) -> Vec<Growth> {
    let mut tables = join_all([100, 10_000, largest].map(Table::fill)).await;
    let mut measured = Vec::new();
    for own in OWN_TASKS {
        let mut samples: Vec<_> = tables
            .iter_mut()
            .filter(|table| table.tasks >= own)
            .map(|table| (table, Costs::default()))
            .collect();
        for (table, _) in &samples {
            table.assign(own).await;
        }
        for _ in 0..rounds {
            for (table, costs) in &mut samples {
                table.sample(costs).await;
            }
        }
        measured.extend(samples.iter().map(|(table, costs)| Growth {
            tasks: table.tasks,
            own,
            get_p50_ms: costs.get.latency.median(),
            list_p50_ms: costs.list.latency.median(),
            list_cpu_p50_ms: costs.list.cpu.median(),
            known_list_p50_ms: costs.known_list.latency.median(),
            known_list_cpu_p50_ms: costs.known_list.cpu.median(),
        }));
    }
    for table in tables {
        table.own.drop().await;
    }
    measured
}

impl Table {
    /// Creates the database. No task is the caller's.
    async fn fill(tasks: i32) -> Self {
        let own = TestDatabase::migrated().await;
        // The migration's own check of the statements has used some ids.
        let fill = format!(
            "ALTER SEQUENCE user_id_seq RESTART; ALTER SEQUENCE task_id_seq RESTART;
             INSERT INTO \"user\" (username, email, hashed_password)
             SELECT 'u' || n, 'u' || n || '@example.com', '' FROM generate_series(1, {tasks} / {TASKS_PER_USER}) AS n;
             INSERT INTO task (user_id, title, description, due_date, tags)
             SELECT 1 + n % ({tasks} / {TASKS_PER_USER}), 'Buy milk and bread, no. ' || n,
                    'Whole milk, and the bread with the seeds.', '2026-12-24', 'errands,food'
             FROM generate_series(1, {tasks}) AS n"
        );
        own.owner.batch_execute(&fill).await;
        let register = Function::start("register", &own.environment).await;
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&registration());
        let answer = register.http(&request).await;
        let text = |name: &str| answer.body[name].as_str().expect("a text").to_owned();
        Self {
            tasks,
            user_id: text("user_id"),
            token: text("access_token"),
            get: started("get-task", &own).await,
            list: started("list-tasks", &own).await,
            own,
        }
    }

    /// Makes `own` tasks from all over the table the caller's.
    async fn assign(&self, own: i32) {
        let id: i32 = self.user_id.parse().expect("an id");
        let step = self.tasks / own;
        let assign = "UPDATE task SET user_id = $1 WHERE id % $2 = 0 AND user_id <> $1";
        self.own.owner.execute(assign, &[&id, &step]).await;
        let count = "SELECT count(*) FROM task WHERE user_id = $1";
        let count = self.own.owner.query_one(count, &[&id]).await;
        assert_eq!(count["count"], json!(own));
        self.own.owner.execute("VACUUM (ANALYZE) task", &[]).await;
    }

    async fn sample(&mut self, costs: &mut Costs) {
        // This one is the caller's at every size.
        let middle = (self.tasks / 2).to_string();
        let one = HttpEvent::new("GET", TASK, &[&self.user_id, &middle]).bearer(&self.token);
        let all = HttpEvent::new("GET", TASKS, &[&self.user_id]).bearer(&self.token);
        let etag = self.list.http(&all).await.etag().to_owned();
        let known = all.clone().header("if-none-match", &etag);
        self.list.wait_until_ready().await;
        for (is_list, request, status, cost) in [
            (false, one, 200, &mut costs.get),
            (true, all, 200, &mut costs.list),
            (true, known, 304, &mut costs.known_list),
        ] {
            let function = if is_list {
                &mut self.list
            } else {
                &mut self.get
            };
            // The connection may need a health check at the first request.
            for is_counted in [false, true, true, true, true, true] {
                let cpu = function.cpu_time();
                let (answer, timing) = function.http_timed(&request).await;
                assert_eq!(answer.status, status, "{answer:?}");
                function.wait_until_ready().await;
                if is_counted {
                    cost.latency.add_time(timing.request);
                    cost.cpu.add_time(function.cpu_time().saturating_sub(cpu));
                }
            }
        }
    }
}

async fn started(name: &str, own: &TestDatabase) -> Function {
    let mut function = Function::start(name, &own.environment).await;
    function.wait_until_ready().await;
    function
}
