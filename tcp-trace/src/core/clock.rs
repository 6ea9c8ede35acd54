//! Time as the kernel stamps it, and its place on the wall clock.

use std::time::Duration;

/// Nanoseconds of `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns()` gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ts(pub u64);

impl Ts {
    /// Time since `earlier`; zero where `earlier` is in fact later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant and `span` later, never past the end of the clock.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This instant less `span`, never before the start of the clock.
    #[must_use]
    pub fn back(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where the monotonic clock stands on the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallOffset {
    /// Nanoseconds since the Unix epoch at monotonic zero.
    pub epoch_ns: i64,
}

impl WallOffset {
    /// `at` in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn wall_ns(self, at: Ts) -> i64 {
        i64::try_from(at.0).unwrap_or(i64::MAX).saturating_add(self.epoch_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_runs_backwards() {
        assert_eq!(Ts(5).since(Ts(9)), Duration::ZERO);
        assert_eq!(Ts(9).since(Ts(5)), Duration::from_nanos(4));
        assert_eq!(Ts(5).back(Duration::from_secs(1)), Ts(0));
        assert_eq!(Ts(5).after(Duration::from_nanos(2)), Ts(7));
        assert_eq!(Ts(u64::MAX).after(Duration::MAX), Ts(u64::MAX));
    }

    #[test]
    fn wall_time_saturates_instead_of_wrapping() {
        let offset = WallOffset { epoch_ns: i64::MAX - 1 };
        assert_eq!(offset.wall_ns(Ts(u64::MAX)), i64::MAX);
    }
}
