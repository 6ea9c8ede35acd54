//! The segments of one connection, bounded: those of its handshake, its teardown and its resets.

use smallvec::SmallVec;

use super::{
    clock::Ts,
    segment::{SegmentEvent, SegmentFlags, SegmentHeader, Travel, Witness},
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

/// Segments that lie in the exchange itself: a handshake. A teardown has them elsewhere.
const INLINE: usize = 4;

/// The segments of a connection, in the order in which they passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    kept: SmallVec<[Kept; INLINE]>,
    omitted: u32,
}

/// A segment in 24 bytes: a [`Passed`] takes 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    at: Ts,
    seq: u32,
    ack: u32,
    payload: u32,
    window: u16,
    flags: SegmentFlags,
    /// Who saw it; in the lowest bit whether it went out.
    way: u8,
}

/// In the order of the numbers that they are kept as.
const WITNESSES: [Witness; 4] =
    [Witness::Xdp, Witness::TcIngress, Witness::TcEgress, Witness::Capture];

impl From<Passed> for Kept {
    fn from(Passed { at, travel, witness, header }: Passed) -> Self {
        let SegmentHeader { flags, seq, ack, window, payload } = header;
        let way = (witness as u8) << 1 | u8::from(travel == Travel::Out);
        Self { at, seq, ack, payload, window, flags, way }
    }
}

impl From<Kept> for Passed {
    fn from(Kept { at, seq, ack, payload, window, flags, way }: Kept) -> Self {
        let travel = if way & 1 == 0 { Travel::In } else { Travel::Out };
        let witness = WITNESSES.get(usize::from(way >> 1)).copied().unwrap_or(Witness::Capture);
        let header = SegmentHeader { flags, seq, ack, window, payload };
        Self { at, travel, witness, header }
    }
}

impl Exchange {
    /// Takes one, whenever it passed.
    pub fn push(&mut self, segment: Passed) {
        let place = self.kept.partition_point(|known| known.at <= segment.at);
        self.kept.insert(place, segment.into());
        if self.kept.len() > SEGMENT_LIMIT {
            // Whoever repeats himself hides neither the handshake nor the teardown.
            self.kept.remove(FIRST);
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    /// Those that are kept.
    #[must_use]
    pub fn passed(&self) -> impl ExactSizeIterator<Item = Passed> + '_ {
        self.kept.iter().map(|known| (*known).into())
    }

    /// How many were not kept, and how many of those kept passed before them.
    #[must_use]
    pub fn omitted(&self) -> Option<(u32, usize)> {
        (self.omitted > 0).then_some((self.omitted, FIRST))
    }

    /// Whether one like `segment` that begins the sender's sequence has passed.
    #[must_use]
    pub fn has_begun_with(&self, segment: &Passed) -> bool {
        self.passed().any(|known| {
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

    /// What every connection costs that is seen on the wire.
    #[test]
    fn a_segment_stays_small_and_comes_out_as_it_went_in() {
        assert!(size_of::<Kept>() <= 24 && size_of::<Exchange>() <= 120);
        for (number, witness) in (0..).zip(WITNESSES) {
            for travel in [Travel::In, Travel::Out] {
                let flags = SegmentFlags(0x12);
                let (seq, ack, window, payload) = (u32::MAX, 2, 3, number);
                let header = SegmentHeader { flags, seq, ack, window, payload };
                let segment = Passed { at: Ts(u64::MAX), travel, witness, header };
                assert_eq!(Passed::from(Kept::from(segment)), segment);
            }
        }
    }

    #[test]
    fn they_stand_in_the_order_of_time_and_of_arrival_within_a_moment() {
        let mut exchange = Exchange::default();
        for (at, seq) in [(5, 0), (1, 1), (5, 2), (3, 3)] {
            exchange.push(passed(at, seq));
        }
        let order: Vec<_> = exchange.passed().map(|known| known.header.seq).collect();
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn of_too_many_the_first_and_the_last_are_kept() {
        let mut exchange = Exchange::default();
        for n in 0..1000 {
            exchange.push(passed(u64::from(n), n));
        }
        let kept: Vec<_> = exchange.passed().map(|known| known.header.seq).collect();
        let (first, last) = kept.split_at(FIRST);
        assert_eq!((first.first(), first.last()), (Some(&0), Some(&31)));
        assert_eq!((last.first(), last.last()), (Some(&968), Some(&999)));
        assert_eq!(exchange.omitted(), Some((936, FIRST)));
    }
}
