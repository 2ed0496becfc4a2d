//! What a handler may want to know of a request.

use std::fmt;
use std::num::IntErrorKind;

use lambda_http::RequestExt as _;
use lambda_http::http::header::{AUTHORIZATION, CONTENT_TYPE};
use lambda_http::request::RequestContext;

use crate::Error;
use crate::auth::Caller;
use crate::validation::{Body, Violation, both};

/// The largest body that is read, in bytes (contract, "Errors": 413).
const MAX_BODY_BYTES: usize = 128 * 1024;

/// A request, as API Gateway hands it over.
pub struct Request(lambda_http::Request);

impl fmt::Debug for Request {
    /// Without the headers and the body, which may hold a token and a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", self.0.method())
            .finish_non_exhaustive()
    }
}

impl From<lambda_http::Request> for Request {
    fn from(request: lambda_http::Request) -> Self {
        Self(request)
    }
}

impl Request {
    /// The body, its syntax checked. A body of another content type than JSON counts as one string.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`]; [`Error::Invalid`] where it claims to be JSON and is not.
    pub fn body(&self) -> Result<Body, Error> {
        let bytes: &[u8] = self.0.body();
        if bytes.len() > MAX_BODY_BYTES {
            Err(Error::BodyTooLarge)
        } else if self.claims_json() {
            Body::json(bytes)
        } else {
            Ok(Body::text(bytes))
        }
    }

    fn claims_json(&self) -> bool {
        let content_type = self
            .0
            .headers()
            .get(CONTENT_TYPE)
            .map_or(&b""[..], |value| value.as_bytes());
        let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
        match content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .split_once('/')
        {
            Some((kind, subtype)) => {
                kind == "application" && (subtype == "json" || subtype.ends_with("+json"))
            }
            None => content_type.is_empty(),
        }
    }

    /// The token in the `Authorization` header. The scheme ends at the first space; all that follows is the token.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`], [`Error::UnsupportedScheme`].
    pub fn bearer_token(&self) -> Result<&str, Error> {
        let header = self
            .0
            .headers()
            .get(AUTHORIZATION)
            .ok_or(Error::NotAuthenticated)?;
        // A token of ours is ASCII, so what is not cannot be one.
        let header = std::str::from_utf8(header.as_bytes()).map_err(|_| Error::InvalidToken)?;
        match header.split_once(' ') {
            Some(("", _) | (_, "")) | None => Err(Error::NotAuthenticated),
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token),
            Some(_) => Err(Error::UnsupportedScheme),
        }
    }

    /// Sees that the path's `user_id` is the caller's own.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no number, and `otherwise` where it is another's.
    pub fn under_own_id(&self, caller: &Caller, otherwise: Error) -> Result<(), Error> {
        if self.path_id("user_id")? == i64::from(caller.user_id) {
            Ok(())
        } else {
            Err(otherwise)
        }
    }

    /// The task that the path names, under the caller's own id.
    ///
    /// # Errors
    /// [`Error::Invalid`] where an id is no number, [`Error::NotYourTasks`] where the user is another.
    pub fn own_task(&self, caller: &Caller) -> Result<i64, Error> {
        let ((), id) = both(
            self.under_own_id(caller, Error::NotYourTasks),
            self.path_id("id"),
        )?;
        Ok(id)
    }

    /// An id in the path: an optional sign and digits. One that is beyond any integer is a good id that nothing has.
    fn path_id(&self, name: &'static str) -> Result<i64, Error> {
        let parameters = self.0.path_parameters_ref();
        let text = parameters
            .and_then(|parameters| parameters.first(name))
            .unwrap_or_default();
        text.parse()
            .or_else(|error: std::num::ParseIntError| match error.kind() {
                IntErrorKind::PosOverflow => Ok(i64::MAX),
                IntErrorKind::NegOverflow => Ok(i64::MIN),
                _ => Err(Error::Invalid(vec![Violation::int_parsing(name, text)])),
            })
    }

    /// Where the request comes from: the gateway's word, since a header is anyone's.
    pub fn source_ip(&self) -> &str {
        match self.0.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => {
                context.http.source_ip.as_deref().unwrap_or_default()
            }
            _ => "",
        }
    }

    /// Lambda's id of the request, by which its log lines are found.
    pub fn id(&self) -> &str {
        let context = self.0.lambda_context_ref();
        context.map_or("", |context| &context.request_id)
    }

    /// The method and the path, with the names of the parameters in place of their values.
    pub(crate) fn route(&self) -> String {
        if let Some(RequestContext::ApiGatewayV2(context)) = self.0.request_context_ref()
            && let Some(route) = &context.route_key
            && route.contains('/')
        {
            return route.clone();
        }
        // What serves the functions locally knows no names of routes.
        let mut path = self.0.raw_http_path().to_owned();
        for (name, value) in self.0.path_parameters().iter() {
            path = path.replacen(&format!("/{value}"), &format!("/{{{name}}}"), 1);
        }
        format!("{} {path}", self.0.method())
    }

    /// The root of X-Ray's trace that the request is a part of.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        let header = self.0.lambda_context_ref()?.xray_trace_id.as_deref()?;
        let root = header
            .split(';')
            .find_map(|part| part.trim().strip_prefix("Root="))?;
        is_trace(root).then_some(root)
    }

    /// The W3C header of that name (Trace Context, 3.2).
    pub(crate) fn traceparent(&self) -> Option<&str> {
        let header = self.0.headers().get("traceparent")?.to_str().ok()?;
        is_trace(header).then_some(header)
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.0
            .query_string_parameters_ref()
            .and_then(|parameters| parameters.first(name))
    }
}

/// Whether a text has the form of a trace's name. A header is anyone's, and this one goes into the log.
fn is_trace(text: &str) -> bool {
    text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}
