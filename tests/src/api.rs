//! A client of the API.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{unique, without_token};

/// The password of every user that a test registers.
pub const PASSWORD: &str = "correct horse battery";

/// The body of a registration. Name and address are unique.
pub fn registration() -> Value {
    let username = format!("u-{}", unique());
    json!({"username": username, "email": format!("{username}@example.com"), "password": PASSWORD})
}

/// The API under test.
pub struct Api {
    base_url: String,
    client: reqwest::Client,
}

/// A response with its complete body.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as text.
    pub text: String,
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = match serde_json::from_str(&self.text) {
            Ok(body) => without_token(body).to_string(),
            Err(_) => self.text.clone(),
        };
        write!(formatter, "{} {:?} {body}", self.status, self.headers)
    }
}

impl Response {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the status and the headers of every response, and returns the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            (
                "content-security-policy",
                "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("strict-transport-security", "max-age=63072000"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(self.headers[name], value, "{name}");
        }
        let request_id = self.headers["x-request-id"].to_str().expect("a text");
        assert!(request_id.len() >= 32, "{request_id}");
        self.json()
    }

    /// Asserts that the response is an error with this status and `detail`.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, detail: &str) {
        assert_eq!(self.expect(status), json!({ "detail": detail }));
        if status == 401 {
            assert_eq!(self.headers["www-authenticate"], "Bearer");
        }
    }

    /// Asserts that the response is a 422 for these violations: the type and the field of each.
    #[track_caller]
    pub fn assert_invalid(&self, rules: &[(&str, &str)]) {
        let body = self.expect(422);
        let found: Vec<_> = body["detail"]
            .as_array()
            .expect("a list")
            .iter()
            .map(rule)
            .collect();
        assert_eq!(found, rules, "{body}");
    }
}

fn rule(violation: &Value) -> (&str, &str) {
    let field = violation["loc"]
        .as_array()
        .and_then(|loc| loc.last())
        .and_then(Value::as_str);
    (
        violation["type"].as_str().unwrap_or_default(),
        field.unwrap_or_default(),
    )
}

/// A user that a test has registered.
#[derive(Clone, Debug)]
pub struct User {
    /// The user's id.
    pub id: i64,
    /// The username.
    pub username: String,
    /// The email address.
    pub email: String,
    /// The token of a session.
    pub token: String,
}

impl User {
    /// The path of the user's tasks.
    pub fn tasks_path(&self) -> String {
        format!("/api/{}/tasks", self.id)
    }

    /// The path of one of the user's tasks.
    pub fn task_path(&self, id: impl std::fmt::Display) -> String {
        format!("/api/{}/tasks/{id}", self.id)
    }
}

impl Api {
    /// The API at `BASE_URL`.
    pub fn from_env() -> Self {
        let base_url = std::env::var("BASE_URL").expect("BASE_URL is not set; run `./dev test`");
        // The cold start of a debug build is slow.
        let client = reqwest::Client::builder()
            .timeout(Duration::from_mins(1))
            .build()
            .expect("a client");
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            client,
        }
    }

    /// A request without a token.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client
            .request(method, format!("{}{path}", self.base_url))
    }

    /// Sends a request.
    pub async fn send(&self, request: RequestBuilder) -> Response {
        let response = request.send().await.expect("a response");
        let (status, headers) = (response.status(), response.headers().clone());
        Response {
            status,
            headers,
            text: response.text().await.expect("a body"),
        }
    }

    /// Sends a JSON body without a token.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(self.request("POST", path).json(body)).await
    }

    /// Sends a request as a user, with a JSON body if there is one.
    pub async fn call(
        &self,
        user: &User,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Response {
        let request = self.request(method, path).bearer_auth(&user.token);
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// Registers a user with a unique name.
    pub async fn register(&self) -> User {
        let response = self
            .post("/api/auth/register", &registration())
            .await
            .expect(201);
        let text = |name: &str| response[name].as_str().expect("a text").to_owned();
        User {
            id: response["id"].as_i64().expect("an id"),
            username: text("username"),
            email: text("email"),
            token: text("access_token"),
        }
    }

    /// Logs a user in again, which opens another session.
    pub async fn log_in(&self, user: &User) -> User {
        let response = self
            .post(
                "/api/auth/login",
                &json!({"email": user.email, "password": PASSWORD}),
            )
            .await;
        let token = response.expect(200)["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        User {
            token,
            ..user.clone()
        }
    }

    /// Creates a task.
    pub async fn create_task(&self, user: &User, task: &Value) -> Value {
        self.call(user, "POST", &user.tasks_path(), Some(task))
            .await
            .expect(201)
    }
}
