//! The segments of one connection, bounded: those of its handshake, its teardown and its resets.

use super::{
    clock::Ts,
    segment::{SegmentEvent, SegmentHeader, Travel, Witness},
};

/// Segments kept per connection: the first half of them and the last; what passed between is
/// counted.
pub const SEGMENT_LIMIT: usize = 64;
/// How many of the first are kept.
const FIRST: usize = SEGMENT_LIMIT / 2;

/// A segment that passed this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// When.
    pub at: Ts,
    /// Which way.
    pub travel: Travel,
    /// Who saw it.
    pub witness: Witness,
    /// What its header says.
    pub header: SegmentHeader,
}

impl Passed {
    /// The segment of an event.
    #[must_use]
    pub const fn new(at: Ts, segment: &SegmentEvent) -> Self {
        let SegmentEvent { travel, witness, header, .. } = *segment;
        Self { at, travel, witness, header }
    }
}

/// The segments of a connection, in the order in which they passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    passed: Vec<Passed>,
    omitted: u32,
}

impl Exchange {
    /// Takes one, whenever it passed.
    pub fn push(&mut self, segment: Passed) {
        let place = self.passed.partition_point(|known| known.at <= segment.at);
        self.passed.insert(place, segment);
        if self.passed.len() > SEGMENT_LIMIT {
            // Whoever repeats himself hides neither the handshake nor the teardown.
            self.passed.remove(FIRST);
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    /// Those that are kept.
    #[must_use]
    pub fn passed(&self) -> &[Passed] {
        &self.passed
    }

    /// How many were not kept, and how many of those kept passed before them.
    #[must_use]
    pub fn omitted(&self) -> Option<(u32, usize)> {
        (self.omitted > 0).then_some((self.omitted, FIRST))
    }

    /// Whether one like `segment` that begins the sender's sequence has passed.
    #[must_use]
    pub fn has_begun_with(&self, segment: &Passed) -> bool {
        self.passed.iter().any(|known| {
            known.travel == segment.travel
                && known.header.flags.has(tcp_trace_common::TCP_SYN)
                && known.header.seq == segment.header.seq
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(at: u64, seq: u32) -> Passed {
        Passed {
            at: Ts(at),
            travel: Travel::In,
            witness: Witness::Xdp,
            header: SegmentHeader { seq, ..SegmentHeader::default() },
        }
    }

    #[test]
    fn they_stand_in_the_order_of_time_and_of_arrival_within_a_moment() {
        let mut exchange = Exchange::default();
        for (at, seq) in [(5, 0), (1, 1), (5, 2), (3, 3)] {
            exchange.push(passed(at, seq));
        }
        let order: Vec<_> = exchange.passed().iter().map(|known| known.header.seq).collect();
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn of_too_many_the_first_and_the_last_are_kept() {
        let mut exchange = Exchange::default();
        for n in 0..1000 {
            exchange.push(passed(u64::from(n), n));
        }
        let kept: Vec<_> = exchange.passed().iter().map(|known| known.header.seq).collect();
        let (first, last) = kept.split_at(FIRST);
        assert_eq!((first.first(), first.last()), (Some(&0), Some(&31)));
        assert_eq!((last.first(), last.last()), (Some(&968), Some(&999)));
        assert_eq!(exchange.omitted(), Some((936, FIRST)));
    }
}
