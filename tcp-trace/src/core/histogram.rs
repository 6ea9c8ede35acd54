//! Durations in powers of two, from one microsecond to about four and a half hours.

use std::time::Duration;

/// Bounded buckets; one more takes what is longer.
pub const BUCKETS: usize = 35;

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Counts by bucket: bucket `n` holds durations of up to `2^n` microseconds.
    counts: [u64; BUCKETS + 1],
    sum: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS + 1], sum: Duration::ZERO }
    }
}

impl Histogram {
    /// Takes one duration.
    pub fn observe(&mut self, span: Duration) {
        // Begun microseconds count whole. In 64 bits: this is done for every step.
        let begun = u64::from(span.subsec_nanos().div_ceil(1000));
        let micros = span.as_secs().saturating_mul(1_000_000).saturating_add(begun);
        let bucket = match micros {
            0 | 1 => 0,
            more => usize::try_from(64 - (more - 1).leading_zeros()).unwrap_or(BUCKETS),
        };
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS)) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(span);
    }

    /// Upper bounds in seconds with the counts up to and including them.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut bound = 1e-6;
        self.counts.iter().take(BUCKETS).scan(0, move |total, count| {
            *total += count;
            let this = (bound, *total);
            bound *= 2.0;
            Some(this)
        })
    }

    /// How many durations were taken.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(span: Duration) -> Option<f64> {
        let mut histogram = Histogram::default();
        histogram.observe(span);
        histogram.cumulative().find(|(_, count)| *count == 1).map(|(bound, _)| bound)
    }

    #[test]
    fn bounds_are_inclusive_powers_of_two() {
        assert_eq!(bucket_of(Duration::ZERO), Some(1e-6));
        assert_eq!(bucket_of(Duration::from_nanos(1)), Some(1e-6));
        assert_eq!(bucket_of(Duration::from_micros(1)), Some(1e-6));
        assert_eq!(bucket_of(Duration::from_nanos(1001)), Some(2e-6));
        assert_eq!(bucket_of(Duration::from_micros(2)), Some(2e-6));
        assert_eq!(bucket_of(Duration::from_micros(3)), Some(4e-6));
        assert_eq!(bucket_of(Duration::from_mins(1)), Some(2f64.powi(26) * 1e-6));
        assert_eq!(bucket_of(Duration::MAX), None);
    }

    #[test]
    fn the_longest_are_counted_too() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_secs(1_000_000));
        assert_eq!(histogram.count(), 1);
    }
}
