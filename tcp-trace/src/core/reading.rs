//! What each segment of a connection meant, read from those before it.

use std::time::Duration;

use tcp_trace_common as wire;

use super::{
    exchange::Passed,
    relative::Initial,
    segment::{SegmentHeader, Travel, Witness},
};

/// From here on sequence numbers alone do not tell how much has passed.
const TOO_MUCH: u64 = 1 << 31;

/// A segment, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireSegment {
    /// Which way it went.
    pub travel: Travel,
    /// Who saw it.
    pub witness: Witness,
    /// What its header says.
    pub header: SegmentHeader,
    /// Its sequence number counted from its sender's initial one, where that is known.
    pub seq_relative: Option<u32>,
    /// Its acknowledgement number counted from the receiver's initial one, where both are known.
    pub ack_relative: Option<u32>,
    /// What it was for.
    pub part: Part,
    /// Whether its sender had sent it before.
    pub retransmit: bool,
    /// How long before, the last time.
    pub again_after: Duration,
    /// Payload bytes that came to this end since the segment before, in none of those shown.
    pub data_in: u64,
    /// Payload bytes that this end has sent since the segment before, in none of those shown.
    pub data_out: u64,
    /// Of a FIN: payload bytes that its sender has sent in all, where known.
    pub total: Option<u64>,
}

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Asks for the connection.
    Syn,
    /// Asks for a connection, and not for this one: of an earlier one, or forged.
    OldSyn,
    /// Answers the SYN.
    SynAck,
    /// Ends the handshake.
    HandshakeAck,
    /// Says that no more comes from its sender.
    Fin {
        /// And acknowledges the other side's FIN.
        acknowledges: bool,
    },
    /// Acknowledges the other side's FIN.
    FinAck,
    /// Ends the connection, or refuses it.
    Reset,
    /// Any other.
    Ack,
}

impl Part {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn | Self::OldSyn => "syn",
            Self::SynAck => "syn_ack",
            Self::HandshakeAck | Self::FinAck | Self::Ack => "ack",
            Self::Fin { .. } => "fin",
            Self::Reset => "rst",
        }
    }
}

/// Payload bytes that the kernel says have passed in all, which tells where sequence numbers have
/// gone round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// To this end.
    pub received: Option<u64>,
    /// From this end.
    pub sent: Option<u64>,
}

/// Reads the segments of one connection.
#[must_use]
pub fn read(passed: &[Passed], moved: Moved) -> Vec<WireSegment> {
    let mut reader = Reader {
        initial: Initial::learn(passed),
        sides: [Side::new(moved.received), Side::new(moved.sent)],
        established: false,
    };
    let mut read = Vec::with_capacity(passed.len());
    for (place, segment) in passed.iter().enumerate() {
        let before = passed.get(..place).unwrap_or_default();
        read.push(reader.next(segment, before));
    }
    read
}

/// What one side has sent so far.
#[derive(Clone, Copy, Debug)]
struct Side {
    /// The sequence number after all that is known of.
    edge: Option<u32>,
    /// The sequence number after its FIN.
    finished: Option<u32>,
    /// Whether it has sent a SYN-ACK.
    answered: bool,
    /// How much it has sent, where that is more than sequence numbers tell; said once.
    much: Option<u64>,
    /// Whether it has been too much for sequence numbers.
    uncountable: bool,
}

impl Side {
    fn new(moved: Option<u64>) -> Self {
        let much = moved.filter(|bytes| *bytes >= TOO_MUCH);
        Self { edge: None, finished: None, answered: false, much, uncountable: much.is_some() }
    }

    /// The side has come to `number`; returns the bytes since where it was known to be.
    fn reach(&mut self, number: u32) -> u64 {
        let before = self.edge.unwrap_or(number);
        if !self.uncountable && !is_after(number, before) && number != before {
            return 0;
        }
        self.edge = Some(number);
        match (number == before, self.uncountable) {
            (true, _) => 0,
            (false, false) => number.wrapping_sub(before).into(),
            (false, true) => self.much.take().unwrap_or(0),
        }
    }
}

/// Whether `number` comes after `other` in sequence space.
const fn is_after(number: u32, other: u32) -> bool {
    let ahead = number.wrapping_sub(other);
    ahead != 0 && ahead < 1 << 31
}

#[derive(Debug)]
struct Reader {
    initial: Initial,
    /// The peer's side and this end's, by [`Travel`].
    sides: [Side; 2],
    established: bool,
}

impl Reader {
    fn next(&mut self, segment: &Passed, before: &[Passed]) -> WireSegment {
        let Passed { travel, witness, header, .. } = *segment;
        let (seq_relative, ack_relative) = self.initial.relative(segment);
        let part = self.part(segment);
        let [data_in, data_out] = self.follow(segment, part);
        let last =
            before.iter().rev().find(|known| known.travel == travel && is_same(known, segment));
        let total = matches!(part, Part::Fin { .. }).then(|| self.total(segment, seq_relative));
        WireSegment {
            travel,
            witness,
            header,
            seq_relative,
            ack_relative,
            part,
            retransmit: last.is_some(),
            again_after: last.map_or(Duration::ZERO, |last| segment.at.since(last.at)),
            data_in,
            data_out,
            total: total.flatten(),
        }
    }

    fn part(&mut self, segment: &Passed) -> Part {
        let (flags, travel) = (segment.header.flags, segment.travel);
        let established = self.established;
        let [own, other] = self.ends(travel);
        let acknowledges = flags.has(wire::TCP_ACK)
            && other.finished.is_some_and(|end| !is_after(end, segment.header.ack));
        if flags.has(wire::TCP_RST) {
            return Part::Reset;
        }
        if flags.is_syn_ack() {
            own.answered = true;
            return Part::SynAck;
        }
        if flags.is_syn() {
            let is_own = self.initial.of(travel) == Some(segment.header.seq);
            return if is_own { Part::Syn } else { Part::OldSyn };
        }
        if flags.has(wire::TCP_FIN) {
            own.finished = Some(segment.header.sequence_end());
            return Part::Fin { acknowledges };
        }
        if acknowledges {
            return Part::FinAck;
        }
        if !established && other.answered {
            self.established = true;
            return Part::HandshakeAck;
        }
        Part::Ack
    }

    /// Follows both sides' sequences; returns what came and what was sent between the segments.
    fn follow(&mut self, segment: &Passed, part: Part) -> [u64; 2] {
        let header = &segment.header;
        let [own, other] = self.ends(segment.travel);
        let (mut from_own, mut from_other) = (0, 0);
        match part {
            // Whoever resets a connection, or means another, need not say where this one stands.
            Part::Reset | Part::OldSyn => {}
            Part::Syn | Part::SynAck => {
                own.edge = Some(header.sequence_end());
                if part == Part::SynAck {
                    other.edge = Some(header.ack);
                }
            }
            Part::HandshakeAck | Part::Fin { .. } | Part::FinAck | Part::Ack => {
                from_own = own.reach(header.seq);
                if !is_after(own.edge.unwrap_or(header.seq), header.sequence_end()) {
                    own.edge = Some(header.sequence_end());
                }
                if header.flags.has(wire::TCP_ACK) {
                    from_other = other.reach(header.ack);
                }
            }
        }
        match segment.travel {
            Travel::In => [from_own, from_other],
            Travel::Out => [from_other, from_own],
        }
    }

    /// The sender's side, and the other.
    fn ends(&mut self, travel: Travel) -> [&mut Side; 2] {
        let [peer, local] = &mut self.sides;
        match travel {
            Travel::In => [peer, local],
            Travel::Out => [local, peer],
        }
    }

    fn total(&mut self, segment: &Passed, seq_relative: Option<u32>) -> Option<u64> {
        let [own, _] = self.ends(segment.travel);
        let before = seq_relative?.checked_sub(1).filter(|_| !own.uncountable)?;
        Some(u64::from(before) + u64::from(segment.header.payload))
    }
}

/// Whether one is the other sent again. Of a FIN data before it may be left out the next time.
fn is_same(known: &Passed, segment: &Passed) -> bool {
    let class = |header: &SegmentHeader| {
        let has = |flag| header.flags.has(flag);
        (has(wire::TCP_RST), has(wire::TCP_SYN), has(wire::TCP_FIN), header.flags.is_syn_ack())
    };
    let (known, segment) = (&known.header, &segment.header);
    let (reset, syn, fin, _) = class(segment);
    class(known) == class(segment)
        && if fin && !reset && !syn {
            known.sequence_end() == segment.sequence_end()
        } else {
            known.seq == segment.seq && (reset || syn || known.ack == segment.ack)
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{clock::Ts, segment::SegmentFlags};

    use Part::{FinAck, HandshakeAck, Syn, SynAck};
    use Travel::{In, Out};

    const SYN: u8 = wire::TCP_SYN;
    const ACK: u8 = wire::TCP_ACK;
    const FIN: u8 = wire::TCP_FIN;
    const RST: u8 = wire::TCP_RST;

    /// Of a server whose initial number is 5000 and whose peer's is 100.
    fn server(rows: &[(u64, Travel, u8, u32, u32, u32)]) -> Vec<WireSegment> {
        let passed: Vec<_> = rows
            .iter()
            .map(|(at, travel, flags, seq, ack, payload)| {
                let (own, other) = if *travel == In { (100, 5_000) } else { (5_000, 100) };
                let flags = SegmentFlags(*flags);
                let ack = if flags.has(ACK) { ack + other } else { 0 };
                let header =
                    SegmentHeader { flags, seq: seq + own, ack, window: 9, payload: *payload };
                Passed { at: Ts(at * 1_000), travel: *travel, witness: Witness::Xdp, header }
            })
            .collect();
        read(&passed, Moved::default())
    }

    fn parts(read: &[WireSegment]) -> Vec<Part> {
        read.iter().map(|segment| segment.part).collect()
    }

    const FIN_FIRST: Part = Part::Fin { acknowledges: false };
    const FIN_LAST: Part = Part::Fin { acknowledges: true };

    #[test]
    fn a_whole_life_reads_as_one() {
        let read = server(&[
            (0, In, SYN, 0, 0, 0),
            (1, Out, SYN | ACK, 0, 1, 0),
            (2, In, ACK, 1, 1, 0),
            (3, In, FIN | ACK, 413, 1_901, 0),
            (4, Out, ACK, 1_901, 414, 0),
            (5, Out, FIN | ACK, 1_901, 414, 0),
            (6, In, ACK, 414, 1_902, 0),
        ]);
        assert_eq!(parts(&read), [Syn, SynAck, HandshakeAck, FIN_FIRST, FinAck, FIN_LAST, FinAck]);
        let data: Vec<_> = read.iter().map(|s| (s.data_in, s.data_out)).collect();
        assert_eq!(data, [(0, 0), (0, 0), (0, 0), (412, 1_900), (0, 0), (0, 0), (0, 0)]);
        assert_eq!((read[3].total, read[5].total), (Some(412), Some(1_900)));
        assert_eq!((read[6].seq_relative, read[6].ack_relative), (Some(414), Some(1_902)));
        assert!(read.iter().all(|segment| !segment.retransmit));
    }

    #[test]
    fn what_is_sent_again_is_known_by_its_number() {
        let read = server(&[
            (0, In, SYN, 0, 0, 0),
            (1_000, In, SYN, 0, 0, 0),
            (1_001, Out, SYN | ACK, 0, 1, 0),
            (1_002, In, ACK, 1, 1, 0),
            (1_003, Out, FIN | ACK, 1, 1, 10),
            (1_207, Out, FIN | ACK, 11, 1, 0),
            (1_208, In, ACK, 1, 12, 0),
            (1_209, In, ACK, 1, 12, 0),
        ]);
        let again: Vec<_> = read.iter().map(|s| s.again_after.as_micros()).collect();
        assert_eq!(again, [0, 1_000, 0, 0, 0, 204, 0, 1]);
        assert_eq!((read[4].total, read[5].total), (Some(10), Some(10)));
    }

    #[test]
    fn fins_that_cross_acknowledge_nothing_yet() {
        let read = server(&[
            (0, Out, FIN | ACK, 1, 1, 0),
            (1, In, FIN | ACK, 1, 1, 0),
            (2, Out, ACK, 2, 2, 0),
            (3, In, ACK, 2, 2, 0),
        ]);
        assert_eq!(parts(&read), [FIN_FIRST, FIN_FIRST, Part::FinAck, Part::FinAck]);
        assert!(read.iter().all(|s| s.seq_relative.is_none() && s.total.is_none()));
    }

    #[test]
    fn a_foreign_syn_and_a_reset_move_nothing() {
        let read = server(&[
            (0, In, SYN, 0, 0, 0),
            (1, Out, SYN | ACK, 0, 1, 0),
            (2, In, ACK, 1, 1, 0),
            (3, In, SYN, 90_000, 0, 0),
            (4, In, RST, 70_000, 0, 0),
            (5, Out, FIN | ACK, 11, 21, 0),
        ]);
        assert_eq!((read[3].part, read[4].part), (Part::OldSyn, Part::Reset));
        assert_eq!(read[3].seq_relative, None);
        assert_eq!((read[5].data_in, read[5].data_out), (20, 10));
    }

    #[test]
    fn where_numbers_have_gone_round_the_kernel_counts() {
        let passed: Vec<_> = [(In, 0u32, 100u32), (Out, 100, 7), (In, 7, 100)]
            .map(|(travel, seq, ack)| Passed {
                at: Ts(0),
                travel,
                witness: Witness::Xdp,
                header: SegmentHeader {
                    flags: SegmentFlags(ACK),
                    seq,
                    ack,
                    ..SegmentHeader::default()
                },
            })
            .into();
        let moved = Moved { received: Some(5 << 30), sent: Some(0) };
        let data: Vec<_> = read(&passed, moved).iter().map(|s| s.data_in).collect();
        assert_eq!(data, [0, 5 << 30, 0]);
    }
}
