//! Records of several CPUs, put in the order in which they happened.
//!
//! Each CPU's buffer is nearly in order, but a connection's events come from several. A record is
//! held back until it is older than the window, by which time every CPU has delivered what is
//! older still. Bounded: past the limit the oldest go out early, and that is counted.

use std::time::Duration;

use super::clock::Ts;

/// Puts items in order of time within a bounded window.
#[derive(Debug)]
pub struct Merge<T> {
    pending: Vec<(Ts, T)>,
    window: Duration,
    limit: usize,
    released: Ts,
    late: u64,
    hurried: u64,
}

impl<T> Default for Merge<T> {
    /// Holds nothing back: a stand-in for one that is at work elsewhere.
    fn default() -> Self {
        Self::new(Duration::ZERO, 0)
    }
}

impl<T> Merge<T> {
    /// Holds items back for `window`, at most `limit` of them.
    #[must_use]
    pub fn new(window: Duration, limit: usize) -> Self {
        Self { pending: Vec::new(), window, limit, released: Ts(0), late: 0, hurried: 0 }
    }

    /// Takes an item that happened at `at`.
    pub fn push(&mut self, at: Ts, item: T) {
        if at < self.released {
            self.late += 1;
        }
        self.pending.push((at, item));
    }

    /// Hands over, in order, what happened before `now` less the window. `now` is a moment before
    /// the buffers were read, so that nothing older can still be in them.
    pub fn release(&mut self, now: Ts, each: impl FnMut(Ts, &T)) {
        self.release_before(now.back(self.window), each);
    }

    /// Hands over all that is left, in order.
    pub fn flush(&mut self, each: impl FnMut(Ts, &T)) {
        self.release_before(Ts(u64::MAX), each);
    }

    fn release_before(&mut self, horizon: Ts, mut each: impl FnMut(Ts, &T)) {
        // Stable, and linear in the runs that the CPUs deliver.
        self.pending.sort_by_key(|(at, _)| *at);
        let mut ready = self.pending.partition_point(|(at, _)| *at < horizon);
        let excess = self.pending.len().saturating_sub(self.limit);
        if excess > ready {
            self.hurried += (excess - ready) as u64;
            ready = excess;
        }
        // Where they lie: an item is large, and each copy of it costs.
        for (at, item) in self.pending.iter().take(ready) {
            self.released = self.released.max(*at);
            each(*at, item);
        }
        self.pending.drain(..ready);
    }

    /// Items that came after a younger one had gone out.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Items that went out before their window had passed, for want of room.
    #[must_use]
    pub fn hurried(&self) -> u64 {
        self.hurried
    }

    /// Items held back now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_nanos(10);

    fn taken(merge: &mut Merge<u64>, now: u64) -> Vec<u64> {
        let mut out = Vec::new();
        merge.release(Ts(now), |at, _| out.push(at.0));
        out
    }

    #[test]
    fn what_is_younger_than_the_window_waits() {
        let mut merge = Merge::new(WINDOW, 100);
        for at in [5, 1, 95] {
            merge.push(Ts(at), at);
        }
        assert_eq!(taken(&mut merge, 100), [1, 5]);
        assert_eq!(merge.held(), 1);
        assert_eq!(taken(&mut merge, 106), [95]);
    }

    #[test]
    fn a_late_item_is_counted_and_still_handed_over() {
        let mut merge = Merge::new(WINDOW, 100);
        merge.push(Ts(50), 0);
        assert_eq!(taken(&mut merge, 100), [50]);
        merge.push(Ts(40), 0);
        assert_eq!((merge.late(), taken(&mut merge, 100)), (1, vec![40]));
    }

    #[test]
    fn the_limit_holds_and_the_oldest_go_first() {
        let mut merge = Merge::new(WINDOW, 2);
        for at in [9, 7, 8, 6] {
            merge.push(Ts(at), at);
        }
        assert_eq!(taken(&mut merge, 0), [6, 7]);
        assert_eq!((merge.hurried(), merge.held()), (2, 2));
    }

    proptest! {
        /// Whatever the CPUs deliver, in whatever batches, nothing is lost, and while no CPU lags
        /// behind the window everything is in order.
        #[test]
        fn several_cpus_come_out_in_order(
            mut streams in proptest::collection::vec(
                proptest::collection::vec(0u64..1000, 0..50), 1..5),
        ) {
            for stream in &mut streams {
                stream.sort_unstable();
            }
            let total: usize = streams.iter().map(Vec::len).sum();
            let mut merge = Merge::new(WINDOW, 10_000);
            let mut out = Vec::new();
            for now in (0..1100).step_by(30) {
                for stream in &mut streams {
                    let ready = stream.partition_point(|at| *at < now);
                    for at in stream.drain(..ready) {
                        merge.push(Ts(at), at);
                    }
                }
                merge.release(Ts(now), |at, _| out.push(at.0));
            }
            merge.flush(|at, _| out.push(at.0));
            prop_assert_eq!(out.len(), total);
            prop_assert!(out.is_sorted());
            prop_assert_eq!(merge.late(), 0);
        }
    }
}
