//! Sequence numbers as people read them: counted from each side's initial one.

use tcp_trace_common as wire;

use super::{exchange::Passed, segment::Travel};

/// The initial sequence numbers of both sides, where known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Initial {
    /// This host's.
    pub local: Option<u32>,
    /// The peer's.
    pub remote: Option<u32>,
}

impl Initial {
    /// Learns them from a connection's segments: from the SYN of each side, else from what the other
    /// side's SYN-ACK answers. Of several SYNs of the peer's the answered one is the connection's:
    /// anybody can send another.
    #[must_use]
    pub fn learn(passed: &[Passed]) -> Self {
        let syns = |travel| {
            let syn = |known: &&Passed| known.header.flags.has(wire::TCP_SYN);
            passed.iter().filter(move |known| known.travel == travel).filter(syn)
        };
        let answer = |travel| syns(travel).find(|known| known.header.flags.is_syn_ack());
        let answered = |answer: &Passed| {
            let syn = syns(answer.travel.back()).find(|syn| is_answer(answer, syn));
            syn.map_or(answer.header.ack.wrapping_sub(1), |syn| syn.header.seq)
        };
        let own = syns(Travel::Out).next();
        let local = own.map(|syn| syn.header.seq).or_else(|| answer(Travel::In).map(answered));
        // Who gets a SYN-ACK is not to take one that answers nothing of his.
        let fits = |known: &&Passed| match own {
            Some(own) if known.header.flags.is_syn_ack() => is_answer(known, own),
            _ => true,
        };
        let remote = match answer(Travel::Out) {
            Some(answer) => Some(answered(answer)),
            None => syns(Travel::In).find(fits).map(|syn| syn.header.seq),
        };
        Self { local, remote }
    }

    /// That of the sender of what goes this way.
    #[must_use]
    pub const fn of(self, travel: Travel) -> Option<u32> {
        match travel {
            Travel::Out => self.local,
            Travel::In => self.remote,
        }
    }

    /// Sequence and acknowledgement number of a segment, each counted from its side's initial one.
    /// A SYN that begins another sequence has none, and neither has what acknowledges nothing.
    #[must_use]
    pub fn relative(self, segment: &Passed) -> (Option<u32>, Option<u32>) {
        let (header, travel) = (&segment.header, segment.travel);
        let counted = |number: u32, from: Option<u32>| from.map(|from| number.wrapping_sub(from));
        let seq = counted(header.seq, self.of(travel));
        let ack = counted(header.ack, self.of(travel.back()));
        // The RST that answers a SYN has no sequence of its own.
        let own = !(header.flags.has(wire::TCP_RST) && header.seq == 0);
        (
            seq.filter(|seq| own && (*seq == 0 || !header.flags.has(wire::TCP_SYN))),
            ack.filter(|_| header.flags.has(wire::TCP_ACK)),
        )
    }
}

/// Whether a SYN-ACK answers this SYN, or the SYN and the data that came with it (Fast Open).
const fn is_answer(answer: &Passed, syn: &Passed) -> bool {
    let (ack, header) = (answer.header.ack, &syn.header);
    ack == header.seq.wrapping_add(1) || ack == header.sequence_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        clock::Ts,
        segment::{SegmentFlags, SegmentHeader, Witness},
    };

    fn passed(travel: Travel, flags: u8, seq: u32, ack: u32) -> Passed {
        let header =
            SegmentHeader { flags: SegmentFlags(flags), seq, ack, ..SegmentHeader::default() };
        Passed { at: Ts(0), travel, witness: Witness::Xdp, header }
    }

    const SYN: u8 = wire::TCP_SYN;
    const ACK: u8 = wire::TCP_ACK;
    const RST: u8 = wire::TCP_RST;

    #[test]
    fn both_sides_are_learnt_from_their_syns() {
        let story = [passed(Travel::In, SYN, u32::MAX, 0), passed(Travel::Out, SYN | ACK, 7, 0)];
        let initial = Initial::learn(&story);
        assert_eq!(initial, Initial { local: Some(7), remote: Some(u32::MAX) });
        let fin = passed(Travel::In, ACK, 412, 9);
        assert_eq!(initial.relative(&fin), (Some(413), Some(2)));
        assert_eq!(initial.relative(&story[0]), (Some(0), None));
    }

    #[test]
    fn a_syn_ack_tells_the_other_side_where_its_syn_was_not_seen() {
        let out = [passed(Travel::Out, SYN | ACK, 7, 100)];
        assert_eq!(Initial::learn(&out), Initial { local: Some(7), remote: Some(99) });
        let back = [passed(Travel::In, SYN | ACK, 7, 100)];
        assert_eq!(Initial::learn(&back), Initial { local: Some(99), remote: Some(7) });
        assert_eq!(Initial::learn(&[passed(Travel::In, ACK, 1, 1)]), Initial::default());
    }

    #[test]
    fn an_answer_may_take_the_data_of_a_syn_in() {
        for travel in [Travel::Out, Travel::In] {
            let mut syn = passed(travel, SYN, 100, 0);
            syn.header.payload = 5;
            let story = [syn, passed(travel.back(), SYN | ACK, 7, 106)];
            let initial = Initial::learn(&story);
            assert_eq!((initial.of(travel), initial.of(travel.back())), (Some(100), Some(7)));
            assert_eq!(initial.relative(&story[1]), (Some(0), Some(6)));
        }
    }

    #[test]
    fn a_stranger_among_the_syns_changes_nothing() {
        let story = [
            passed(Travel::In, SYN, 5_000, 0),
            passed(Travel::In, SYN, 100, 0),
            passed(Travel::Out, SYN | ACK, 7, 101),
        ];
        let initial = Initial::learn(&story);
        assert_eq!(initial.remote, Some(100));
        assert_eq!(initial.relative(&story[0]).0, None);
        let refusal = passed(Travel::In, RST | ACK, 0, 8);
        assert_eq!(initial.relative(&refusal), (None, Some(1)));
    }
}
