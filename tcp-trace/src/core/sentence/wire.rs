//! One plain sentence for each segment that passed.

use super::{bytes_text, span_text};
use crate::core::{
    reading::{Part, WireSegment},
    segment::Travel,
};

/// What a segment means.
pub(super) fn of_segment(segment: &WireSegment) -> String {
    match segment.travel {
        Travel::In => of_arrival(segment),
        Travel::Out => of_departure(segment),
    }
}

fn of_arrival(segment: &WireSegment) -> String {
    let again = again(segment);
    match segment.part {
        Part::Syn => format!("the peer's SYN came{again}{}", early_data(segment)),
        Part::OldSyn => {
            format!("an old duplicate SYN came{again}: it belongs to no part of this connection")
        }
        Part::SynAck => format!("the peer's SYN-ACK came{again}{}", early_data(segment)),
        Part::HandshakeAck => format!("the peer's ACK ended the handshake{again}"),
        Part::Fin { acknowledges } => format!(
            "the peer's FIN{} came{again}{}",
            if acknowledges { ", and its ACK of ours," } else { "" },
            total(segment)
        ),
        Part::FinAck => format!("the peer's ACK of our FIN came{again}"),
        Part::Reset => format!("the peer's RST came{again}"),
        Part::Ack => format!("an ACK of the peer's came{again}"),
    }
}

fn of_departure(segment: &WireSegment) -> String {
    if segment.retransmit {
        let after = span_text(segment.again_after);
        return match segment.part {
            Part::Syn | Part::OldSyn => {
                format!("the SYN was sent again after {after}: no answer had come")
            }
            Part::SynAck => format!("the SYN-ACK was sent again after {after}: no ACK had come"),
            Part::Fin { .. } => format!("the FIN was sent again after {after}: no ACK had come"),
            Part::HandshakeAck | Part::FinAck | Part::Ack => {
                format!("our ACK went out again after {after}")
            }
            Part::Reset => format!("our RST went out again after {after}"),
        };
    }
    match segment.part {
        Part::Syn | Part::OldSyn => format!("our SYN went out{}", early_data(segment)),
        Part::SynAck => format!("our SYN-ACK went out{}", early_data(segment)),
        Part::HandshakeAck => "our ACK ended the handshake".to_owned(),
        Part::Fin { acknowledges } => format!(
            "our FIN{} went out{}",
            if acknowledges { ", and our ACK of the peer's," } else { "" },
            total(segment)
        ),
        Part::FinAck => "our ACK of the peer's FIN".to_owned(),
        Part::Reset => "our RST went out".to_owned(),
        Part::Ack => "our ACK went out".to_owned(),
    }
}

fn again(segment: &WireSegment) -> String {
    if segment.retransmit {
        format!(" again after {}", span_text(segment.again_after))
    } else {
        String::new()
    }
}

fn early_data(segment: &WireSegment) -> String {
    match segment.header.payload {
        0 => String::new(),
        bytes => format!(" with {} of data (Fast Open)", bytes_text(bytes)),
    }
}

fn total(segment: &WireSegment) -> String {
    segment.total.map_or_else(String::new, |bytes| format!(" after {}", bytes_text(bytes)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::segment::{SegmentHeader, Witness};

    fn segment(travel: Travel, part: Part) -> WireSegment {
        WireSegment {
            travel,
            witness: Witness::Xdp,
            header: SegmentHeader::default(),
            seq_relative: None,
            ack_relative: None,
            part,
            retransmit: false,
            again_after: Duration::ZERO,
            data_in: 0,
            data_out: 0,
            total: None,
        }
    }

    #[test]
    fn every_part_of_either_side_has_a_sentence_of_its_own() {
        let parts = [
            Part::Syn,
            Part::SynAck,
            Part::HandshakeAck,
            Part::Fin { acknowledges: false },
            Part::Fin { acknowledges: true },
            Part::FinAck,
            Part::Reset,
            Part::Ack,
        ];
        let mut sentences = std::collections::HashSet::new();
        for travel in [Travel::In, Travel::Out] {
            for part in parts {
                let first = segment(travel, part);
                assert!(sentences.insert(of_segment(&first)), "{part:?}");
                let after = Duration::from_millis(204);
                let again = WireSegment { retransmit: true, again_after: after, ..first };
                assert!(of_segment(&again).contains(" again after 204 ms"), "{part:?}");
            }
        }
    }

    #[test]
    fn figures_are_said_where_they_are_known() {
        let fin = segment(Travel::In, Part::Fin { acknowledges: false });
        let text = of_segment(&WireSegment { total: Some(412), ..fin });
        assert_eq!(text, "the peer's FIN came after 412 B");
        let mut syn = segment(Travel::Out, Part::Syn);
        syn.header.payload = 12;
        assert_eq!(of_segment(&syn), "our SYN went out with 12 B of data (Fast Open)");
        let mut fin = segment(Travel::Out, Part::Fin { acknowledges: false });
        (fin.retransmit, fin.again_after) = (true, Duration::from_millis(204));
        assert_eq!(of_segment(&fin), "the FIN was sent again after 204 ms: no ACK had come");
    }
}
