//! Records of several CPUs, put in the order in which they happened.
//!
//! Each CPU's buffer is nearly in order, but a connection's events come from several. A record is
//! held back until it is older than the window, by which time every CPU has delivered what is
//! older still. Bounded: past the limit the oldest go out early, and that is counted.
//!
//! What a CPU has delivered stays in its own line, where it lies until it goes out: a record is
//! large, and each copy of it costs.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque, binary_heap::PeekMut},
    time::Duration,
};

use super::clock::Ts;

/// Lines at most; sources beyond share them.
const LINES: u32 = 1024;
/// By how many places an item is moved ahead in its line before the whole line is sorted: a program
/// that is interrupted writes its record behind those of the ones that came in between.
const NEAR: usize = 8;

/// Puts items in order of time within a bounded window.
#[derive(Debug)]
pub struct Merge<T> {
    lines: Vec<Line<T>>,
    /// The first of each line that has any, while they go out.
    heads: BinaryHeap<Reverse<(Ts, usize)>>,
    held: usize,
    window: Duration,
    limit: usize,
    released: Ts,
    late: u64,
    hurried: u64,
}

/// What one source has delivered.
#[derive(Debug)]
struct Line<T> {
    items: VecDeque<(Ts, T)>,
    /// How many have gone out and still lie there.
    gone: usize,
    in_order: bool,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), gone: 0, in_order: true }
    }
}

impl<T> Line<T> {
    fn push(&mut self, at: Ts, item: T) {
        let follows = self.items.back().is_none_or(|(last, _)| *last <= at);
        self.items.push_back((at, item));
        if !follows {
            self.move_ahead(at);
        }
    }

    /// The last item belongs before others.
    #[cold]
    fn move_ahead(&mut self, at: Ts) {
        let younger = self.items.iter().rev().skip(1).take(NEAR + 1);
        let younger = younger.take_while(|(before, _)| *before > at).count();
        if younger > NEAR {
            self.in_order = false;
            return;
        }
        let last = self.items.len().saturating_sub(1);
        for place in (last.saturating_sub(younger)..last).rev() {
            self.items.swap(place, place + 1);
        }
    }

    fn put_in_order(&mut self) {
        if !self.in_order {
            // Stable, and linear in the runs that there are.
            self.items.make_contiguous().sort_by_key(|(at, _)| *at);
            self.in_order = true;
        }
    }

    fn first(&self) -> Option<&(Ts, T)> {
        self.items.get(self.gone)
    }
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
        Self {
            lines: Vec::new(),
            heads: BinaryHeap::new(),
            held: 0,
            window,
            limit,
            released: Ts(0),
            late: 0,
            hurried: 0,
        }
    }

    /// Takes an item that happened at `at`, of a source that delivers nearly in order: a CPU.
    pub fn push(&mut self, source: u32, at: Ts, item: T) {
        if at < self.released {
            self.late += 1;
        }
        self.held += 1;
        let number = usize::try_from(source % LINES).unwrap_or(0);
        if number >= self.lines.len() {
            self.lines.resize_with(number + 1, Line::default);
        }
        if let Some(line) = self.lines.get_mut(number) {
            line.push(at, item);
        }
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
        if self.held == 0 {
            return;
        }
        for (number, line) in self.lines.iter_mut().enumerate() {
            line.put_in_order();
            self.heads.extend(line.first().map(|(at, _)| Reverse((*at, number))));
        }
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((at, number)) = *head;
            if at >= horizon {
                if self.held <= self.limit {
                    break;
                }
                self.hurried += 1;
            }
            let Some(line) = self.lines.get_mut(number) else { break };
            if let Some((at, item)) = line.first() {
                self.released = self.released.max(*at);
                each(*at, item);
                line.gone += 1;
                self.held -= 1;
            }
            match line.first() {
                Some((next, _)) => *head = Reverse((*next, number)),
                None => drop(PeekMut::pop(head)),
            }
        }
        self.heads.clear();
        for line in &mut self.lines {
            line.items.drain(..std::mem::take(&mut line.gone));
        }
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
        self.held
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
            merge.push(0, Ts(at), at);
        }
        assert_eq!(taken(&mut merge, 100), [1, 5]);
        assert_eq!(merge.held(), 1);
        assert_eq!(taken(&mut merge, 106), [95]);
        assert_eq!(merge.held(), 0);
    }

    #[test]
    fn a_late_item_is_counted_and_still_handed_over() {
        let mut merge = Merge::new(WINDOW, 100);
        merge.push(0, Ts(50), 0);
        assert_eq!(taken(&mut merge, 100), [50]);
        merge.push(0, Ts(40), 0);
        assert_eq!((merge.late(), taken(&mut merge, 100)), (1, vec![40]));
    }

    #[test]
    fn the_limit_holds_and_the_oldest_go_first() {
        let mut merge = Merge::new(WINDOW, 2);
        for (source, at) in [(0, 9), (1, 7), (1, 8), (0, 6)] {
            merge.push(source, Ts(at), at);
        }
        assert_eq!(taken(&mut merge, 0), [6, 7]);
        assert_eq!((merge.hurried(), merge.held()), (2, 2));
    }

    #[test]
    fn the_items_of_a_moment_stay_in_the_order_of_their_line() {
        let mut merge = Merge::new(WINDOW, 100);
        let mut out = Vec::new();
        // Near by, and so far that the line is sorted.
        for (number, at) in [5, 5, 9, 5, 5].into_iter().chain(6..20).chain([5, 5]).enumerate() {
            merge.push(LINES + 3, Ts(at), number);
        }
        merge.flush(|at, number| out.push((at, *number)));
        assert_eq!(out.len(), 21);
        assert!(out.is_sorted(), "{out:?}");
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
                for (cpu, stream) in (0..).zip(&mut streams) {
                    let ready = stream.partition_point(|at| *at < now);
                    for at in stream.drain(..ready) {
                        merge.push(cpu, Ts(at), at);
                    }
                }
                merge.release(Ts(now), |at, _| out.push(at.0));
            }
            merge.flush(|at, _| out.push(at.0));
            prop_assert_eq!(out.len(), total);
            prop_assert!(out.is_sorted());
            prop_assert_eq!(merge.late(), 0);
        }

        /// Whatever comes, in whatever order and of whomever: each goes out once, and those that go
        /// out together are in order.
        #[test]
        fn nothing_is_lost_and_nothing_goes_out_twice(
            pushed in proptest::collection::vec((0u32..4, 0u64..300, any::<bool>()), 0..200),
            limit in 0usize..100,
        ) {
            let mut merge = Merge::new(WINDOW, limit);
            let mut out = Vec::new();
            for (number, (source, at, release)) in pushed.iter().enumerate() {
                merge.push(*source, Ts(*at), number);
                if *release {
                    let before = out.len();
                    merge.release(Ts(*at), |at, number| out.push((at, *number)));
                    prop_assert!(out[before..].is_sorted_by_key(|(at, _)| *at));
                    prop_assert!(merge.held() <= limit);
                }
            }
            prop_assert_eq!(merge.held() + out.len(), pushed.len());
            merge.flush(|at, number| out.push((at, *number)));
            prop_assert!(out.iter().all(|(at, number)| pushed[*number].1 == at.0));
            out.sort_unstable_by_key(|(_, number)| *number);
            prop_assert!(out.iter().map(|(_, number)| *number).eq(0..pushed.len()));
        }
    }
}
