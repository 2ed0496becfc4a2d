//! What CloudFormation asks of a custom resource: an answer that is put where the request says, in time.
//!
//! Source: "Custom resource request and response reference" in the CloudFormation user guide.

use std::time::Duration;

use http::Request;
use hyper_tls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::Cause;
use tokio::time::timeout;
use tracing::{error, info, warn};

/// The longest reason that is told. CloudFormation takes an answer of at most 4096 bytes; the log has the whole of it.
const MAX_REASON_CHARS: usize = 700;

/// How long one attempt to deliver the answer may take, and how often it is tried.
const DELIVERY: Duration = Duration::from_secs(10);
const DELIVERIES: u32 = 4;

/// A request to create, update or delete the resource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    request_type: RequestType,
    request_id: String,
    stack_id: String,
    logical_resource_id: String,
    /// Where to put the answer. Whoever knows it can answer in our name.
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
struct Answer<'a> {
    status: &'static str,
    reason: String,
    // The same in every deployment: another one would ask for the former resource to be deleted.
    physical_resource_id: &'static str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
}

impl Event {
    /// The request in an event, if it is one.
    pub(crate) fn read(event: &Value) -> Option<Self> {
        Self::deserialize(event).ok()
    }

    /// Whether the stack is being deleted. The data is not the stack's to delete.
    pub(crate) fn is_delete(&self) -> bool {
        self.request_type == RequestType::Delete
    }

    /// Delivers the answer. Without one, CloudFormation waits until its own timeout.
    pub(crate) async fn answer(&self, result: &Result<Value, String>) {
        let answer = Answer {
            status: if result.is_ok() { "SUCCESS" } else { "FAILED" },
            reason: match result {
                Ok(_) => String::new(),
                Err(cause) => cause.chars().take(MAX_REASON_CHARS).collect(),
            },
            physical_resource_id: "schema",
            stack_id: &self.stack_id,
            request_id: &self.request_id,
            logical_resource_id: &self.logical_resource_id,
        };
        for attempt in 1..=DELIVERIES {
            match self.deliver(&answer).await {
                Ok(()) => {
                    info!(status = answer.status, "answered CloudFormation");
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

    /// Puts the answer there. An error does not repeat the URL, which is a secret.
    async fn deliver(&self, answer: &Answer<'_>) -> Result<(), Cause> {
        let body = serde_json::to_string(answer).expect("texts alone");
        // Without a content type, which the URL's signature does not cover.
        let request = Request::put(&self.response_url).body(body);
        let request = request.map_err(|error| Cause::from_error("the URL", &error))?;
        let client = Client::builder(TokioExecutor::new()).build(HttpsConnector::new());
        match timeout(DELIVERY, client.request(request)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(Cause::new(response.status().to_string())),
            Ok(Err(error)) => Err(Cause::from_error("the request failed", &error)),
            Err(_) => Err(Cause::new(format!("no answer in {DELIVERY:?}"))),
        }
    }
}
