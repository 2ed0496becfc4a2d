//! Requests, as the handlers read them.

mod log_fields;

use std::fmt;
use std::net::IpAddr;
use std::num::IntErrorKind;

use lambda_http::RequestExt as _;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequestContext;
use lambda_http::http::Method;
use lambda_http::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use lambda_http::request::{LambdaRequest, RequestContext};

use super::client_address::client_address;
use super::conditional::{Comparison, EntityTags};
use super::error::{Action, Error};
use crate::auth::Caller;
use crate::settings::TrustedProxies;
use crate::validation::{Body, InvalidInput, Query, Violation};

/// The largest body that is read, in bytes (docs/api.md, "Errors": 413).
const MAX_BODY_BYTES: usize = 128 * 1024;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request, as API Gateway hands it over.
pub struct Request {
    request: lambda_http::Request,
    /// As the client sent it: the gateway's own map of the parameters joins repeated ones by commas.
    query: Query,
}

impl fmt::Debug for Request {
    /// Without the headers and the body, which may hold a token and a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", self.request.method())
            .finish_non_exhaustive()
    }
}

/// Takes the query out of an event, and removes what else `lambda_http` would build a URI from. It panics where that fails,
/// for example at a quote in a query. No route reads the URI.
pub(super) fn take_query(mut event: LambdaRequest) -> (LambdaRequest, Query) {
    let mut query = None;
    if let LambdaRequest::ApiGatewayV2(request) = &mut event {
        query = request.raw_query_string.take();
        request.raw_path = None;
        request.headers.remove(HOST);
        request.request_context.domain_name = None;
    }
    (event, Query::new(query.unwrap_or_default()))
}

impl Request {
    pub(super) fn new(request: lambda_http::Request, query: Query) -> Self {
        Self { request, query }
    }

    /// The body, after a check of its syntax. A body with another content type than JSON counts as one string.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`]; [`Error::Invalid`] where it claims to be JSON and is not.
    pub fn body(&self) -> Result<Body, Error> {
        let bytes: &[u8] = self.request.body();
        if bytes.len() > MAX_BODY_BYTES {
            Err(Error::BodyTooLarge)
        } else if self.claims_json() {
            Ok(Body::json(bytes)?)
        } else {
            Ok(Body::text(bytes))
        }
    }

    fn claims_json(&self) -> bool {
        let content_type = self
            .request
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

    /// The token in the `Authorization` header. The scheme ends at the first space; the rest is the token.
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`], [`Error::UnsupportedScheme`].
    pub fn bearer_token(&self) -> Result<&str, Error> {
        let header = self
            .request
            .headers()
            .get(AUTHORIZATION)
            .ok_or(Error::NotAuthenticated)?;
        // Our tokens are ASCII.
        let header = std::str::from_utf8(header.as_bytes()).map_err(|_| Error::InvalidToken)?;
        match header.split_once(' ') {
            Some(("", _) | (_, "")) | None => Err(Error::NotAuthenticated),
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token),
            Some(_) => Err(Error::UnsupportedScheme),
        }
    }

    /// Requires that the path's `user_id` is the caller's own.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is not an integer, [`Error::Forbidden`] where it is another user's.
    pub fn require_own_user_id(&self, caller: &Caller, action: Action) -> Result<(), Error> {
        if self.path_id("user_id")? == i64::from(caller.user_id) {
            Ok(())
        } else {
            Err(Error::Forbidden(action))
        }
    }

    /// The id of the task that the path names, under the caller's own user id.
    ///
    /// # Errors
    /// [`Error::Invalid`] where an id is not an integer, [`Error::Forbidden`] where the user is another one.
    pub fn own_task_id(&self, caller: &Caller) -> Result<i64, Error> {
        let ((), id) = collect_violations(
            self.require_own_user_id(caller, Action::AccessTasks),
            self.path_id("id"),
        )?;
        Ok(id)
    }

    /// An id in the path: an optional sign and digits. A number beyond the range of integers is a valid id that nothing
    /// has.
    ///
    /// # Errors
    /// [`InvalidInput`] where it is anything else.
    pub fn path_id(&self, name: &'static str) -> Result<i64, InvalidInput> {
        let parameters = self.request.path_parameters_ref();
        let text = parameters
            .and_then(|parameters| parameters.first(name))
            .unwrap_or_default();
        text.parse()
            .or_else(|error: std::num::ParseIntError| match error.kind() {
                IntErrorKind::PosOverflow => Ok(i64::MAX),
                IntErrorKind::NegOverflow => Ok(i64::MIN),
                _ => Err(InvalidInput(vec![Violation::int_parsing(name, text)])),
            })
    }

    /// Whether the client wants the headers alone (RFC 9110, 9.3.2).
    pub(super) fn is_head(&self) -> bool {
        self.request.method() == Method::HEAD
    }

    /// The last segment of the path, whatever a stage or a mapping puts before it.
    pub fn last_segment(&self) -> &str {
        let path = self.path();
        path.rsplit_once('/').map_or(path, |(_, last)| last)
    }

    fn path(&self) -> &str {
        self.gateway()
            .and_then(|context| context.http.path.as_deref())
            .unwrap_or_default()
    }

    /// The gateway's description of the request.
    fn gateway(&self) -> Option<&ApiGatewayV2httpRequestContext> {
        match self.request.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => Some(context),
            _ => None,
        }
    }

    /// The versions that a write expects: any, where `If-Match` is missing.
    ///
    /// # Errors
    /// [`InvalidInput`] where the header is malformed.
    pub fn if_match(&self) -> Result<EntityTags, InvalidInput> {
        self.entity_tags("if-match", Comparison::Strong, EntityTags::Any)
    }

    /// The versions that the client has: none, where `If-None-Match` is missing.
    ///
    /// # Errors
    /// [`InvalidInput`] where the header is malformed.
    pub fn if_none_match(&self) -> Result<EntityTags, InvalidInput> {
        let none = EntityTags::Listed(Vec::new());
        self.entity_tags("if-none-match", Comparison::Weak, none)
    }

    fn entity_tags(
        &self,
        name: &'static str,
        comparison: Comparison,
        default: EntityTags,
    ) -> Result<EntityTags, InvalidInput> {
        self.header_text(name).map_or(Ok(default), |value| {
            EntityTags::parse(name, &value, comparison)
        })
    }

    /// The values of a header, joined by commas. What is not UTF-8 is replaced.
    pub fn header_text(&self, name: &str) -> Option<String> {
        let values = self.request.headers().get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The client's address: that of the connection to the gateway, unless a trusted proxy has made it. `None` where the
    /// gateway names none that is valid.
    pub(super) fn client_address(&self, trusted: &TrustedProxies) -> Option<IpAddr> {
        let source = self.gateway()?.http.source_ip.as_deref()?.parse().ok();
        let forwarded_for = self.request.headers().get_all(&X_FORWARDED_FOR).iter();
        client_address(
            source,
            forwarded_for.map(|value| value.to_str().ok()),
            trusted,
        )
    }

    /// The query of its URL.
    pub fn query(&self) -> &Query {
        &self.query
    }
}

/// Two results, of which either may have broken rules: all violations together, the first result's first. Another error is
/// returned only where no rule is broken.
///
/// # Errors
/// See above.
pub fn collect_violations<A, B>(
    first: Result<A, impl Into<Error>>,
    second: Result<B, impl Into<Error>>,
) -> Result<(A, B), Error> {
    match (first.map_err(Into::into), second.map_err(Into::into)) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(Error::Invalid(first)), Err(Error::Invalid(second))) => {
            Err(Error::Invalid(first.and(second)))
        }
        (Ok(_), Err(error)) | (_, Err(error @ Error::Invalid(_))) | (Err(error), _) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::collection::{hash_map, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use super::*;

    fn request(event: &Value) -> Request {
        let event: LambdaRequest = serde_json::from_str(&event.to_string()).expect("an event");
        let (event, query) = take_query(event);
        Request::new(event.into(), query)
    }

    /// An empty event in the format of API Gateway's HTTP API.
    fn event() -> Value {
        json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/",
            "rawQueryString": "",
            "headers": {},
            "requestContext": {
                "accountId": "000000000000", "apiId": "a", "domainName": "example.com", "domainPrefix": "a",
                "http": {"method": "GET", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "a"},
                "requestId": "a", "routeKey": "$default", "stage": "$default", "time": "a", "timeEpoch": 0
            },
            "isBase64Encoded": false
        })
    }

    fn with_header(name: &str, value: &str) -> Request {
        let mut event = event();
        event["headers"][name] = json!(value);
        request(&event)
    }

    /// Values of a header that a server lets through.
    fn header_values() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~\t]{0,60}", "[\t -~\u{a0}-\u{ff}]{0,20}", "\\PC{0,20}"]
    }

    fn ids() -> impl Strategy<Value = String> {
        prop_oneof![
            "[+-]?[0-9]{1,25}",
            "[+-]{0,2}[0-9 ._eEx%/]{0,6}",
            any::<String>(),
            "[\u{660}-\u{669}\u{ff10}-\u{ff19}]{1,3}",
            "0{100}7",
        ]
    }

    /// The number that a text in a path stands for: an optional sign and ASCII digits.
    fn number(text: &str) -> Option<i64> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let sign = if text.starts_with('-') { -1 } else { 1 };
        Some(digits.bytes().fold(0_i64, |value, digit| {
            value
                .saturating_mul(10)
                .saturating_add(sign * i64::from(digit - b'0'))
        }))
    }

    proptest! {
        #[test]
        fn every_event_of_the_gateway_is_read(
            paths in ("/\\PC{0,40}", "[ -~]{0,40}"),
            headers in hash_map(
                prop_oneof![
                    "[a-z0-9!#$%&'*+.^_`|~-]{1,20}",
                    select(vec!["host", "content-type", "authorization", "cookie", "x-forwarded-proto", "content-length"])
                        .prop_map(ToOwned::to_owned),
                ],
                header_values(),
                0..8,
            ),
            parameters in option::of(hash_map(select(vec!["user_id", "id", "other"]), ids(), 0..3)),
            (body, encoded) in (option::of(vec(any::<u8>(), 0..40)), any::<bool>()),
            (source_ip, cookies) in (option::of(any::<String>()), option::of(vec(any::<String>(), 0..3))),
        ) {
            let (path, query) = paths;
            let mut event = event();
            event["rawPath"] = json!(path);
            event["requestContext"]["http"]["path"] = json!(path);
            event["rawQueryString"] = json!(query);
            event["headers"] = json!(headers);
            event["pathParameters"] = json!(parameters);
            event["requestContext"]["http"]["sourceIp"] = json!(source_ip);
            event["cookies"] = json!(cookies);
            event["isBase64Encoded"] = json!(encoded);
            event["body"] = match &body {
                Some(body) if encoded => json!(STANDARD.encode(body)),
                Some(body) => json!(String::from_utf8_lossy(body)),
                None => Value::Null,
            };
            let request = request(&event);
            if let Err(error) = request.body() {
                prop_assert!(matches!(error, Error::Invalid(_)));
            }
            if let Ok(token) = request.bearer_token() {
                prop_assert!(headers["authorization"].ends_with(token) && !token.is_empty());
            }
            let address = source_ip.and_then(|address| address.parse().ok());
            prop_assert_eq!(request.client_address(&TrustedProxies::default()), address);
            let deep = query.split('&').any(|part| part == "deep=1");
            prop_assert!(!deep || !request.query().values("deep").is_empty());
        }

        #[test]
        fn an_id_is_an_optional_sign_and_digits(user_id in ids(), id in ids()) {
            let mut event = event();
            let parameters = HashMap::from([("user_id", &user_id), ("id", &id)]);
            event["pathParameters"] = json!(parameters);
            let request = request(&event);
            let caller = Caller { user_id: 7, session: String::new() };
            let expected = (number(&user_id), number(&id));
            match request.own_task_id(&caller) {
                Ok(found) => prop_assert_eq!((Some(7), Some(found)), expected),
                Err(Error::Forbidden(_)) => prop_assert!(expected.0.is_some_and(|id| id != 7) && expected.1.is_some()),
                Err(Error::Invalid(InvalidInput(violations))) => {
                    let count = usize::from(expected.0.is_none()) + usize::from(expected.1.is_none());
                    prop_assert_eq!(violations.len(), count);
                }
                Err(error) => prop_assert!(false, "{:?}", error),
            }
        }

        #[test]
        fn the_scheme_ends_at_the_first_space(scheme in "(?i)bearer|[!-~]{0,8}", rest in "[ -~]{0,30}") {
            let request = with_header("authorization", &format!("{scheme} {rest}"));
            match request.bearer_token() {
                Ok(token) => prop_assert!(scheme.eq_ignore_ascii_case("bearer") && token == rest && !rest.is_empty()),
                Err(Error::UnsupportedScheme) => prop_assert!(!scheme.eq_ignore_ascii_case("bearer")),
                Err(error) => {
                    prop_assert!(matches!(error, Error::NotAuthenticated));
                    prop_assert!(scheme.is_empty() || rest.is_empty());
                }
            }
        }

        #[test]
        fn the_content_type_decides_what_is_json(
            kind in "(application|Application|text|image)",
            subtype in "(json|JSON|vnd\\.api\\+json|json5|jsonx|x-json|geo\\+JSON|\\+json|)",
            parameters in "( ?; ?charset=[a-z0-9-]{1,5}|; ?boundary=\"a;b\"|;|)",
        ) {
            let is_json = kind.eq_ignore_ascii_case("application")
                && (subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json"));
            let request = with_header("content-type", &format!("{kind}/{subtype}{parameters}"));
            prop_assert_eq!(request.claims_json(), is_json);
        }
    }

    #[test]
    fn the_length_of_a_body_is_that_of_the_decoded_bytes() {
        for (length, fits) in [(MAX_BODY_BYTES, true), (MAX_BODY_BYTES + 1, false)] {
            let body = format!("\"{}\"", "a".repeat(length - 2));
            for (body, encoded) in [(STANDARD.encode(&body), true), (body, false)] {
                let mut event = event();
                event["body"] = json!(body);
                event["isBase64Encoded"] = json!(encoded);
                assert_eq!(request(&event).body().is_ok(), fits);
            }
        }
    }

    #[test]
    fn violations_of_the_path_come_first_and_all_violations_before_other_errors() {
        let invalid = |name| Error::Invalid(InvalidInput(vec![Violation::int_parsing(name, "x")]));
        let forbidden = || Error::Forbidden(Action::AccessTasks);
        let names = |first: Result<(), Error>, second: Result<(), Error>| match collect_violations(
            first, second,
        ) {
            Err(Error::Invalid(InvalidInput(violations))) => {
                let violations = serde_json::to_value(violations).expect("JSON");
                let violations = violations.as_array().expect("a list").clone();
                violations.iter().map(|one| one["loc"][1].clone()).collect()
            }
            other => panic!("not a list of violations: {other:?}"),
        };
        let names: [Vec<Value>; 3] = [
            names(Err(invalid("a")), Err(invalid("b"))),
            names(Err(forbidden()), Err(invalid("b"))),
            names(Err(invalid("a")), Err(forbidden())),
        ];
        assert_eq!(json!(names), json!([["a", "b"], ["b"], ["a"]]));
        assert!(matches!(
            collect_violations(Err::<(), _>(forbidden()), Ok::<_, Error>(())),
            Err(Error::Forbidden(_))
        ));
    }
}
