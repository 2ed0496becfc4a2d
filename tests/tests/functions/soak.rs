//! Many requests, from several clients to several instances, while the server terminates sessions. Each client records
//! the responses. At the end the database must agree with all of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::{Database, TestDatabase, env_var};
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::routes::{TASKS, route, routes};
use tests::{random, unique};
use tokio::time::sleep;

const CLIENTS: usize = 8;

/// The default number of requests in a test run. `./dev soak` sends more.
const REQUESTS: u64 = 2_000;

/// The time between two terminated sessions.
const TERMINATION_INTERVAL: Duration = Duration::from_millis(200);

/// The maximum memory growth of an instance, in bytes, between a quarter of the requests and the end. The allocator
/// keeps some freed memory.
const MAX_GROWTH: u64 = 4 << 20;

/// Two instances of each function: one connects directly, one through the pooler, if there is one.
struct Fleet(BTreeMap<&'static str, Vec<Function>>);

impl Fleet {
    async fn start(environments: &[Environment]) -> Self {
        let mut fleet = BTreeMap::<_, Vec<_>>::new();
        for route in routes() {
            for environment in environments {
                let function = Function::start(route.function, environment).await;
                fleet.entry(route.function).or_default().push(function);
            }
        }
        let fleet = Self(fleet);
        fleet.warm_up_hashing().await;
        fleet
    }

    /// Hashes a password on each instance that does so. The memory for the first hash is kept, so it is not growth.
    async fn warm_up_hashing(&self) {
        for (name, status) in [("login", 401), ("register", 201)] {
            for instance in &self.0[name] {
                let path = format!("/api/auth/{name}");
                let request = HttpEvent::new("POST", &path, &[]).json(&registration());
                let response = instance.http(&request).await;
                assert_eq!(response.status, status, "{response:?}");
            }
        }
    }

    async fn send(&self, function: &str, request: &HttpEvent) -> HttpResponse {
        let instances = &self.0[function];
        let response = instances[random(instances.len())].http(request).await;
        if response.status == 503 {
            response.assert_unavailable();
        }
        response
    }

    /// How many tasks were created although the connection was lost after the statement was sent. Without a key, the
    /// function could not have sent it again. An instance serves one request at a time, so the next answer is that request's.
    fn saved_creations(&self) -> usize {
        let mut count = 0;
        for instance in &self.0["create-task"] {
            let mut was_lost = false;
            for line in instance.output().lines() {
                let Ok(line) = serde_json::from_str::<Value>(line) else {
                    continue;
                };
                if line["may_have_been_executed"] == json!(true) {
                    was_lost = true;
                } else if line["message"] == "answered" {
                    count += usize::from(was_lost && line["status"] == json!(201));
                    was_lost = false;
                }
            }
        }
        count
    }

    fn memory(&self) -> Vec<(&'static str, u64)> {
        let instances = self.0.iter();
        instances
            .flat_map(|(name, functions)| {
                functions
                    .iter()
                    .map(|function| (*name, function.resident_memory()))
            })
            .collect()
    }
}

/// A task's title, and whether it is completed.
type Task = (String, bool);

fn task(body: &Value) -> Task {
    let title = body["title"].as_str().expect("a title").to_owned();
    (title, body["completed"].as_bool().expect("a state"))
}

/// A client, with the state that it expects.
struct Client {
    user_id: String,
    email: String,
    token: String,
    /// The possible states of each task; `None` means deleted. A request without a response adds a state.
    tasks: BTreeMap<i64, Vec<Option<Task>>>,
    /// The titles of tasks whose creation got no response.
    uncertain_titles: Vec<String>,
    /// Registered usernames, and whether the registration succeeded for certain.
    registered: Vec<(String, bool)>,
    unavailable: u64,
}

impl Client {
    async fn register(fleet: &Fleet) -> Self {
        let user = registration();
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let response = fleet.send("register", &request).await;
        assert_eq!(response.status, 201, "{response:?}");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            user_id: text(&response.body["user_id"]),
            email: text(&user["email"]),
            token: text(&response.body["access_token"]),
            tasks: BTreeMap::new(),
            uncertain_titles: Vec::new(),
            registered: Vec::new(),
            unavailable: 0,
        }
    }

    /// Sends one random request.
    async fn act(&mut self, fleet: &Fleet) {
        let ids: Vec<_> = self.tasks.keys().copied().collect();
        let id = (!ids.is_empty()).then(|| ids[random(ids.len())]);
        match (random(100), id) {
            (0..2, _) => self.log_in(fleet).await,
            (2, _) => self.register_user(fleet).await,
            (3..8, _) => self.get_account(fleet).await,
            (8..20, _) => self.list(fleet).await,
            (20..35, Some(id)) => self.get(fleet, id).await,
            (35..50, Some(id)) => self.rename(fleet, id).await,
            (50..65, Some(id)) => self.complete(fleet, id).await,
            // Deletions keep the list short.
            (65..80, Some(id)) => self.delete(fleet, id).await,
            _ => self.create(fleet).await,
        }
    }

    fn request(&self, method: &str, path: &str, values: &[&str]) -> HttpEvent {
        HttpEvent::new(method, path, values).bearer(&self.token)
    }

    fn is_unavailable(&mut self, response: &HttpResponse) -> bool {
        self.unavailable += u64::from(response.status == 503);
        response.status == 503
    }

    async fn log_in(&mut self, fleet: &Fleet) {
        let request = HttpEvent::new("POST", "/api/auth/login", &[])
            .json(&json!({"email": self.email, "password": PASSWORD}));
        let response = fleet.send("login", &request).await;
        if self.is_unavailable(&response) {
            return;
        }
        assert_eq!(response.status, 200, "{response:?}");
        let logout = self.request("POST", "/api/auth/logout", &[]);
        let me_with_old_token = self.request("GET", "/api/auth/me", &[]);
        response.body["access_token"]
            .as_str()
            .expect("a token")
            .clone_into(&mut self.token);
        let response = fleet.send("logout", &logout).await;
        if !self.is_unavailable(&response) {
            assert_eq!(response.status, 200, "{response:?}");
            let response = fleet.send("me", &me_with_old_token).await;
            assert!(
                self.is_unavailable(&response) || response.status == 401,
                "{response:?}"
            );
        }
    }

    async fn register_user(&mut self, fleet: &Fleet) {
        let someone = registration();
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&someone);
        let response = fleet.send("register", &request).await;
        let is_certain = !self.is_unavailable(&response);
        assert!(!is_certain || response.status == 201, "{response:?}");
        let name = someone["username"].as_str().expect("a name").to_owned();
        self.registered.push((name, is_certain));
    }

    async fn get_account(&mut self, fleet: &Fleet) {
        let response = fleet
            .send("me", &self.request("GET", "/api/auth/me", &[]))
            .await;
        if !self.is_unavailable(&response) {
            assert_eq!(
                (response.status, &response.body["email"]),
                (200, &json!(self.email))
            );
        }
    }

    async fn create(&mut self, fleet: &Fleet) {
        let title = unique();
        let request = self
            .request("POST", TASKS, &[&self.user_id])
            .json(&json!({"title": title}));
        let response = fleet.send("create-task", &request).await;
        if self.is_unavailable(&response) {
            self.uncertain_titles.push(title);
            return;
        }
        assert_eq!(response.status, 201, "{response:?}");
        let id = response.body["id"].as_i64().expect("an id");
        assert_eq!(task(&response.body), (title, false));
        let known = self.tasks.insert(id, vec![Some(task(&response.body))]);
        assert_eq!(known, None);
    }

    async fn list(&mut self, fleet: &Fleet) {
        let response = fleet
            .send("list-tasks", &self.request("GET", TASKS, &[&self.user_id]))
            .await;
        if !self.is_unavailable(&response) {
            assert_eq!(response.status, 200, "{response:?}");
            let list = response.body.as_array().expect("a list");
            self.reconcile(
                list.iter()
                    .map(|body| (body["id"].as_i64().expect("an id"), task(body))),
            );
        }
    }

    /// Asserts that tasks have a possible state, and records the actual state.
    fn reconcile(&mut self, list: impl Iterator<Item = (i64, Task)>) {
        let mut list: BTreeMap<_, _> = list.collect();
        for (id, possible) in &mut self.tasks {
            let found = list.remove(id);
            assert!(
                possible.contains(&found),
                "task {id} is {found:?}, not one of {possible:?}"
            );
            *possible = vec![found];
        }
        for (id, found) in list {
            let index = self
                .uncertain_titles
                .iter()
                .position(|title| *title == found.0);
            self.uncertain_titles
                .remove(index.unwrap_or_else(|| panic!("no client created {found:?}")));
            assert!(!found.1);
            self.tasks.insert(id, vec![Some(found)]);
        }
        self.tasks.retain(|_, possible| *possible != [None]);
    }

    async fn get(&mut self, fleet: &Fleet, id: i64) {
        let remains = |task: &Task| Some(task.clone());
        self.send_for_task(fleet, "get-task", id, Value::Null, remains)
            .await;
    }

    async fn rename(&mut self, fleet: &Fleet, id: i64) {
        let title = unique();
        let body = json!({"title": title});
        let renamed = |task: &Task| Some((title.clone(), task.1));
        self.send_for_task(fleet, "update-task", id, body, renamed)
            .await;
    }

    async fn complete(&mut self, fleet: &Fleet, id: i64) {
        let turned = |task: &Task| Some((task.0.clone(), !task.1));
        self.send_for_task(fleet, "complete-task", id, Value::Null, turned)
            .await;
    }

    async fn delete(&mut self, fleet: &Fleet, id: i64) {
        self.send_for_task(fleet, "delete-task", id, Value::Null, |_| None)
            .await;
    }

    /// Sends a request for one task. `effect` is the state of the task after a success.
    async fn send_for_task(
        &mut self,
        fleet: &Fleet,
        function: &str,
        id: i64,
        body: Value,
        effect: impl Fn(&Task) -> Option<Task>,
    ) {
        let route = route(function);
        let request = self
            .request(
                &route.method,
                &route.path,
                &[&self.user_id, &id.to_string()],
            )
            .json(&body);
        let response = fleet.send(function, &request).await;
        let is_unavailable = self.is_unavailable(&response);
        let possible = self.tasks.get_mut(&id).expect("a task");
        if is_unavailable {
            let changed: Vec<_> = possible.iter().flatten().map(effect).collect();
            possible.extend(changed);
            return;
        }
        // `None` means that the task does not exist.
        let result = match (response.status, function) {
            (404, _) => None,
            (200, "delete-task") => Some(None),
            (200, _) => Some(Some(task(&response.body))),
            (status, _) => panic!("{function}: {status}"),
        };
        let mut outcomes = possible.iter().map(|before| before.as_ref().map(&effect));
        assert!(
            outcomes.any(|outcome| outcome == result),
            "{function} returns {result:?}, and the task was one of {possible:?}"
        );
        match result.flatten() {
            Some(now) => *possible = vec![Some(now)],
            None => drop(self.tasks.remove(&id)),
        }
    }

    /// Asserts that the database agrees with all responses.
    async fn assert_database_agrees(mut self, database: &Database) {
        let id: i32 = self.user_id.parse().expect("an id");
        let rows = database
            .query(
                "SELECT id, title, completed FROM task WHERE user_id = $1",
                &[&id],
            )
            .await;
        self.reconcile(
            rows.iter()
                .map(|row| (row["id"].as_i64().expect("an id"), task(row))),
        );
        for (name, is_certain) in &self.registered {
            let count = "SELECT count(*) AS users,
                                count(*) = (SELECT count(*) FROM session JOIN \"user\" AS owner ON owner.id = user_id
                                            WHERE owner.username = $1) AS has_session
                         FROM \"user\" WHERE username = $1";
            let found = database.query_one(count, &[name]).await;
            let users = found["users"].as_u64().expect("a number");
            assert!(
                users == 1 || (users == 0 && !is_certain),
                "{users} users where one registered"
            );
            assert_eq!(found["has_session"], json!(true));
        }
    }
}

/// Terminates random sessions of the functions, active ones first, and returns their number.
async fn terminate_sessions(database: &Database, is_over: &AtomicBool) -> u64 {
    let terminate = "SELECT pg_terminate_backend(pid) FROM
                   (SELECT pid FROM pg_stat_activity
                    WHERE datname = current_database() AND usename <> current_user
                    ORDER BY state = 'active' DESC, random() LIMIT 1) AS session";
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        sleep(TERMINATION_INTERVAL).await;
        count += database.query(terminate, &[]).await.len() as u64;
    }
    count
}

#[tokio::test]
async fn clients_and_database_agree_while_sessions_end() {
    let requests =
        env_var("SOAK_REQUESTS").map_or(REQUESTS, |count| count.parse().expect("a number"));
    let database = TestDatabase::migrated().await;
    let environments: Vec<_> = [
        Some(database.environment.clone()),
        database.pooled_environment(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let fleet = Fleet::start(&environments).await;
    let mut clients = join_all((0..CLIENTS).map(|_| Client::register(&fleet))).await;
    let started = Instant::now();
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = async {
        let mut memory = Vec::new();
        for until in [requests / 4, requests] {
            join_all(clients.iter_mut().map(async |client| {
                while sent.fetch_add(1, Ordering::Relaxed) < until {
                    client.act(&fleet).await;
                }
            }))
            .await;
            sent.store(until, Ordering::Relaxed);
            memory.push(fleet.memory());
        }
        is_over.store(true, Ordering::Relaxed);
        memory
    };
    let (memory, terminated) = tokio::join!(work, terminate_sessions(&database.owner, &is_over));
    let took = started.elapsed();

    let unavailable: u64 = clients.iter().map(|client| client.unavailable).sum();
    for client in clients {
        client.assert_database_agrees(&database.owner).await;
    }
    let saved = fleet.saved_creations();
    let growth = memory[0]
        .iter()
        .zip(&memory[1])
        .map(|((name, early), (_, late))| (late.saturating_sub(*early), *name));
    let (most, name) = growth.max().expect("an instance");
    writeln!(
        std::io::stderr(),
        "soak: {requests} requests in {took:.1?}, {terminated} sessions terminated, {unavailable} responses with 503 ({}.{:02} %); \
         {saved} creations saved by the function's own key; the largest memory growth: {} KiB of {name}",
        unavailable * 100 / requests,
        unavailable * 10_000 / requests % 100,
        most / 1024,
    )
    .expect("stderr");
    assert!(terminated > 0);
    assert!(
        unavailable * 20 < requests,
        "at least one request in twenty got a 503"
    );
    assert!(most < MAX_GROWTH, "{name} grew by {most} bytes");
    database.drop().await;
}
