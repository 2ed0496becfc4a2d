//! Metrics in the lines of the log, as CloudWatch's embedded metric format: CloudWatch reads them out of the log, so that
//! a function sends nothing. They have no dimension but the class of an error, since each value of one is a metric that
//! costs as much as all requests together.

use std::sync::LazyLock;

use serde::Serialize;

use super::request::Line;

/// Under which name CloudWatch keeps them: `METRICS_NAMESPACE`. Where it is not set, there are none.
static NAMESPACE: LazyLock<Option<String>> = LazyLock::new(|| {
    let namespace = std::env::var("METRICS_NAMESPACE").ok();
    namespace.filter(|namespace| !namespace.trim().is_empty())
});

/// A line that is also a set of metrics.
#[derive(Serialize)]
pub(super) struct Measured<'a> {
    #[serde(flatten)]
    line: &'a Line<'a>,
    requests: u8,
    cold_starts: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<u8>,
    #[serde(rename = "_aws")]
    metadata: Metadata,
}

/// Which members of the line are metrics. The names are CloudWatch's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    timestamp: i64,
    cloud_watch_metrics: Vec<Directive>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: &'static [&'static [&'static str]],
    metrics: &'static [Metric],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: &'static str,
}

const fn metric(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit }
}

/// The last is of those alone that had a connection.
const OF_EVERY_REQUEST: [Metric; 6] = [
    metric("requests", "Count"),
    metric("duration_ms", "Milliseconds"),
    metric("database_ms", "Milliseconds"),
    metric("retries", "Count"),
    metric("cold_starts", "Count"),
    metric("connection_age_s", "Seconds"),
];

const OF_AN_ERROR: [Metric; 1] = [metric("errors", "Count")];

impl<'a> Measured<'a> {
    /// The line with its metrics, where there are to be any.
    pub(super) fn of(line: &'a Line<'a>) -> Option<Self> {
        let namespace = NAMESPACE.as_deref()?;
        let mut cloud_watch_metrics = vec![Directive {
            namespace,
            dimensions: &[&[]],
            metrics: if line.connection_age_s.is_some() {
                &OF_EVERY_REQUEST
            } else {
                &OF_EVERY_REQUEST[..5]
            },
        }];
        if line.error.is_some() {
            cloud_watch_metrics.push(Directive {
                namespace,
                dimensions: &[&["error"]],
                metrics: &OF_AN_ERROR,
            });
        }
        Some(Self {
            line,
            requests: 1,
            cold_starts: line.cold_start.into(),
            errors: line.error.map(|_| 1),
            metadata: Metadata {
                timestamp: line.timestamp.as_millisecond(),
                cloud_watch_metrics,
            },
        })
    }
}
