//! Many measurements of one thing.

use std::time::Duration;

/// Measurements in one unit, usually milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Adds a measurement.
    pub(crate) fn add(&mut self, measured: f64) {
        self.0.push(measured);
    }

    /// Adds several measurements.
    pub(crate) fn extend(&mut self, measured: Vec<f64>) {
        self.0.extend(measured);
    }

    /// Adds a time, in milliseconds.
    pub(crate) fn add_time(&mut self, time: Duration) {
        self.add(time.as_secs_f64() * 1_000.0);
    }

    /// The number of measurements.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The value that `percent` per cent of the measurements do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    }

    /// The minimum: the measurement with the least noise, because noise only adds time.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }
}
