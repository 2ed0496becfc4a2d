//! The protocol of a CloudFormation custom resource: the response has to be put to the URL of the request, in time.
//!
//! Source: "Custom resource request and response reference" in the CloudFormation user guide.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Uri};
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::Cause;
use shared::settings::{local_allowed, variable};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::error::MigrateError;

/// The longest reason in a response. CloudFormation accepts a response of at most 4096 bytes; the log has the full reason.
const MAX_REASON_CHARS: usize = 700;

/// One attempt to deliver the response.
const ATTEMPT: Duration = Duration::from_secs(10);

const MAX_ATTEMPTS: u32 = 4;

/// A request to create, update or delete the resource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    request_type: RequestType,
    request_id: String,
    stack_id: String,
    logical_resource_id: String,
    /// Where to put the response. Anyone who knows the URL can respond in our name.
    #[serde(rename = "ResponseURL")]
    response_url: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
enum RequestType {
    Create,
    Update,
    Delete,
}

#[derive(Serialize)]
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

    /// Whether the stack is being deleted. The data does not belong to the stack.
    pub(crate) fn is_delete(&self) -> bool {
        self.request_type == RequestType::Delete
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
            reason: match result {
                Ok(()) => String::new(),
                Err(error) => error.to_string().chars().take(MAX_REASON_CHARS).collect(),
            },
            physical_resource_id: "schema",
            stack_id: &self.stack_id,
            request_id: &self.request_id,
            logical_resource_id: &self.logical_resource_id,
        };
        for attempt in 1..=MAX_ATTEMPTS {
            match self.deliver(&response).await {
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
    async fn deliver(&self, response: &Response<'_>) -> Result<(), Cause> {
        let body = serde_json::to_string(response).expect("JSON");
        // Without a content type, which the URL's signature does not cover.
        let request = Request::put(&self.response_url).body(body);
        let request = request.map_err(|error| Cause::from_error("the URL", error))?;
        let client = Client::builder(TokioExecutor::new()).build(HttpsConnector::new());
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
