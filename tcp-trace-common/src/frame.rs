//! Frames, read down to the TCP header: the one parser of packet programs and captures.
//!
//! It asks a [`Frame`] for views of a few bytes each, so that the kernel's verifier sees one check of
//! bounds per header; [`parse_slice`] is the same walk over bytes in memory. Read are Ethernet, up to
//! two VLAN tags, IPv4 with options, IPv6 with up to [`MOST_EXTENSIONS`] extension headers, and the
//! fixed part of the TCP header: its options may be missing.
#![expect(
    clippy::inline_always,
    reason = "the verifier must see each check of bounds with its read"
)]

mod slice;
#[cfg(test)]
mod tests;
mod walk;

pub use slice::{Slice, parse_slice};
pub use walk::parse;

use crate::{
    SEGMENT_CUT, SEGMENT_FIN, SEGMENT_FRAGMENT, SEGMENT_NOT_TCP, SEGMENT_OTHER, SEGMENT_RST,
    SEGMENT_SYN, SEGMENT_SYN_ACK, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN,
};

/// VLAN tags that are looked through.
pub const MOST_TAGS: usize = 2;
/// Extension headers of IPv6 that are looked through.
pub const MOST_EXTENSIONS: usize = 8;
/// A TCP header that begins beyond this many bytes is not looked for.
pub const MOST_BYTES_BEFORE: usize = 448;
/// Bit of [`Segment::vlan`]: there is a tag.
pub const VLAN_PRESENT: u16 = 1 << 12;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of an outer VLAN tag, by 802.1ad.
pub const ETHERTYPE_VLAN_OUTER: u16 = 0x88a8;

/// Whether a VLAN tag follows.
#[must_use]
#[inline(always)]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_VLAN_OUTER)
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// IPv4 or IPv6, as the first byte tells.
    Ip,
    /// What this EtherType stands for: an IP header or the rest of a VLAN tag.
    EtherType(u16),
}

/// Why a frame has no TCP header to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// No TCP, or no IP at all.
    NotTcp,
    /// A fragment other than the first.
    Fragment,
    /// Ends before its headers do, holds more of them than are looked at, or breaks their rules.
    Cut,
}

impl Skip {
    /// Its place among the fates: `SEGMENT_*`.
    #[must_use]
    #[inline(always)]
    pub const fn fate(self) -> usize {
        match self {
            Self::NotTcp => SEGMENT_NOT_TCP,
            Self::Fragment => SEGMENT_FRAGMENT,
            Self::Cut => SEGMENT_CUT,
        }
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source address; IPv4 as `::ffff:a.b.c.d`.
    pub source_addr: [u8; 16],
    /// Destination address; IPv4 as `::ffff:a.b.c.d`.
    pub destination_addr: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; nothing where `TCP_ACK` is not set.
    pub ack: u32,
    /// The flags byte of the TCP header.
    pub flags: u8,
    /// Window as sent, not scaled.
    pub window: u16,
    /// Bytes of payload, by the length that IP tells; by the frame's where IP tells 0 (a segment
    /// that the card is to cut can be longer than IP can say).
    pub payload: u32,
    /// The outermost VLAN tag's control information with [`VLAN_PRESENT`] in place of bit 12; 0
    /// where there is no tag.
    pub vlan: u16,
}

/// A frame that can be looked at.
pub trait Frame {
    /// Some of its bytes.
    type View: View;

    /// `N` bytes (at least 4) from `at` on; `None` where the frame ends before.
    fn view<const N: usize>(&self, at: usize) -> Option<Self::View>;

    /// Bytes of the whole frame, also of what cannot be looked at.
    fn length(&self) -> u32;

    /// `at`, which is at most [`MOST_BYTES_BEFORE`], so that whoever checks the code knows this of it,
    /// and nothing else.
    #[must_use]
    #[inline(always)]
    fn bounded(&self, at: usize) -> usize {
        at
    }
}

/// Bytes that are there. `AT` and what is read from there must lie in the view.
pub trait View {
    /// One byte.
    fn byte<const AT: usize>(&self) -> u8;
    /// Two bytes in network order.
    fn half<const AT: usize>(&self) -> u16;
    /// Four bytes in network order.
    fn word<const AT: usize>(&self) -> u32;
}

/// The headers of a segment, where they were found.
#[derive(Clone, Copy, Debug)]
pub struct Headers<V> {
    /// The IP header: its first 20 or 40 bytes.
    pub network: V,
    /// The TCP header: its first 20 bytes.
    pub tcp: V,
    /// Whether `network` is IPv6's.
    pub is_v6: bool,
    /// As [`Segment::vlan`].
    pub vlan: u16,
    /// As [`Segment::payload`].
    pub payload: u32,
}

impl<V: View> Headers<V> {
    /// The flags byte of the TCP header.
    #[inline(always)]
    pub fn flags(&self) -> u8 {
        self.tcp.byte::<13>()
    }

    /// Sequence number.
    #[inline(always)]
    pub fn seq(&self) -> u32 {
        self.tcp.word::<4>()
    }

    /// Acknowledgement number.
    #[inline(always)]
    pub fn ack(&self) -> u32 {
        self.tcp.word::<8>()
    }

    /// Window, not scaled.
    #[inline(always)]
    pub fn window(&self) -> u16 {
        self.tcp.half::<14>()
    }

    /// Source port.
    #[inline(always)]
    pub fn source_port(&self) -> u16 {
        self.tcp.half::<0>()
    }

    /// Destination port.
    #[inline(always)]
    pub fn destination_port(&self) -> u16 {
        self.tcp.half::<2>()
    }

    /// Source address, v4-mapped, as words of its bytes in network order.
    #[inline(always)]
    pub fn source(&self) -> [u32; 4] {
        let ip = &self.network;
        if self.is_v6 {
            [ip.word::<8>(), ip.word::<12>(), ip.word::<16>(), ip.word::<20>()]
        } else {
            [0, 0, 0xffff, ip.word::<12>()]
        }
    }

    /// Destination address, likewise.
    #[inline(always)]
    pub fn destination(&self) -> [u32; 4] {
        let ip = &self.network;
        if self.is_v6 {
            [ip.word::<24>(), ip.word::<28>(), ip.word::<32>(), ip.word::<36>()]
        } else {
            [0, 0, 0xffff, ip.word::<16>()]
        }
    }
}

/// The fate of a segment with these flags, as far as they tell: `SEGMENT_*`, never `SEGMENT_ACK`.
#[must_use]
#[inline(always)]
pub const fn fate_of(flags: u8) -> usize {
    if flags & TCP_RST != 0 {
        SEGMENT_RST
    } else if flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK {
        SEGMENT_SYN_ACK
    } else if flags & TCP_SYN != 0 {
        SEGMENT_SYN
    } else if flags & TCP_FIN != 0 {
        SEGMENT_FIN
    } else {
        SEGMENT_OTHER
    }
}
