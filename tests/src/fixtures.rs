//! Users and tasks for the tests, created through the functions themselves.

use serde_json::{Value, json};

use crate::api::registration;
use crate::database::Database;
use crate::function::{Environment, Function, HttpEvent, HttpResponse};
use crate::routes::{Route, TASKS};

/// Registers a user with a new instance of the function, and returns the user's id and token.
pub async fn register(environment: &Environment) -> (String, String) {
    let function = Function::start("register", environment).await;
    let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&registration());
    let registered = created(&function.http(&request).await);
    let text = |name: &str| registered[name].as_str().expect("a text").to_owned();
    (text("user_id"), text("access_token"))
}

/// Creates a [`RouteCase`] for any route, on one database.
pub struct Fixtures {
    environment: Environment,
    register: Function,
    create: Function,
}

/// A user with one task, for a request to one route.
#[derive(Clone)]
pub struct RouteCase {
    /// The route.
    pub route: &'static Route,
    /// The user's id.
    pub user_id: String,
    /// The token of the user's session.
    pub token: String,
    /// The user's email address.
    pub email: String,
    /// The id of the user's task.
    pub task_id: String,
    /// The id of another session of the user, if the path names a session.
    pub session_id: String,
    /// The registration of another user, who does not exist yet.
    new_user: Value,
}

impl Fixtures {
    /// On the database of `DATABASE_URL`.
    pub async fn new() -> Self {
        Self::in_environment(&Environment::default()).await
    }

    /// On the database of an environment.
    pub async fn in_environment(environment: &Environment) -> Self {
        Self {
            environment: environment.clone(),
            register: Function::start("register", environment).await,
            create: Function::start("create-task", environment).await,
        }
    }

    /// Registers a user and creates the user's task.
    pub async fn route_case(&self, route: &'static Route) -> RouteCase {
        let user = registration();
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let registered = created(&self.register.http(&request).await);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let mut route_case = RouteCase {
            route,
            user_id: text(&registered["user_id"]),
            token: text(&registered["access_token"]),
            email: text(&user["email"]),
            task_id: String::new(),
            session_id: String::new(),
            new_user: registration(),
        };
        let request = HttpEvent::new("POST", TASKS, &[&route_case.user_id])
            .bearer(&route_case.token)
            .json(&json!({"title": "as it was"}));
        route_case.task_id = created(&self.create.http(&request).await)["id"].to_string();
        if route.has_session_id() {
            route_case.session_id = self.open_session(&route_case.token).await;
        }
        route_case
    }

    /// Opens another session for the user of a token, and returns its id.
    async fn open_session(&self, token: &str) -> String {
        for (function, method, path) in [
            ("refresh", "POST", "/api/auth/refresh"),
            ("list-sessions", "GET", "/api/auth/sessions"),
        ] {
            let function = Function::start(function, &self.environment).await;
            let request = HttpEvent::new(method, path, &[]).bearer(token);
            let response = function.http(&request).await;
            assert_eq!(response.status, 200, "{response:?}");
            let sessions = response.body.as_array().into_iter().flatten();
            let mut others = sessions.filter(|session| session["current"] == false);
            if let Some(session) = others.next() {
                return session["id"].to_string();
            }
        }
        panic!("there is no other session");
    }

    /// The [snapshots](RouteCase::snapshot) before and after a request without faults.
    pub async fn expected_snapshots(
        &self,
        route: &'static Route,
        database: &Database,
    ) -> [Value; 2] {
        let route_case = self.route_case(route).await;
        let before = route_case.snapshot(database).await;
        let function = Function::start(route.function, &self.environment).await;
        let response = function.http(&route_case.request()).await;
        assert!(route_case.is_success(&response), "{response:?}");
        [before, route_case.snapshot(database).await]
    }
}

impl RouteCase {
    /// The same case with the id of another task.
    #[must_use]
    pub fn with_task_id(&self, task_id: &str) -> Self {
        let task_id = task_id.to_owned();
        Self {
            task_id,
            ..self.clone()
        }
    }

    /// The request. It succeeds once.
    pub fn request(&self) -> HttpEvent {
        let values: &[&str] = match (self.route.has_path_id(), self.route.has_task_id()) {
            (true, true) => &[&self.user_id, &self.task_id],
            (true, false) => &[&self.user_id],
            _ if self.route.has_session_id() => &[&self.session_id],
            _ => &[],
        };
        let request =
            HttpEvent::new(&self.route.method, &self.route.path, values).bearer(&self.token);
        match self.body() {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// The body of the request, if the route reads one.
    pub fn body(&self) -> Option<Value> {
        let body = self.route.body?;
        Some(body(&self.email, &self.new_user))
    }

    /// The user's id as a number, as in the database.
    pub fn user_id_number(&self) -> i32 {
        self.user_id.parse().expect("an id")
    }

    /// Whether the response has the status of success.
    pub fn is_success(&self, response: &HttpResponse) -> bool {
        response.status == self.route.success_status
    }

    /// The database rows of the user and of the new user, without what differs between two cases.
    pub async fn snapshot(&self, database: &Database) -> Value {
        let new_user = self.new_user["username"].as_str();
        database
            .query_one(
                "SELECT (SELECT jsonb_agg(jsonb_build_array(title, completed) ORDER BY id)
                         FROM task WHERE user_id = $1) AS tasks,
                        (SELECT jsonb_agg(revoked ORDER BY id) FROM session WHERE user_id = $1) AS sessions,
                        (SELECT count(*) FROM \"user\" WHERE username = $2) AS new_users,
                        (SELECT count(*) FROM session JOIN \"user\" ON \"user\".id = user_id
                         WHERE username = $2) AS new_user_sessions",
                &[&self.user_id_number(), &new_user],
            )
            .await
    }
}

fn created(response: &HttpResponse) -> Value {
    assert_eq!(response.status, 201, "{response:?}");
    response.body.clone()
}
