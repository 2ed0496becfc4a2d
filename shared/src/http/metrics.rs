//! Metrics in the lines of the access log, in CloudWatch's embedded metric format (EMF): CloudWatch reads them out of the
//! log, so a function sends nothing. The only dimension is the kind of an error, since each value of a dimension is a
//! metric of its own that costs as much as one without dimensions.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde::Serialize;

use crate::settings::variable;

/// The CloudWatch namespace of the metrics: `METRICS_NAMESPACE`. Without it there are no metrics.
static NAMESPACE: LazyLock<Option<String>> = LazyLock::new(|| variable("METRICS_NAMESPACE"));

/// What the metrics of a request are made of, besides the members of its line.
pub(super) struct RequestMetrics {
    /// When the request was answered.
    pub(super) timestamp: Timestamp,
    /// Whether it was the first request of its process.
    pub(super) is_cold_start: bool,
    /// Whether it used a connection to the database.
    pub(super) had_connection: bool,
    /// Whether the answer is an error.
    pub(super) is_error: bool,
}

/// A line of the access log that is also a set of metrics.
#[derive(Serialize)]
pub(super) struct EmfRecord<'a, T> {
    #[serde(flatten)]
    entry: &'a T,
    requests: u8,
    cold_starts: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<u8>,
    #[serde(rename = "_aws")]
    metadata: Metadata,
}

/// Which members of the line are metrics. The names are CloudWatch's ("Specification: Embedded metric format").
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    timestamp: i64,
    cloud_watch_metrics: Vec<MetricDirective>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDirective {
    namespace: &'static str,
    dimensions: &'static [&'static [&'static str]],
    metrics: &'static [MetricDefinition],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDefinition {
    name: &'static str,
    unit: &'static str,
}

const fn metric(name: &'static str, unit: &'static str) -> MetricDefinition {
    MetricDefinition { name, unit }
}

/// The last one is left out for requests that had no connection.
const REQUEST_METRICS: [MetricDefinition; 6] = [
    metric("requests", "Count"),
    metric("duration_ms", "Milliseconds"),
    metric("database_ms", "Milliseconds"),
    metric("retries", "Count"),
    metric("cold_starts", "Count"),
    metric("connection_age_s", "Seconds"),
];

const ERROR_METRICS: [MetricDefinition; 1] = [metric("errors", "Count")];

impl<'a, T> EmfRecord<'a, T> {
    /// A line with its metrics, where there is a namespace for them.
    pub(super) fn new(entry: &'a T, request: &RequestMetrics) -> Option<Self> {
        let namespace = NAMESPACE.as_deref()?;
        let directive = |dimensions, metrics| MetricDirective {
            namespace,
            dimensions,
            metrics,
        };
        let metrics = if request.had_connection {
            &REQUEST_METRICS[..]
        } else {
            &REQUEST_METRICS[..REQUEST_METRICS.len() - 1]
        };
        let mut directives = vec![directive(&[&[]], metrics)];
        if request.is_error {
            directives.push(directive(&[&["error"]], &ERROR_METRICS));
        }
        Some(Self {
            entry,
            requests: 1,
            cold_starts: request.is_cold_start.into(),
            errors: request.is_error.then_some(1),
            metadata: Metadata {
                timestamp: request.timestamp.as_millisecond(),
                cloud_watch_metrics: directives,
            },
        })
    }
}
