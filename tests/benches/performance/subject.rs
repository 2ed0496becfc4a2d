//! The programs that are measured, and the requests that each is sent.

use serde_json::{Value, json};
use tests::api::{PASSWORD, registration};
use tests::database::TestDatabase;
use tests::fixtures::{Fixtures, RouteCase};
use tests::function::{Environment, Function, HttpEvent};
use tests::openapi;
use tests::routes::{Route, routes};

use crate::Effort;

/// The binary of tests/baseline, and the name of its row for answering one task.
pub(crate) const BASELINE: &str = "baseline";

/// The baseline, answering a list.
const BASELINE_LIST: &str = "baseline, list";

/// The baseline, changing a task.
const BASELINE_WRITE: &str = "baseline, write";

/// The baseline, answering one task without a session check.
const BASELINE_WITHOUT_SESSION: &str = "baseline, no session";

/// The number of tasks in a list.
pub(crate) const LISTED: i32 = 100;

/// What a program does, which decides the targets that apply to it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// The minimum that others are compared with.
    Baseline,
    /// It works on tasks.
    Task,
    /// It needs the database, but no tasks.
    Account,
    /// It hashes passwords.
    Password,
    /// It needs no database.
    Static,
}

impl Kind {
    /// The kind of a route that needs the database.
    fn from_route_case(case: &RouteCase) -> Self {
        let has_password = |body: Value| {
            let members = body.as_object().expect("an object");
            members.keys().any(|name| name.ends_with("password"))
        };
        if case.route.has_path_id() {
            Self::Task
        } else if case.body().is_some_and(has_password) {
            Self::Password
        } else {
            Self::Account
        }
    }
}

/// A program with its requests.
pub(crate) struct Subject {
    /// The name of its row in the report.
    pub(crate) name: &'static str,
    /// Its binary.
    pub(crate) binary: &'static str,
    /// What it does.
    pub(crate) kind: Kind,
    /// The name of the subject that it is compared with.
    pub(crate) baseline: &'static str,
    /// The environment variables that it is started with.
    pub(crate) environment: Environment,
    requests: Requests,
}

/// A source of requests that all succeed.
enum Requests {
    Same(HttpEvent),
    /// A new account each time.
    Registrations(HttpEvent),
    /// Two passwords in turn. The flag says whether the second one is set.
    Passwords(HttpEvent, bool),
    /// Each request succeeds only once.
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

    /// Whether a request takes much longer than any other, because it hashes a password.
    pub(crate) fn hashes_password(&self) -> bool {
        self.kind == Kind::Password
    }
}

/// The baseline that does the same kind of work as a route.
fn baseline_of(route: &Route) -> &'static str {
    if route.method != "GET" {
        BASELINE_WRITE
    } else if route.has_path_id() && !route.has_task_id() {
        BASELINE_LIST
    } else {
        BASELINE
    }
}

/// The baselines and all routes, on one database.
pub(crate) async fn subjects(own: &TestDatabase, effort: &Effort) -> Vec<Subject> {
    // Requests for warming up and for the round trips, in addition to those that are measured.
    let spare = 50;
    let fixtures = Fixtures::in_environment(&own.environment).await;
    let mut subjects = Vec::new();
    for route in routes() {
        let route_case = fixtures.route_case(route).await;
        let request = route_case.request();
        let requests = match route.function {
            "register" => Requests::Registrations(request),
            "change-password" => Requests::Passwords(request, false),
            // A personal token more than an account may have is refused.
            "delete-account" | "create-token" => {
                let mut requests = Vec::new();
                for _ in 0..effort.starts + effort.rounds + spare {
                    requests.push(fixtures.route_case(route).await.request());
                }
                Requests::Once(requests)
            }
            "end-session" => {
                let count = effort.starts + effort.rounds * effort.requests + spare;
                let count = i32::try_from(count).expect("some thousands");
                let sessions = add_sessions(own, route_case.user_id_number(), count).await;
                let requests = sessions.into_iter().map(|session_id| {
                    let mut route_case = route_case.clone();
                    route_case.session_id = session_id;
                    route_case.request()
                });
                Requests::Once(requests.collect())
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
            kind: Kind::from_route_case(&route_case),
            baseline: baseline_of(route),
            environment: own.environment.clone(),
            requests,
        });
    }
    // The functions that remain need no database. Of each, one operation is measured.
    for operation in openapi::operations() {
        if subjects.iter().any(|it| it.name == operation.function) {
            continue;
        }
        let request = HttpEvent::new(&operation.method, &operation.path, &[]);
        let name: &'static str = operation.function.leak();
        subjects.push(Subject {
            name,
            binary: name,
            kind: Kind::Static,
            baseline: BASELINE,
            environment: own.environment.clone(),
            requests: Requests::Same(request),
        });
    }
    // `require` is the strictest mode that the driver knows. The certificate is verified all the same.
    let url = own.environment.value("DATABASE_URL");
    let url = url.replace("sslmode=verify-full", "sslmode=require");
    let environment = own.environment.clone().with("DATABASE_URL", url);
    for (name, route) in [
        (BASELINE_WITHOUT_SESSION, "get-task"),
        (BASELINE_WRITE, "complete-task"),
        (BASELINE_LIST, "list-tasks"),
        (BASELINE, "get-task"),
    ] {
        let subject = subjects.iter_mut().find(|subject| subject.name == route);
        let mut request = subject.expect("a route").request();
        if name == BASELINE_WITHOUT_SESSION {
            request = request.anonymous();
        }
        let baseline = Subject {
            name,
            binary: BASELINE,
            kind: Kind::Baseline,
            baseline: name,
            environment: environment.clone(),
            requests: Requests::Same(request),
        };
        subjects.insert(0, baseline);
    }
    subjects
}

/// Adds sessions to a user, and returns their ids.
async fn add_sessions(own: &TestDatabase, user: i32, count: i32) -> Vec<String> {
    let insert = "INSERT INTO session (user_id, token_jti, token, expires_at)
                  SELECT $1, 'session ' || n, '', now() AT TIME ZONE 'utc' + interval '1 day'
                  FROM generate_series(1, $2) AS n";
    own.owner.execute(insert, &[&user, &count]).await;
    let newest = "SELECT id FROM session WHERE user_id = $1 ORDER BY id DESC LIMIT $2";
    let sessions = own.owner.query(newest, &[&user, &i64::from(count)]).await;
    sessions
        .iter()
        .map(|session| session["id"].to_string())
        .collect()
}

/// Adds tasks of realistic size to a user, and returns their ids.
async fn add_tasks(own: &TestDatabase, user: i32, count: i32) -> Vec<String> {
    let insert = "INSERT INTO task (user_id, title, description, due_date, tags)
                  SELECT $1, 'Buy milk and bread, no. ' || n, 'Whole milk, and the bread with the seeds.', '2026-12-24', 'errands,food'
                  FROM generate_series(1, $2) AS n";
    own.owner.execute(insert, &[&user, &count]).await;
    let newest = "SELECT id FROM task WHERE user_id = $1 ORDER BY id DESC LIMIT $2";
    let tasks = own.owner.query(newest, &[&user, &i64::from(count)]).await;
    tasks.iter().map(|task| task["id"].to_string()).collect()
}
