//! Many measurements of one thing.

use std::time::Duration;

/// Milliseconds, or any other unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Takes in another one.
    pub(crate) fn add(&mut self, measured: f64) {
        self.0.push(measured);
    }

    /// Takes in others.
    pub(crate) fn extend(&mut self, measured: Vec<f64>) {
        self.0.extend(measured);
    }

    /// Takes in a time, in milliseconds.
    pub(crate) fn add_time(&mut self, time: Duration) {
        self.add(time.as_secs_f64() * 1_000.0);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle.
    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The one that so many in a hundred do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    }

    /// The one that was disturbed least, where what disturbs can only add.
    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }
}
