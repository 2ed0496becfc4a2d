//! Latency of lists: filters, orders and pages of accounts of several sizes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use tests::database::TestDatabase;
use tests::fixtures::register;
use tests::function::{Function, HttpEvent};
use tests::routes::TASKS;

use crate::sample::Sample;

/// How many tasks the accounts have.
pub(crate) const OWN_TASKS: [i32; 5] = [10, 100, 1_000, 10_000, 100_000];

/// The name of the list without a query.
pub(crate) const ALL_TASKS: &str = "all tasks";

/// The lists that are measured: a name, the query, and the most tasks of an account that is asked for them.
const LISTS: [(&str, &str, i32); 9] = [
    (ALL_TASKS, "", 1_000),
    ("first page by id", "limit=50", 100_000),
    ("last page by id", "limit=50", 100_000),
    ("first page by -id", "limit=50&sort=-id", 100_000),
    ("first page by title", "limit=50&sort=title", 10_000),
    ("first page by due_date", "limit=50&sort=due_date", 10_000),
    (
        "page of one priority",
        "limit=50&priority=High&completed=false",
        10_000,
    ),
    ("search, no match", "q=none+has+this", 10_000),
    ("two tags, no match", "tag=errands&tag=none", 10_000),
];

/// The latency of a list.
#[derive(Serialize)]
pub(crate) struct ListTime {
    pub(crate) name: &'static str,
    /// The number of the caller's tasks.
    pub(crate) own: i32,
    /// Milliseconds.
    pub(crate) p50_ms: f64,
}

struct Account {
    own: i32,
    user_id: String,
    token: String,
}

/// Sends the same requests as users with few and with many tasks, in turn.
pub(crate) async fn measure(database: &TestDatabase, rounds: usize) -> Vec<ListTime> {
    let mut function = Function::start("list-tasks", &database.environment).await;
    function.wait_until_ready().await;
    let mut accounts = Vec::new();
    for own in OWN_TASKS {
        accounts.push(Account::fill(database, own).await);
    }
    database
        .owner
        .batch_execute("VACUUM (ANALYZE) public.task")
        .await;
    let mut measured = Vec::new();
    for (name, query, most) in LISTS {
        let mut requests = Vec::new();
        for account in accounts.iter().filter(|account| account.own <= most) {
            let query = match name {
                "last page by id" => account.last_page(&mut function, query).await,
                _ => query.to_owned(),
            };
            requests.push((account, account.request(&query), Sample::default()));
        }
        for round in 0..=rounds {
            for (_, request, sample) in &mut requests {
                let (answer, timing) = function.http_timed(request).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                function.wait_until_ready().await;
                // The first round has the caches to fill.
                if round > 0 {
                    sample.add_time(timing.request);
                }
            }
        }
        measured.extend(requests.iter().map(|(account, _, sample)| ListTime {
            name,
            own: account.own,
            p50_ms: sample.median(),
        }));
    }
    measured
}

impl Account {
    /// Registers a user with this many tasks.
    async fn fill(database: &TestDatabase, own: i32) -> Self {
        let (user_id, token) = register(&database.environment).await;
        let id: i32 = user_id.parse().expect("an id");
        let fill = "INSERT INTO public.task (user_id, title, description, due_date, priority, tags)
                    SELECT $1, 'Buy milk and bread, no. ' || n, 'Whole milk, and the bread with the seeds.',
                           '2026-12-' || 10 + n % 20, (ARRAY['High', 'Medium', 'Low'])[1 + n % 3]::public.priority_enum,
                           'errands,food'
                    FROM generate_series(1, $2) AS n";
        database.owner.execute(fill, &[&id, &own]).await;
        Self {
            own,
            user_id,
            token,
        }
    }

    fn request(&self, query: &str) -> HttpEvent {
        let request = HttpEvent::new("GET", TASKS, &[&self.user_id]);
        request.bearer(&self.token).query(query)
    }

    /// The query of the page that begins 50 tasks before the last one.
    async fn last_page(&self, function: &mut Function, query: &str) -> String {
        let last = function.http(&self.request("limit=1&sort=-id")).await;
        let last = last.body[0]["id"].as_i64().expect("an id");
        let first = function.http(&self.request("limit=1")).await;
        let link = first.headers["link"].as_str().expect("a link");
        let cursor = link
            .split("cursor=")
            .nth(1)
            .and_then(|rest| rest.split('>').next());
        let cursor = URL_SAFE_NO_PAD
            .decode(cursor.expect("a cursor"))
            .expect("base64url");
        let mut cursor: Value = serde_json::from_slice(&cursor).expect("JSON");
        cursor["after_id"] = json!(last - 50);
        format!(
            "{query}&cursor={}",
            URL_SAFE_NO_PAD.encode(cursor.to_string())
        )
    }
}
