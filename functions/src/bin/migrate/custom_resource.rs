//! The protocol of a CloudFormation custom resource: the response has to be put to the URL of the request, in time.
//!
//! Source: "Custom resource request and response reference" in the CloudFormation user guide.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Uri};
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::Cause;
use shared::settings::{check_ca_file, local_allowed, variable};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::error::MigrateError;

/// The longest response that CloudFormation accepts. The log has the full reason.
const MAX_RESPONSE_BYTES: usize = 4096;

/// One attempt to deliver the response.
const ATTEMPT: Duration = Duration::from_secs(10);

const MAX_ATTEMPTS: u32 = 4;

/// The root certificates of Lambda's operating system.
const SYSTEM_ROOTS: &str = "/etc/pki/tls/certs/ca-bundle.crt";

/// A request to create, update or delete the resource. Every event with a URL for the response is one, whatever else is
/// missing: without a response, CloudFormation waits.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    #[serde(default)]
    request_type: RequestType,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    stack_id: String,
    #[serde(default)]
    logical_resource_id: String,
    /// Where to put the response. Anyone who knows the URL can respond in our name.
    #[serde(rename = "ResponseURL")]
    response_url: String,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) enum RequestType {
    /// The stack is new.
    Create,
    /// The version of `migrate` is another one.
    Update,
    /// The stack is being deleted.
    Delete,
    /// Nothing that CloudFormation asked for when this was written.
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response<'a> {
    status: &'static str,
    reason: String,
    // The same in every deployment: with another id, CloudFormation would delete the old resource.
    physical_resource_id: &'static str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
}

impl Event {
    /// The request in an event, if it is one.
    pub(crate) fn from_json(event: &Value) -> Option<Self> {
        Self::deserialize(event).ok()
    }

    /// What is to be done.
    pub(crate) fn kind(&self) -> RequestType {
        self.request_type
    }

    /// Delivers the response. Without one, CloudFormation waits until its own timeout.
    pub(crate) async fn respond(&self, result: Result<(), &MigrateError>) {
        if !is_cloudformation(&self.response_url) {
            error!(
                "the ResponseURL of the event is not https to a host under amazonaws.com, as CloudFormation's always is; \
                 nothing was sent"
            );
            return;
        }
        let response = Response {
            status: if result.is_ok() { "SUCCESS" } else { "FAILED" },
            reason: String::new(),
            physical_resource_id: "schema",
            stack_id: &self.stack_id,
            request_id: &self.request_id,
            logical_resource_id: &self.logical_resource_id,
        };
        let reason = result.err().map(ToString::to_string).unwrap_or_default();
        let body = response.to_json(&reason);
        for attempt in 1..=MAX_ATTEMPTS {
            match self.deliver(body.clone()).await {
                Ok(()) => {
                    info!(status = response.status, "answered CloudFormation");
                    return;
                }
                Err(error) => {
                    warn!(attempt, %error, "CloudFormation did not take the answer");
                }
            }
            tokio::time::sleep(Duration::from_secs(1) * attempt).await;
        }
        error!("CloudFormation could not be answered");
    }

    /// Puts the response to the URL. An error does not repeat the URL, which is a secret.
    async fn deliver(&self, body: String) -> Result<(), Cause> {
        // Without a content type, which the URL's signature does not cover.
        let request = Request::put(&self.response_url).body(body);
        let request = request.map_err(|error| Cause::from_error("the URL", error))?;
        let connector = https_connector()?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        match timeout(ATTEMPT, client.request(request)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(Cause::new(response.status().to_string())),
            Ok(Err(error)) => Err(Cause::from_error("the request failed", error)),
            Err(_) => Err(Cause::new(format!("no answer in {ATTEMPT:?}"))),
        }
    }
}

/// Whether a URL is one that CloudFormation may have sent: https to a host of AWS, as S3 has them. With
/// `ALLOW_LOCAL_DATABASE`, this machine stands in for it.
fn is_cloudformation(url: &str) -> bool {
    const DOMAINS: [&str; 2] = [".amazonaws.com", ".amazonaws.com.cn"];
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    let is_aws =
        url.scheme() == Some(&Scheme::HTTPS) && DOMAINS.iter().any(|domain| host.ends_with(domain));
    let is_loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
    is_aws || is_loopback && local_allowed(&variable)
}

/// Connects to the URL, which is on S3. The roots in `SSL_CERT_FILE` include Amazon's. A file that cannot be used is one of
/// the problems to report, so then the system's roots count.
fn https_connector() -> Result<HttpsConnector<HttpConnector>, Cause> {
    let mut tls = native_tls::TlsConnector::builder();
    if check_ca_file(&variable).is_err()
        && let Ok(roots) = std::fs::read(SYSTEM_ROOTS)
    {
        let roots = native_tls::Certificate::stack_from_pem(&roots);
        for root in roots.map_err(|error| Cause::from_error("the system's roots", error))? {
            tls.add_root_certificate(root);
        }
    }
    let tls = tls
        .build()
        .map_err(|error| Cause::from_error("TLS", error))?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    Ok(HttpsConnector::from((http, tls.into())))
}

impl Response<'_> {
    /// The response with a reason that has one line for each problem. Where that is too long, each line is cut, so that
    /// every problem is named.
    fn to_json(&self, reason: &str) -> String {
        let longest = reason.lines().map(|line| line.chars().count()).max();
        let mut line_chars = longest.unwrap_or_default();
        loop {
            let response = Response {
                reason: shortened(reason, line_chars),
                ..self.clone()
            };
            let body = serde_json::to_string(&response).expect("JSON");
            if body.len() <= MAX_RESPONSE_BYTES || line_chars == 0 {
                return body;
            }
            line_chars -= line_chars.div_ceil(10);
        }
    }
}

/// A text whose lines have at most so many characters, and an ellipsis if they had more.
fn shortened(text: &str, line_chars: usize) -> String {
    let lines = text.lines().map(|line| {
        let mut chars = line.chars();
        let mut start: String = chars.by_ref().take(line_chars).collect();
        if chars.next().is_some() {
            start.push('…');
        }
        start
    });
    lines.collect::<Vec<_>>().join("\n")
}
