//! Every route that needs the database, and for each a user of its own on whom it can be tried.

use crate::api::{PASSWORD, registration};
use crate::database::Database;
use crate::function::{Environment, Function, HttpAnswer, HttpEvent};
use serde_json::{Value, json};

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its function.
    pub function: &'static str,
    method: &'static str,
    path: &'static str,
    /// The status where all is well.
    status: u64,
    /// How many statements it takes.
    pub statements: u64,
    /// Whether to send its last statement twice would do something else than to send it once.
    pub counts: bool,
}

/// The path of a user's tasks.
pub const TASKS: &str = "/api/{user_id}/tasks";
/// The path of one of them.
pub const TASK: &str = "/api/{user_id}/tasks/{id}";

/// All of them.
#[rustfmt::skip]
pub const ROUTES: [Route; 12] = [
    Route { function: "register", method: "POST", path: "/api/auth/register", status: 201, statements: 2, counts: false },
    Route { function: "login", method: "POST", path: "/api/auth/login", status: 200, statements: 2, counts: false },
    Route { function: "logout", method: "POST", path: "/api/auth/logout", status: 200, statements: 1, counts: false },
    Route {
        function: "change-password", method: "POST", path: "/api/auth/password",
        status: 200, statements: 3, counts: false,
    },
    Route { function: "delete-account", method: "DELETE", path: "/api/auth/me", status: 200, statements: 2, counts: true },
    Route { function: "me", method: "GET", path: "/api/auth/me", status: 200, statements: 1, counts: false },
    Route { function: "list-tasks", method: "GET", path: TASKS, status: 200, statements: 1, counts: false },
    Route { function: "create-task", method: "POST", path: TASKS, status: 201, statements: 1, counts: true },
    Route { function: "get-task", method: "GET", path: TASK, status: 200, statements: 1, counts: false },
    Route { function: "update-task", method: "PUT", path: TASK, status: 200, statements: 1, counts: true },
    Route { function: "delete-task", method: "DELETE", path: TASK, status: 200, statements: 1, counts: true },
    Route {
        function: "complete-task", method: "PATCH", path: "/api/{user_id}/tasks/{id}/complete",
        status: 200, statements: 1, counts: true,
    },
];

impl Route {
    /// Whether the path names a user.
    pub fn has_path_id(&self) -> bool {
        self.path.contains("{user_id}")
    }

    /// Whether the path names a task.
    pub fn has_task_id(&self) -> bool {
        self.path.contains("{id}")
    }
}

/// The route of a function.
pub fn route(function: &str) -> Route {
    let route = ROUTES.iter().find(|route| route.function == function);
    *route.expect("a route")
}

/// Where scenes are set, on one database.
pub struct Stage {
    environment: Environment,
    register: Function,
    create: Function,
}

/// A user with one task, and what a route is asked to do with them.
#[derive(Clone)]
pub struct Scene {
    /// The route.
    pub route: Route,
    /// The user's id.
    pub user_id: String,
    /// The token of their session.
    pub token: String,
    /// Their email address.
    pub email: String,
    /// The id of their task.
    pub task_id: String,
    newcomer: Value,
}

impl Stage {
    /// On the database of `DATABASE_URL`.
    pub async fn new() -> Self {
        Self::on(&Environment::default()).await
    }

    /// On a database of a test's own.
    pub async fn on(environment: &Environment) -> Self {
        Self {
            environment: environment.clone(),
            register: Function::start("register", environment).await,
            create: Function::start("create-task", environment).await,
        }
    }

    /// Registers a user, and creates the task.
    pub async fn scene(&self, route: Route) -> Scene {
        let user = registration();
        let request = HttpEvent::new("POST", "/api/auth/register", &[]).json(&user);
        let registered = created(&self.register.http(&request).await);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let mut scene = Scene {
            route,
            user_id: text(&registered["user_id"]),
            token: text(&registered["access_token"]),
            email: text(&user["email"]),
            task_id: String::new(),
            newcomer: registration(),
        };
        let request = HttpEvent::new("POST", TASKS, &[&scene.user_id])
            .bearer(&scene.token)
            .json(&json!({"title": "as it was"}));
        scene.task_id = created(&self.create.http(&request).await)["id"].to_string();
        scene
    }

    /// What the database holds before a request, and after it, where nothing goes wrong.
    pub async fn without_fault(&self, route: Route, database: &Database) -> [Value; 2] {
        let scene = self.scene(route).await;
        let before = scene.books(database).await;
        let function = Function::start(route.function, &self.environment).await;
        let answer = function.http(&scene.request()).await;
        assert!(scene.is_answered_by(&answer), "{answer:?}");
        [before, scene.books(database).await]
    }
}

impl Scene {
    /// The same for another task.
    #[must_use]
    pub fn about(&self, task_id: &str) -> Self {
        let task_id = task_id.to_owned();
        Self {
            task_id,
            ..self.clone()
        }
    }

    /// The request, which succeeds if it is made once.
    pub fn request(&self) -> HttpEvent {
        let values: &[&str] = match (self.route.has_path_id(), self.route.has_task_id()) {
            (true, true) => &[&self.user_id, &self.task_id],
            (true, false) => &[&self.user_id],
            _ => &[],
        };
        let request =
            HttpEvent::new(self.route.method, self.route.path, values).bearer(&self.token);
        match self.body() {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// The body of the request, where the route reads one.
    pub fn body(&self) -> Option<Value> {
        match self.route.function {
            "register" => Some(self.newcomer.clone()),
            "login" => Some(json!({"email": self.email, "password": PASSWORD})),
            "change-password" => {
                Some(json!({"current_password": PASSWORD, "new_password": "another password"}))
            }
            "delete-account" => Some(json!({"password": PASSWORD})),
            "create-task" => Some(json!({"title": "new"})),
            "update-task" => Some(json!({"title": "changed"})),
            _ => None,
        }
    }

    /// The user's id, as the database holds it.
    pub fn id(&self) -> i32 {
        self.user_id.parse().expect("an id")
    }

    /// Whether the request was answered as it should be.
    pub fn is_answered_by(&self, answer: &HttpAnswer) -> bool {
        answer.status == self.route.status
    }

    /// What the database holds of the user and the newcomer, but for what differs between two users.
    pub async fn books(&self, database: &Database) -> Value {
        let newcomer = self.newcomer["username"].as_str();
        database
            .row(
                "SELECT (SELECT jsonb_agg(jsonb_build_array(title, completed) ORDER BY id)
                         FROM task WHERE user_id = $1) AS tasks,
                        (SELECT jsonb_agg(revoked ORDER BY id) FROM session WHERE user_id = $1) AS sessions,
                        (SELECT count(*) FROM \"user\" WHERE username = $2) AS newcomers,
                        (SELECT count(*) FROM session JOIN \"user\" ON \"user\".id = user_id
                         WHERE username = $2) AS newcomer_sessions",
                &[&self.id(), &newcomer],
            )
            .await
    }
}

fn created(answer: &HttpAnswer) -> Value {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body.clone()
}
