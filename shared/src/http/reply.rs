//! What goes back: a status, a body, JSON in most cases, and the one place that gives every error its status and text.

use std::fmt;

use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::http::{HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::Error;
use crate::error::Cause;

/// What Lambda returns at most: 6 MB for the whole answer as JSON, the body a string within it.
const MAX_LAMBDA_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

/// Room for the answer's status, its headers and what a gateway adds.
const ENVELOPE_BYTES: usize = 4 * 1024;

/// After how many seconds a client may try again what the database could not answer.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// What a browser is told, should it take an answer for a page (OWASP ASVS 5.0, 3.2.1 and 3.4; REST Security Cheat Sheet,
/// "Security Headers"): there is nothing in it to run, to show in a frame or to be referred from, nor to keep; and the
/// host is never to be asked without TLS.
const FOR_BROWSERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (
        STRICT_TRANSPORT_SECURITY,
        "max-age=63072000; includeSubDomains",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A reply. Unless it says otherwise, its body is JSON and nobody keeps it.
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
}

impl fmt::Debug for Reply {
    /// Without the body, which may hold a token.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reply")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

#[derive(Serialize)]
struct Detail<T> {
    detail: T,
}

impl Reply {
    /// The largest body a reply can have, in bytes, as a string within JSON.
    pub const MAX_BYTES: usize = MAX_LAMBDA_RESPONSE_BYTES - ENVELOPE_BYTES;

    /// 200 with this body.
    ///
    /// # Errors
    /// [`Error::TaskListTooLarge`] where Lambda could not return it.
    pub fn ok(body: &impl Serialize) -> Result<Self, Error> {
        Self::new(StatusCode::OK, body)
    }

    /// 201 with this body.
    ///
    /// # Errors
    /// As for [`Reply::ok`].
    pub fn created(body: &impl Serialize) -> Result<Self, Error> {
        Self::new(StatusCode::CREATED, body)
    }

    /// 200 with `{"message": …}`.
    ///
    /// # Errors
    /// As for [`Reply::ok`].
    pub fn message(message: &'static str) -> Result<Self, Error> {
        Self::ok(&Message { message })
    }

    fn new(status: StatusCode, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_string(body)
            .map_err(|error| Error::Internal(Cause::from_error("writing a reply", &error)))?;
        if bytes_in_envelope(&body) > Self::MAX_BYTES {
            return Err(Error::TaskListTooLarge);
        }
        Ok(Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        })
    }

    /// 200 with this body.
    pub fn bytes(body: Vec<u8>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// 304: the client has the body already.
    pub fn not_modified() -> Self {
        Self {
            status: StatusCode::NOT_MODIFIED,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// With this header, its name in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        ));
        self
    }

    /// The answer to a request that cannot have what it asked for. A 5xx has a fixed text; its cause is for the log.
    pub fn error(error: &Error) -> Self {
        let bearer = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        let retry = Some((RETRY_AFTER, RETRY_AFTER_SECONDS));
        let (status, header, detail) = match error {
            Error::Invalid(violations) => {
                let body = serde_json::to_string(&Detail { detail: violations });
                return Self {
                    status: StatusCode::UNPROCESSABLE_ENTITY,
                    headers: Vec::new(),
                    body: body.unwrap_or_default().into(),
                };
            }
            Error::NotAuthenticated => (StatusCode::UNAUTHORIZED, bearer, "Not authenticated"),
            Error::UnsupportedScheme => (
                StatusCode::UNAUTHORIZED,
                bearer,
                "Invalid authentication credentials",
            ),
            Error::InvalidToken => (
                StatusCode::UNAUTHORIZED,
                bearer,
                "Could not validate credentials",
            ),
            Error::WrongCredentials => (
                StatusCode::UNAUTHORIZED,
                bearer,
                "Incorrect email or password",
            ),
            Error::WrongPassword => (StatusCode::FORBIDDEN, None, "Incorrect password"),
            Error::TooManyAttempts(seconds) => (
                StatusCode::TOO_MANY_REQUESTS,
                Some((RETRY_AFTER, (*seconds).into())),
                "Too many attempts, try again later",
            ),
            Error::NotYourTasks => (
                StatusCode::FORBIDDEN,
                None,
                "Not authorized to access this user's tasks",
            ),
            Error::NotYoursToCreate => (
                StatusCode::FORBIDDEN,
                None,
                "Not authorized to create tasks for this user",
            ),
            Error::TaskNotFound => (StatusCode::NOT_FOUND, None, "Task not found"),
            Error::EmailTaken => (StatusCode::CONFLICT, None, "Email already registered"),
            Error::UsernameTaken => (StatusCode::CONFLICT, None, "Username already taken"),
            Error::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                None,
                "Request body too large",
            ),
            Error::TaskListTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None, "Task list too large"),
            Error::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                retry,
                "Service temporarily unavailable",
            ),
            Error::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                None,
                "Internal Server Error",
            ),
        };
        let body = serde_json::to_string(&Detail { detail }).unwrap_or_default();
        Self {
            status,
            headers: header.into_iter().collect(),
            body: body.into(),
        }
    }

    /// With the id of the request that it answers: what a user can quote, and an operator look for in the log.
    #[must_use]
    pub(crate) fn with_request_id(mut self, id: &str) -> Self {
        let id = HeaderValue::from_str(id).ok();
        self.headers.extend(id.map(|id| (X_REQUEST_ID, id)));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

/// How long a JSON text is as a string within JSON. It holds no control characters, so that only quotes and
/// backslashes are escaped.
fn bytes_in_envelope(json: &str) -> usize {
    json.len()
        + json
            .bytes()
            .filter(|byte| matches!(byte, b'"' | b'\\'))
            .count()
}

impl From<Reply> for Response<Body> {
    fn from(reply: Reply) -> Self {
        let mut response = Self::new(reply.body);
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in FOR_BROWSERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in reply.headers {
            headers.insert(name, value);
        }
        response
    }
}
