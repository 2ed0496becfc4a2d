//! What the access log says of a request: its id, its route, and the trace that it belongs to.

use lambda_http::RequestExt as _;

use super::Request;

impl Request {
    /// Lambda's id of the request.
    pub fn id(&self) -> &str {
        let context = self.request.lambda_context_ref();
        context.map_or("", |context| &context.request_id)
    }

    /// The method and the path, with the names of the parameters instead of their values.
    pub(in crate::http) fn route(&self) -> String {
        let route = self.gateway().and_then(|context| context.route_key.clone());
        route
            .filter(|route| route.contains('/'))
            // The local server does not name the route.
            .unwrap_or_else(|| format!("{} {}", self.request.method(), path_template(self.path())))
    }

    /// The root id of the X-Ray trace that the request belongs to.
    pub(in crate::http) fn trace_id(&self) -> Option<&str> {
        let header = self
            .request
            .lambda_context_ref()?
            .xray_trace_id
            .as_deref()?;
        let root = header
            .split(';')
            .find_map(|part| part.trim().strip_prefix("Root="))?;
        is_trace_id(root).then_some(root)
    }

    /// The header `traceparent` (W3C Trace Context, 3.2).
    pub(in crate::http) fn traceparent(&self) -> Option<&str> {
        let header = self.request.headers().get("traceparent")?.to_str().ok()?;
        is_trace_id(header).then_some(header)
    }
}

/// The path in openapi.yaml that a path belongs to, or else the path itself.
fn path_template(path: &str) -> &str {
    let matches = |template: &&str| {
        let mut segments = template.split('/').zip(path.split('/'));
        let is_equal = |(name, segment): (&str, &str)| name.starts_with('{') || name == segment;
        template.matches('/').count() == path.matches('/').count() && segments.all(is_equal)
    };
    env!("PATHS").split(' ').find(matches).unwrap_or(path)
}

/// Whether a text looks like a trace id. A client can send any header, and this one is logged.
fn is_trace_id(text: &str) -> bool {
    text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_as_in_the_document() {
        for (path, template) in [
            ("/", "/"),
            ("/api/auth/me", "/api/auth/me"),
            ("/api/5/tasks", "/api/{user_id}/tasks"),
            ("/api/5/tasks/5", "/api/{user_id}/tasks/{id}"),
            (
                "/api/tasks/tasks/tasks/complete",
                "/api/{user_id}/tasks/{id}/complete",
            ),
            ("/api/5/tasks/5/", "/api/5/tasks/5/"),
            ("/api/5", "/api/5"),
            ("", ""),
        ] {
            assert_eq!(path_template(path), template);
        }
    }
}
