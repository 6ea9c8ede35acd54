//! A TCP segment as one end of a connection saw it pass: the form in which packet hooks and
//! captures reach the table.

use std::fmt;

use tcp_trace_common as wire;

use super::event::Flow;

/// A segment of a handshake, a teardown or a reset, at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEvent {
    /// Both ends, seen from the end at which it passed.
    pub flow: Flow,
    /// Inode of the network namespace of that end, where known.
    pub netns: Option<u32>,
    /// Whether that end sent it or got it.
    pub travel: Travel,
    /// Who saw it.
    pub witness: Witness,
    /// What its header says.
    pub header: SegmentHeader,
}

/// What the TCP header says, and how much came with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The flags.
    pub flags: SegmentFlags,
    /// Sequence number of its first byte (of its SYN, where it has one).
    pub seq: u32,
    /// Next byte its sender expects; nothing without ACK.
    pub ack: u32,
    /// Window as sent, not scaled.
    pub window: u16,
    /// Bytes of payload.
    pub payload: u32,
}

impl SegmentHeader {
    /// What it takes up in sequence space: payload, and one each for SYN and FIN.
    #[must_use]
    pub const fn sequence_len(&self) -> u32 {
        self.payload
            .wrapping_add(self.flags.has(wire::TCP_SYN) as u32)
            .wrapping_add(self.flags.has(wire::TCP_FIN) as u32)
    }

    /// Sequence number after its last byte.
    #[must_use]
    pub const fn sequence_end(&self) -> u32 {
        self.seq.wrapping_add(self.sequence_len())
    }
}

/// Which way a segment went, seen from one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Travel {
    /// To this end.
    In,
    /// From this end.
    Out,
}

impl Travel {
    /// The other way.
    #[must_use]
    pub const fn back(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }

    /// Name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Who saw a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Witness {
    /// XDP, on the way in.
    Xdp,
    /// TC or TCX ingress.
    TcIngress,
    /// TC or TCX egress.
    TcEgress,
    /// A capture file.
    Capture,
}

impl Witness {
    /// The hooks of the kernel, in the order of `SEGMENT_HOOK_*`.
    pub const HOOKS: [Self; wire::SEGMENT_HOOK_COUNT] =
        [Self::Xdp, Self::TcIngress, Self::TcEgress];

    /// By the number in a record.
    #[must_use]
    pub fn from_hook(number: u8) -> Option<Self> {
        Self::HOOKS.get(usize::from(number)).copied()
    }

    /// Name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::TcIngress => "tc_ingress",
            Self::TcEgress => "tc_egress",
            Self::Capture => "capture",
        }
    }

    /// Which way a segment goes that a hook sees; a capture tells it by the ends.
    #[must_use]
    pub const fn travel(self) -> Travel {
        match self {
            Self::TcEgress => Travel::Out,
            Self::Xdp | Self::TcIngress | Self::Capture => Travel::In,
        }
    }
}

/// The flags byte of a TCP header.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SegmentFlags(pub u8);

impl SegmentFlags {
    /// Names of the bits, in the order in which people write them.
    const NAMES: [(u8, &'static str); 8] = [
        (wire::TCP_SYN, "SYN"),
        (wire::TCP_FIN, "FIN"),
        (wire::TCP_RST, "RST"),
        (1 << 3, "PSH"),
        (wire::TCP_ACK, "ACK"),
        (1 << 5, "URG"),
        (1 << 6, "ECE"),
        (1 << 7, "CWR"),
    ];

    /// Whether any of `bits` is set.
    #[must_use]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Whether it is a SYN that asks for a connection.
    #[must_use]
    pub const fn is_syn(self) -> bool {
        self.has(wire::TCP_SYN) && !self.has(wire::TCP_ACK)
    }

    /// Whether it is a SYN that answers one.
    #[must_use]
    pub const fn is_syn_ack(self) -> bool {
        self.has(wire::TCP_SYN) && self.has(wire::TCP_ACK)
    }
}

impl fmt::Display for SegmentFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Self::NAMES.into_iter().filter(|(bit, _)| self.has(*bit));
        let names: Vec<_> = set.map(|(_, name)| name).collect();
        f.pad(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

impl fmt::Debug for SegmentFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_people_write_them() {
        let text = |bits| SegmentFlags(bits).to_string();
        assert_eq!(text(0x12), "SYN,ACK");
        assert_eq!(text(0x19), "FIN,PSH,ACK");
        assert_eq!(text(0), "none");
    }

    #[test]
    fn syn_and_fin_take_a_place_in_sequence_space() {
        let header = |bits, payload| SegmentHeader {
            flags: SegmentFlags(bits),
            seq: u32::MAX,
            payload,
            ..SegmentHeader::default()
        };
        assert_eq!(header(wire::TCP_SYN, 0).sequence_end(), 0);
        assert_eq!(header(wire::TCP_FIN | wire::TCP_ACK, 10).sequence_end(), 10);
        assert_eq!(header(wire::TCP_ACK, 0).sequence_len(), 0);
    }
}
