//! Many requests, from several clients on several instances, while the server keeps ending sessions: each client keeps a
//! book of what it was told, and in the end the database agrees with all of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::{Database, TestDatabase, env_var};
use tests::function::{Environment, Function, HttpEvent, HttpResponse};
use tests::{random, unique};
use tokio::time::sleep;

use tests::routes::{TASK, TASKS, routes};

const CLIENTS: usize = 8;

/// As many as fit into a run of all tests; `./dev soak` has more.
const REQUESTS: u64 = 2_000;

/// How often the server ends one of the sessions.
const TERMINATION: Duration = Duration::from_millis(200);

/// What an instance may have grown by, in bytes, between a quarter of the requests and the end: the allocator keeps
/// some of what is given back to it.
const GROWTH: u64 = 4 << 20;

/// Of each route two instances: one with a connection of its own, one by way of the pooler, where there is one.
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
        fleet.hash_once().await;
        fleet
    }

    /// Has each instance hash a password that will: the memory for the first is kept for all others, and no growth.
    async fn hash_once(&self) {
        for (name, status) in [("login", 401), ("register", 201)] {
            for instance in &self.0[name] {
                let path = format!("/api/auth/{name}");
                let request = HttpEvent::new("POST", &path, &[]).json(&registration());
                let answer = instance.http(&request).await;
                assert_eq!(answer.status, status, "{answer:?}");
            }
        }
    }

    async fn ask(&self, function: &str, request: &HttpEvent) -> HttpResponse {
        let instances = &self.0[function];
        let answer = instances[random(instances.len())].http(request).await;
        if answer.status == 503 {
            answer.assert_unavailable();
        }
        answer
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

/// A client, and what it knows.
struct Client {
    user_id: String,
    email: String,
    token: String,
    /// What each task may be, as far as the client was told; `None` is deleted.
    tasks: BTreeMap<i64, Vec<Option<Task>>>,
    /// The titles of tasks that may have been created or not.
    unborn: Vec<String>,
    /// Names that were registered, and whether that is certain.
    registered: Vec<(String, bool)>,
    unavailable: u64,
}

impl Client {
    async fn register(fleet: &Fleet) -> Self {
        let user = registration();
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let answer = fleet.ask("register", &request).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            user_id: text(&answer.body["user_id"]),
            email: text(&user["email"]),
            token: text(&answer.body["access_token"]),
            tasks: BTreeMap::new(),
            unborn: Vec::new(),
            registered: Vec::new(),
            unavailable: 0,
        }
    }

    /// Does one thing out of all that can be done.
    async fn act(&mut self, fleet: &Fleet) {
        let ids: Vec<_> = self.tasks.keys().copied().collect();
        let id = (!ids.is_empty()).then(|| ids[random(ids.len())]);
        match (random(100), id) {
            (0..2, _) => self.log_in(fleet).await,
            (2, _) => self.register_someone(fleet).await,
            (3..8, _) => self.look_at_self(fleet).await,
            (8..20, _) => self.list(fleet).await,
            (20..35, Some(id)) => self.look_at(fleet, id).await,
            (35..50, Some(id)) => self.rename(fleet, id).await,
            (50..65, Some(id)) => self.complete(fleet, id).await,
            // So many live tasks that a list stays short.
            (65..80, Some(id)) => self.delete(fleet, id).await,
            _ => self.create(fleet).await,
        }
    }

    fn request(&self, method: &str, path: &str, values: &[&str]) -> HttpEvent {
        HttpEvent::new(method, path, values).bearer(&self.token)
    }

    fn is_unavailable(&mut self, answer: &HttpResponse) -> bool {
        self.unavailable += u64::from(answer.status == 503);
        answer.status == 503
    }

    async fn log_in(&mut self, fleet: &Fleet) {
        let request = HttpEvent::new("POST", "/api/auth/login", &[])
            .json(&json!({"email": self.email, "password": PASSWORD}));
        let answer = fleet.ask("login", &request).await;
        if self.is_unavailable(&answer) {
            return;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let logout = self.request("POST", "/api/auth/logout", &[]);
        let former_me = self.request("GET", "/api/auth/me", &[]);
        answer.body["access_token"]
            .as_str()
            .expect("a token")
            .clone_into(&mut self.token);
        let answer = fleet.ask("logout", &logout).await;
        if !self.is_unavailable(&answer) {
            assert_eq!(answer.status, 200, "{answer:?}");
            let answer = fleet.ask("me", &former_me).await;
            assert!(
                self.is_unavailable(&answer) || answer.status == 401,
                "{answer:?}"
            );
        }
    }

    async fn register_someone(&mut self, fleet: &Fleet) {
        let someone = registration();
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&someone);
        let answer = fleet.ask("register", &request).await;
        let certain = !self.is_unavailable(&answer);
        assert!(!certain || answer.status == 201, "{answer:?}");
        let name = someone["username"].as_str().expect("a name").to_owned();
        self.registered.push((name, certain));
    }

    async fn look_at_self(&mut self, fleet: &Fleet) {
        let answer = fleet
            .ask("me", &self.request("GET", "/api/auth/me", &[]))
            .await;
        if !self.is_unavailable(&answer) {
            assert_eq!(
                (answer.status, &answer.body["email"]),
                (200, &json!(self.email))
            );
        }
    }

    async fn create(&mut self, fleet: &Fleet) {
        let title = unique();
        let request = self
            .request("POST", TASKS, &[&self.user_id])
            .json(&json!({"title": title}));
        let answer = fleet.ask("create-task", &request).await;
        if self.is_unavailable(&answer) {
            self.unborn.push(title);
            return;
        }
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.body["id"].as_i64().expect("an id");
        assert_eq!(task(&answer.body), (title, false));
        let known = self.tasks.insert(id, vec![Some(task(&answer.body))]);
        assert_eq!(known, None);
    }

    async fn list(&mut self, fleet: &Fleet) {
        let answer = fleet
            .ask("list-tasks", &self.request("GET", TASKS, &[&self.user_id]))
            .await;
        if !self.is_unavailable(&answer) {
            assert_eq!(answer.status, 200, "{answer:?}");
            let list = answer.body.as_array().expect("a list");
            self.see_all(
                list.iter()
                    .map(|body| (body["id"].as_i64().expect("an id"), task(body))),
            );
        }
    }

    /// Compares what is there with what the client knows, and learns from it.
    fn see_all(&mut self, list: impl Iterator<Item = (i64, Task)>) {
        let mut list: BTreeMap<_, _> = list.collect();
        for (id, possible) in &mut self.tasks {
            let found = list.remove(id);
            assert!(
                possible.contains(&found),
                "task {id} is {found:?}, and not of {possible:?}"
            );
            *possible = vec![found];
        }
        for (id, found) in list {
            let index = self.unborn.iter().position(|title| *title == found.0);
            self.unborn
                .remove(index.unwrap_or_else(|| panic!("nobody created {found:?}")));
            assert!(!found.1);
            self.tasks.insert(id, vec![Some(found)]);
        }
        self.tasks.retain(|_, possible| *possible != [None]);
    }

    async fn look_at(&mut self, fleet: &Fleet, id: i64) {
        let remains = |task: &Task| Some(task.clone());
        self.touch(fleet, "get-task", id, Value::Null, remains)
            .await;
    }

    async fn rename(&mut self, fleet: &Fleet, id: i64) {
        let title = unique();
        let body = json!({"title": title});
        let renamed = |task: &Task| Some((title.clone(), task.1));
        self.touch(fleet, "update-task", id, body, renamed).await;
    }

    async fn complete(&mut self, fleet: &Fleet, id: i64) {
        let turned = |task: &Task| Some((task.0.clone(), !task.1));
        self.touch(fleet, "complete-task", id, Value::Null, turned)
            .await;
    }

    async fn delete(&mut self, fleet: &Fleet, id: i64) {
        self.touch(fleet, "delete-task", id, Value::Null, |_| None)
            .await;
    }

    /// Does to one task what makes of it what `effect` says.
    async fn touch(
        &mut self,
        fleet: &Fleet,
        function: &str,
        id: i64,
        body: Value,
        effect: impl Fn(&Task) -> Option<Task>,
    ) {
        let (method, path) = match function {
            "get-task" => ("GET", TASK),
            "update-task" => ("PUT", TASK),
            "delete-task" => ("DELETE", TASK),
            _ => ("PATCH", "/api/{user_id}/tasks/{id}/complete"),
        };
        let request = self
            .request(method, path, &[&self.user_id, &id.to_string()])
            .json(&body);
        let answer = fleet.ask(function, &request).await;
        let is_unavailable = self.is_unavailable(&answer);
        let possible = self.tasks.get_mut(&id).expect("a task");
        if is_unavailable {
            let changed: Vec<_> = possible.iter().flatten().map(effect).collect();
            possible.extend(changed);
            return;
        }
        // `None` where there is no such task.
        let told = match (answer.status, function) {
            (404, _) => None,
            (200, "delete-task") => Some(None),
            (200, _) => Some(Some(task(&answer.body))),
            (status, _) => panic!("{function}: {status}"),
        };
        let mut outcomes = possible.iter().map(|before| before.as_ref().map(&effect));
        assert!(
            outcomes.any(|outcome| outcome == told),
            "{function} answers {told:?}, and the task was one of {possible:?}"
        );
        match told.flatten() {
            Some(now) => *possible = vec![Some(now)],
            None => drop(self.tasks.remove(&id)),
        }
    }

    /// Compares the database with all that the client was told.
    async fn close_the_book(mut self, database: &Database) {
        let id: i32 = self.user_id.parse().expect("an id");
        let rows = database
            .query(
                "SELECT id, title, completed FROM task WHERE user_id = $1",
                &[&id],
            )
            .await;
        self.see_all(
            rows.iter()
                .map(|row| (row["id"].as_i64().expect("an id"), task(row))),
        );
        for (name, certain) in &self.registered {
            let count = "SELECT count(*) AS users,
                                count(*) = (SELECT count(*) FROM session JOIN \"user\" AS owner ON owner.id = user_id
                                            WHERE owner.username = $1) AS has_session
                         FROM \"user\" WHERE username = $1";
            let found = database.query_one(count, &[name]).await;
            let users = found["users"].as_u64().expect("a number");
            assert!(
                users == 1 || (users == 0 && !certain),
                "{users} users where one registered"
            );
            assert_eq!(found["has_session"], json!(true));
        }
    }
}

/// Has the server end sessions of the functions, one after the other and at random, but first those that are at work;
/// and says how many.
async fn end_sessions(database: &Database, until: &AtomicBool) -> u64 {
    let end = "SELECT pg_terminate_backend(pid) FROM
                   (SELECT pid FROM pg_stat_activity
                    WHERE datname = current_database() AND usename <> current_user
                    ORDER BY state = 'active' DESC, random() LIMIT 1) AS session";
    let mut count = 0;
    while !until.load(Ordering::Relaxed) {
        sleep(TERMINATION).await;
        count += database.query(end, &[]).await.len() as u64;
    }
    count
}

#[tokio::test]
async fn the_database_agrees_with_its_clients_while_sessions_end_at_random() {
    let requests =
        env_var("SOAK_REQUESTS").map_or(REQUESTS, |count| count.parse().expect("a number"));
    let own = TestDatabase::migrated().await;
    let environments: Vec<_> = [Some(own.environment.clone()), own.pooled_environment()]
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
    let (memory, ended) = tokio::join!(work, end_sessions(&own.owner, &is_over));
    let took = started.elapsed();

    let unavailable: u64 = clients.iter().map(|client| client.unavailable).sum();
    for client in clients {
        client.close_the_book(&own.owner).await;
    }
    let growth = memory[0]
        .iter()
        .zip(&memory[1])
        .map(|((name, early), (_, late))| (late.saturating_sub(*early), *name));
    let (most, name) = growth.max().expect("an instance");
    writeln!(
        std::io::stderr(),
        "soak: {requests} requests in {took:.1?}, {ended} sessions ended, {unavailable} answers of 503 ({}.{:02} %); \
         the instance that grew most, {name}, by {} KiB",
        unavailable * 100 / requests,
        unavailable * 10_000 / requests % 100,
        most / 1024,
    )
    .expect("stderr");
    assert!(ended > 0);
    assert!(
        unavailable * 20 < requests,
        "one request in twenty or more was not answered"
    );
    assert!(most < GROWTH, "{name} grew by {most} bytes");
    own.drop().await;
}
