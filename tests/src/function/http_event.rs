//! HTTP requests as events of API Gateway, and the responses of a function to them.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::without_token;

/// The HTTP response of a function.
pub struct HttpResponse {
    /// The status.
    pub status: u64,
    /// The headers, with names in lower case.
    pub headers: Value,
    /// The body, or null where there is none.
    pub body: Value,
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = without_token(self.body.clone());
        write!(formatter, "{} {} {body}", self.status, self.headers)
    }
}

impl From<&Value> for HttpResponse {
    fn from(response: &Value) -> Self {
        let body = response["body"].as_str().expect("a body");
        Self {
            status: response["statusCode"].as_u64().expect("a status"),
            headers: response["headers"].clone(),
            body: if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
            },
        }
    }
}

impl HttpResponse {
    /// The value of the header `ETag`.
    #[track_caller]
    pub fn etag(&self) -> &str {
        self.headers["etag"]
            .as_str()
            .unwrap_or_else(|| panic!("no ETag: {self:?}"))
    }

    /// Asserts that the response is the 503 of an unavailable database, with a `Retry-After`.
    #[track_caller]
    pub fn assert_unavailable(&self) {
        assert_eq!(
            (self.status, &self.body),
            (503, &json!({"detail": "Service temporarily unavailable"}))
        );
        let retry_after = self.headers["retry-after"].as_str();
        assert!(retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    }
}

/// An HTTP request in the form of an API Gateway HTTP API event (payload format 2.0).
#[derive(Clone, Debug)]
pub struct HttpEvent {
    method: String,
    path: String,
    parameters: HashMap<String, String>,
    query: String,
    headers: HashMap<String, String>,
    body: Option<Vec<u8>>,
    is_base64_encoded: bool,
    source_ip: String,
}

impl HttpEvent {
    /// A request to a route, such as `/api/{user_id}/tasks`, with the values of its path parameters in order.
    pub fn new(method: &str, route: &str, values: &[&str]) -> Self {
        let names: Vec<_> = route
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(names.len(), values.len(), "{route}");
        let mut path = route.to_owned();
        let mut parameters = HashMap::new();
        for (name, value) in names.iter().zip(values) {
            path = path.replace(&format!("{{{name}}}"), value);
            parameters.insert((*name).to_owned(), (*value).to_owned());
        }
        Self {
            method: method.to_owned(),
            path,
            parameters,
            query: String::new(),
            headers: HashMap::new(),
            body: None,
            is_base64_encoded: false,
            source_ip: "192.0.2.1".to_owned(),
        }
    }

    /// The health check that queries the database. It needs no token.
    pub fn deep_health() -> Self {
        Self::new("GET", "/health", &[]).query("deep=1")
    }

    /// Sets the query string.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the IP address of the client.
    #[must_use]
    pub fn source_ip(mut self, address: &str) -> Self {
        address.clone_into(&mut self.source_ip);
        self
    }

    /// Sets the bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Removes the token.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.headers.remove("authorization");
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string().as_bytes())
    }

    /// Sets a body of any bytes.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// Sets a body that the gateway treats as binary.
    #[must_use]
    pub fn base64(mut self, body: &[u8]) -> Self {
        self.is_base64_encoded = true;
        self.body(body)
    }

    /// Removes the path parameters from the event.
    #[must_use]
    pub fn without_parameters(mut self) -> Self {
        self.parameters.clear();
        self
    }

    /// The event that a function receives.
    pub fn to_event(&self) -> Value {
        // API Gateway encodes a body in base64 if it is not text.
        let (body, is_base64_encoded) = match &self.body {
            None => (Value::Null, false),
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !self.is_base64_encoded => (text.into(), false),
                _ => (STANDARD.encode(bytes).into(), true),
            },
        };
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": self.headers,
            "pathParameters": self.parameters,
            "body": body,
            "isBase64Encoded": is_base64_encoded,
            "requestContext": {
                "accountId": "000000000000",
                "apiId": "test",
                "domainName": "test.execute-api.eu-central-1.amazonaws.com",
                "domainPrefix": "test",
                "http": {
                    "method": self.method,
                    "path": self.path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": self.source_ip,
                    "userAgent": "test"
                },
                "requestId": "test",
                "routeKey": "$default",
                "stage": "$default",
                "time": "23/Nov/2026:06:03:59 +0000",
                "timeEpoch": 1_795_413_839_000_u64
            }
        })
    }
}
