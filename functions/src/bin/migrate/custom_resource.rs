//! What CloudFormation asks of a custom resource: an answer that is put where the request says, in time.
//!
//! Source: "Custom resource request and response reference" in the CloudFormation user guide.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
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
                // The URL is a secret, and an error would repeat it.
                Err(error) => {
                    warn!(attempt, error = %error.without_url(), "CloudFormation did not take the answer");
                }
            }
            tokio::time::sleep(Duration::from_secs(1) * attempt).await;
        }
        error!("CloudFormation could not be answered");
    }

    async fn deliver(&self, answer: &Answer<'_>) -> reqwest::Result<()> {
        let body = serde_json::to_vec(answer).expect("texts alone");
        // Without a content type, which the URL's signature does not cover.
        let client = reqwest::Client::builder().timeout(DELIVERY).build()?;
        let response = client.put(&self.response_url).body(body).send().await?;
        response.error_for_status().map(drop)
    }
}
