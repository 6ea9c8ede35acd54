//! Segments as objects of the API.

use serde::{Deserialize, Serialize};

use crate::core::{reading::WireSegment, statistics::SegmentCounts};

/// A segment as packet hooks saw it pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// `in` or `out`, seen from this host's end.
    pub dir: String,
    /// Its flags: `SYN,ACK`.
    pub flags: String,
    /// Sequence number as sent.
    pub seq: u32,
    /// Acknowledgement number as sent; `null` without ACK.
    pub ack: Option<u32>,
    /// Sequence number counted from its sender's initial one; `null` where that is not known.
    pub seq_relative: Option<u32>,
    /// Acknowledgement number counted from the receiver's initial one; `null` where that is not
    /// known.
    pub ack_relative: Option<u32>,
    /// Bytes of payload.
    pub len: u32,
    /// Window as sent, not scaled.
    pub window: u16,
    /// Whether its sender had sent it before.
    pub retransmit: bool,
    /// Microseconds since it was sent the last time; `null` the first time.
    pub again_after_us: Option<u64>,
    /// Payload bytes that came since the segment before, in segments that are not shown.
    pub data_in: u64,
    /// Payload bytes that were sent since the segment before, in segments that are not shown.
    pub data_out: u64,
    /// Who saw it: `xdp`, `tc_ingress`, `tc_egress` or `capture`.
    pub witness: String,
}

/// Segments by what has become of them; each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments {
    /// In the timeline of their connection.
    pub joined: u64,
    /// In that of a connection that had ended before.
    pub after_end: u64,
    /// Of no socket of this host.
    pub strangers: u64,
    /// Not kept until their connection was known, for want of room.
    pub refused: u64,
    /// Waiting for their connection.
    pub pending: u64,
}

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
