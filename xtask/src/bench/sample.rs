//! What one run of a load says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::statistics::percentile;

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// What the load did in a second.
    pub(super) rate: f64,
    /// How long each of it took, if it comes in pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Latency>,
}

/// How long the pieces took, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    /// Half of them at most.
    pub(super) p50_us: f64,
    /// All but one in a hundred at most.
    pub(super) p99_us: f64,
}

impl From<f64> for Sample {
    fn from(rate: f64) -> Self {
        Self { rate, latency: None }
    }
}

impl Latency {
    /// `None` of none.
    pub(super) fn of(mut each: Vec<Duration>) -> Option<Self> {
        each.sort_unstable();
        let us = |share| percentile(&each, share).map(|took| took.as_secs_f64() * 1e6);
        Some(Self { p50_us: us(0.5)?, p99_us: us(0.99)? })
    }

    /// In the middle of two.
    pub(super) fn between(one: Self, other: Self) -> Self {
        Self {
            p50_us: f64::midpoint(one.p50_us, other.p50_us),
            p99_us: f64::midpoint(one.p99_us, other.p99_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_one_may_take_longer() {
        let each: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(Latency::of(each), Some(Latency { p50_us: 50.0, p99_us: 99.0 }));
        assert_eq!(Latency::of(Vec::new()), None);
    }
}
