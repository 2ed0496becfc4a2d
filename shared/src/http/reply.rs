//! Replies: a status, headers, and a body that is JSON in most cases.

use std::fmt;

use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LINK,
    REFERRER_POLICY, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::http::{HeaderName, HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde::{Serialize, Serializer};

use super::conditional::EntityTag;
use super::error::{Detail, Error};
use crate::cause::Cause;

/// The most that Lambda returns: 6 MB for the whole answer as JSON, in which the body is a string.
const MAX_LAMBDA_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

/// Room for the status and the headers of the answer, and for what a gateway adds.
const ENVELOPE_BYTES: usize = 4 * 1024;

/// After how many seconds a client may try again when the database could not answer.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// What a browser is told, should it show an answer as a page (OWASP ASVS 5.0, 3.2.1 and 3.4; REST Security Cheat Sheet,
/// "Security Headers"): to run nothing, to show it in no frame, to send no referrer and to store nothing; and to use TLS
/// for this host from then on.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=63072000"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A reply. By default its body is JSON, and nobody stores it.
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
struct ErrorBody<'a> {
    detail: Detail<'a>,
}

impl Serialize for Detail<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Violations(violations) => violations.serialize(serializer),
        }
    }
}

impl Reply {
    /// The largest body of a reply, in bytes as a string within JSON.
    pub const MAX_BYTES: usize = MAX_LAMBDA_RESPONSE_BYTES - ENVELOPE_BYTES;

    /// 200 with this body.
    ///
    /// # Errors
    /// [`Error::Internal`] where Lambda could not return it.
    pub fn ok(body: &impl Serialize) -> Result<Self, Error> {
        Self::new(StatusCode::OK, body, too_large())
    }

    /// 200 with this body, or `too_large` where Lambda could not return it.
    ///
    /// # Errors
    /// See above.
    pub fn ok_unless(body: &impl Serialize, too_large: Error) -> Result<Self, Error> {
        Self::new(StatusCode::OK, body, too_large)
    }

    /// 201 with this body.
    ///
    /// # Errors
    /// As for [`Reply::ok`].
    pub fn created(body: &impl Serialize) -> Result<Self, Error> {
        Self::new(StatusCode::CREATED, body, too_large())
    }

    /// 200 with `{"message": …}`.
    ///
    /// # Errors
    /// As for [`Reply::ok`].
    pub fn message(message: &'static str) -> Result<Self, Error> {
        Self::ok(&Message { message })
    }

    fn new(status: StatusCode, body: &impl Serialize, too_large: Error) -> Result<Self, Error> {
        let body = serde_json::to_string(body)
            .map_err(|error| Error::Internal(Cause::from_error("writing a reply", error)))?;
        if bytes_in_envelope(&body) > Self::MAX_BYTES {
            return Err(too_large);
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

    /// With the version of the body.
    #[must_use]
    pub fn with_etag(mut self, etag: &EntityTag) -> Self {
        self.headers.push((ETAG, etag.to_header()));
        self
    }

    /// With a link to the next page, where there is one: the query of its URL (RFC 8288). It is relative to the path of the
    /// request, whatever a stage or a mapping puts before that.
    #[must_use]
    pub fn with_next_page(mut self, query: Option<&str>) -> Self {
        let link = query.map(|query| format!("<?{query}>; rel=\"next\""));
        let link = link.and_then(|link| link.parse().ok());
        self.headers.extend(link.map(|link| (LINK, link)));
        self
    }

    /// The answer to a request that failed. The text of a 5xx is fixed; its cause is for the log.
    pub fn from_error(error: &Error) -> Self {
        let answer = error.answer();
        let header = match error {
            Error::TooManyAttempts { retry_after } => Some((RETRY_AFTER, (*retry_after).into())),
            Error::Unavailable(_) => Some((RETRY_AFTER, RETRY_AFTER_SECONDS)),
            Error::TaskChanged(etag) => Some((ETAG, etag.to_header())),
            _ if answer.status == StatusCode::UNAUTHORIZED => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            _ => None,
        };
        let body = serde_json::to_string(&ErrorBody {
            detail: answer.detail,
        });
        Self {
            status: answer.status,
            headers: header.into_iter().collect(),
            body: body.unwrap_or_default().into(),
        }
    }

    /// With the id of the request: a user can quote it, and an operator finds the log lines by it.
    #[must_use]
    pub(super) fn with_request_id(mut self, id: &str) -> Self {
        let id = HeaderValue::from_str(id).ok();
        self.headers.extend(id.map(|id| (X_REQUEST_ID, id)));
        self
    }

    /// With the same status and headers, the length of the body among them (RFC 9110, 8.6), and no body.
    #[must_use]
    pub(super) fn without_body(mut self) -> Self {
        if self.status != StatusCode::NOT_MODIFIED {
            self.headers.push((CONTENT_LENGTH, self.body.len().into()));
        }
        self.body = Body::Empty;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

fn too_large() -> Error {
    Error::Internal(Cause::new("the reply is larger than Lambda can return"))
}

/// The length of a JSON text as a string within JSON. It holds no control characters, so only quotes and backslashes are
/// escaped.
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
        for (name, value) in SECURITY_HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in reply.headers {
            headers.insert(name, value);
        }
        response
    }
}
