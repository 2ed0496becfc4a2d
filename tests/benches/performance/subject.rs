//! What is measured, and what it is asked.

use serde_json::json;
use tests::api::{PASSWORD, registration};
use tests::database::TestDatabase;
use tests::fixtures::Fixtures;
use tests::function::{Environment, Function, HttpEvent};
use tests::routes::routes;

use crate::Effort;

/// The least that can answer a task.
pub(crate) const FLOOR: &str = "floor";

/// The least that can answer a list.
pub(crate) const FLOOR_OF_A_LIST: &str = "floor, list";

/// The least that can change a task.
pub(crate) const FLOOR_OF_A_WRITE: &str = "floor, write";

/// The least that can answer a task, were there no sessions to look up.
pub(crate) const FLOOR_WITHOUT_SESSION: &str = "floor, no session";

/// How many tasks are in a list.
pub(crate) const LISTED: i32 = 100;

/// A program, and what it is asked.
pub(crate) struct Subject {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Its binary.
    pub(crate) binary: &'static str,
    /// What it is given.
    pub(crate) environment: Environment,
    requests: Requests,
}

/// Requests that succeed, as many as are asked for.
enum Requests {
    Same(HttpEvent),
    /// Another account each time.
    Registrations(HttpEvent),
    /// Another password each time.
    Passwords(HttpEvent, bool),
    /// What can be done once each.
    Once(Vec<HttpEvent>),
}

impl Subject {
    /// Starts it.
    pub(crate) async fn start(&self) -> Function {
        Function::start(self.binary, &self.environment).await
    }

    /// The next request.
    pub(crate) fn request(&mut self) -> HttpEvent {
        match &mut self.requests {
            Requests::Same(request) => request.clone(),
            Requests::Registrations(request) => request.clone().json(&registration()),
            Requests::Passwords(request, is_changed) => {
                let (mut current, mut new) = (PASSWORD, "another good password");
                if std::mem::replace(is_changed, !*is_changed) {
                    std::mem::swap(&mut current, &mut new);
                }
                let body = json!({"current_password": current, "new_password": new});
                request.clone().json(&body)
            }
            Requests::Once(requests) => requests.pop().expect("enough of them"),
        }
    }

    /// What it is measured against.
    pub(crate) fn floor(&self) -> &'static str {
        match self.binary {
            FLOOR => self.name,
            "list-tasks" => FLOOR_OF_A_LIST,
            "get-task" | "me" | "health" | "docs" => FLOOR,
            _ => FLOOR_OF_A_WRITE,
        }
    }

    /// Whether it hashes a password, which takes longer than all else.
    pub(crate) fn hashes(&self) -> bool {
        ["register", "login", "change-password", "delete-account"].contains(&self.binary)
    }

    /// Whether it works on tasks.
    pub(crate) fn works_on_tasks(&self) -> bool {
        self.binary.ends_with("-task") || self.binary.ends_with("-tasks")
    }
}

/// The floors and all routes, over one database.
pub(crate) async fn subjects(own: &TestDatabase, effort: &Effort) -> Vec<Subject> {
    // Besides those that are measured: for warming up, and for counting round trips.
    let spare = 50;
    let fixtures = Fixtures::in_environment(&own.environment).await;
    let mut subjects = Vec::new();
    for route in routes() {
        let route_case = fixtures.route_case(route).await;
        let request = route_case.request();
        let requests = match route.function {
            "register" => Requests::Registrations(request),
            "change-password" => Requests::Passwords(request, false),
            "delete-account" => {
                let mut requests = Vec::new();
                for _ in 0..effort.starts + effort.rounds + spare {
                    requests.push(fixtures.route_case(route).await.request());
                }
                Requests::Once(requests)
            }
            "delete-task" => {
                let count = effort.starts + effort.rounds * effort.requests + spare;
                let count = i32::try_from(count).expect("some thousands");
                let tasks = add_tasks(own, route_case.user_id_number(), count).await;
                let requests = tasks
                    .iter()
                    .map(|task| route_case.with_task_id(task).request());
                Requests::Once(requests.collect())
            }
            "list-tasks" => {
                add_tasks(own, route_case.user_id_number(), LISTED - 1).await;
                Requests::Same(request)
            }
            _ => Requests::Same(request),
        };
        subjects.push(Subject {
            name: route.function,
            binary: route.function,
            environment: own.environment.clone(),
            requests,
        });
    }
    for (name, path) in [("health", "/health"), ("docs", "/")] {
        subjects.push(Subject {
            name,
            binary: name,
            environment: own.environment.clone(),
            requests: Requests::Same(HttpEvent::new("GET", path, &[])),
        });
    }
    // The driver knows no stricter word than `require`; the certificate is verified all the same.
    let url = own.environment.value("DATABASE_URL");
    let url = url.replace("sslmode=verify-full", "sslmode=require");
    let environment = own.environment.clone().with("DATABASE_URL", url);
    for (name, route) in [
        (FLOOR_WITHOUT_SESSION, "get-task"),
        (FLOOR_OF_A_WRITE, "complete-task"),
        (FLOOR_OF_A_LIST, "list-tasks"),
        (FLOOR, "get-task"),
    ] {
        let above = subjects.iter_mut().find(|subject| subject.name == route);
        let mut request = above.expect("a route").request();
        if name == FLOOR_WITHOUT_SESSION {
            request = request.anonymous();
        }
        let floor = Subject {
            name,
            binary: FLOOR,
            environment: environment.clone(),
            requests: Requests::Same(request),
        };
        subjects.insert(0, floor);
    }
    subjects
}

/// Gives a user more tasks, such as people have, and tells their ids.
async fn add_tasks(own: &TestDatabase, user: i32, count: i32) -> Vec<String> {
    let insert = "INSERT INTO task (user_id, title, description, due_date, tags)
                  SELECT $1, 'Buy milk and bread, no. ' || n, 'Whole milk, and the bread with the seeds.', '2026-12-24', 'errands,food'
                  FROM generate_series(1, $2) AS n";
    own.owner.execute(insert, &[&user, &count]).await;
    let newest = "SELECT id FROM task WHERE user_id = $1 ORDER BY id DESC LIMIT $2";
    let tasks = own.owner.query(newest, &[&user, &i64::from(count)]).await;
    tasks.iter().map(|task| task["id"].to_string()).collect()
}
