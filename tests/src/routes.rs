//! Every route that uses the database.
//!
//! Method, path, function and status come from openapi.yaml. `DETAILS` adds what the document does not say.

use std::fmt;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::api::PASSWORD;
use crate::openapi::{self, Operation};

/// A route.
pub struct Route {
    /// The binary that serves it.
    pub function: &'static str,
    /// The HTTP method.
    pub method: String,
    /// The path, with the names of its parameters in braces.
    pub path: String,
    /// The status of a successful response.
    pub success_status: u64,
    /// Whether the request must have a token.
    pub needs_token: bool,
    /// How many statements a successful request runs.
    pub statements: u64,
    /// Whether the last statement can be sent twice with the same effect as once.
    pub is_idempotent: bool,
    /// Builds the request body, if the route reads one.
    pub body: Option<Body>,
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// Builds the body of a request that succeeds, from the email address of the user and the registration of another one.
pub type Body = fn(email: &str, new_user: &Value) -> Value;

/// The path of a user's tasks.
pub const TASKS: &str = "/api/{user_id}/tasks";
/// The path of one task.
pub const TASK: &str = "/api/{user_id}/tasks/{id}";

/// The path of one session.
pub const SESSION: &str = "/api/auth/sessions/{id}";

/// The functions that need neither a token nor the database.
const WITHOUT_DATABASE: [&str; 2] = ["health", "docs"];

/// What openapi.yaml does not say about a route. A new function needs an entry here.
struct Details {
    function: &'static str,
    statements: u64,
    is_idempotent: bool,
    body: Option<Body>,
}

#[rustfmt::skip]
const DETAILS: [Details; 17] = [
    Details { function: "register", statements: 2, is_idempotent: true, body: Some(|_, new_user| new_user.clone()) },
    Details { function: "login", statements: 2, is_idempotent: true, body: Some(credentials) },
    Details { function: "logout", statements: 1, is_idempotent: true, body: None },
    Details { function: "change-password", statements: 3, is_idempotent: true, body: Some(password_change) },
    Details { function: "delete-account", statements: 2, is_idempotent: false, body: Some(|_, _| json!({"password": PASSWORD})) },
    Details { function: "me", statements: 1, is_idempotent: true, body: None },
    Details { function: "refresh", statements: 1, is_idempotent: true, body: None },
    Details { function: "list-sessions", statements: 1, is_idempotent: true, body: None },
    Details { function: "end-session", statements: 1, is_idempotent: false, body: None },
    Details { function: "end-sessions", statements: 1, is_idempotent: true, body: None },
    Details { function: "create-token", statements: 2, is_idempotent: true, body: Some(|_, _| json!({"name": "new", "password": PASSWORD})) },
    Details { function: "list-tasks", statements: 1, is_idempotent: true, body: None },
    Details { function: "create-task", statements: 1, is_idempotent: true, body: Some(|_, _| json!({"title": "new"})) },
    Details { function: "get-task", statements: 1, is_idempotent: true, body: None },
    Details { function: "update-task", statements: 1, is_idempotent: false, body: Some(|_, _| json!({"title": "changed"})) },
    Details { function: "delete-task", statements: 1, is_idempotent: false, body: None },
    Details { function: "complete-task", statements: 1, is_idempotent: false, body: None },
];

fn credentials(email: &str, _: &Value) -> Value {
    json!({"email": email, "password": PASSWORD})
}

fn password_change(_: &str, _: &Value) -> Value {
    json!({"current_password": PASSWORD, "new_password": "another password"})
}

/// All routes that use the database.
pub fn routes() -> &'static [Route] {
    static ROUTES: OnceLock<Vec<Route>> = OnceLock::new();
    ROUTES.get_or_init(from_document)
}

/// The route of a function.
pub fn route(function: &str) -> &'static Route {
    let route = routes().iter().find(|route| route.function == function);
    route.unwrap_or_else(|| panic!("{function} has no route"))
}

fn from_document() -> Vec<Route> {
    let mut operations = openapi::operations();
    operations.retain(|operation| {
        operation.needs_token || !WITHOUT_DATABASE.contains(&operation.function.as_str())
    });
    for Details { function, .. } in &DETAILS {
        assert!(
            operations.iter().any(|found| found.function == *function),
            "no operation in openapi.yaml has the x-function {function}; remove it from DETAILS in tests/src/routes.rs"
        );
    }
    let mut routes = Vec::<Route>::new();
    for operation in operations {
        // A function is one route: a second operation is an alias, such as `POST /api/auth/token`.
        if !routes
            .iter()
            .any(|known| known.function == operation.function)
        {
            routes.push(Route::from_operation(operation));
        }
    }
    routes
}

impl Route {
    fn from_operation(operation: Operation) -> Self {
        let name = &operation.function;
        let details = DETAILS.iter().find(|details| details.function == name);
        let details = details.unwrap_or_else(|| {
            panic!("openapi.yaml has the function {name}; add it to DETAILS in tests/src/routes.rs")
        });
        Self {
            function: details.function,
            method: operation.method,
            path: operation.path,
            success_status: operation.success_status,
            needs_token: operation.needs_token,
            statements: details.statements,
            is_idempotent: details.is_idempotent,
            body: details.body,
        }
    }

    /// Whether the path names a user.
    pub fn has_path_id(&self) -> bool {
        self.path.contains("{user_id}")
    }

    /// Whether the path names a task.
    pub fn has_task_id(&self) -> bool {
        self.path.starts_with(TASK)
    }

    /// Whether the path names a session.
    pub fn has_session_id(&self) -> bool {
        self.path == SESSION
    }
}
