//! Segments as objects of the API.

use super::{Segments, Wire};
use crate::core::{reading::WireSegment, statistics::SegmentCounts};

/// What packet hooks saw of a segment.
pub(super) fn wire(segment: &WireSegment) -> Wire {
    let header = &segment.header;
    Wire {
        dir: segment.travel.name().to_owned(),
        flags: header.flags.to_string(),
        seq: header.seq,
        ack: Some(header.ack).filter(|_| header.flags.has(tcp_trace_common::TCP_ACK)),
        seq_relative: segment.seq_relative,
        ack_relative: segment.ack_relative,
        len: header.payload,
        window: header.window,
        retransmit: segment.retransmit,
        again_after_us: segment
            .retransmit
            .then(|| u64::try_from(segment.again_after.as_micros()).unwrap_or(u64::MAX)),
        data_in: segment.data_in,
        data_out: segment.data_out,
        witness: segment.witness.name().to_owned(),
    }
}

impl From<SegmentCounts> for Segments {
    fn from(counts: SegmentCounts) -> Self {
        let SegmentCounts { joined, after_end, strangers, refused, pending } = counts;
        Self { joined, after_end, strangers, refused, pending }
    }
}
