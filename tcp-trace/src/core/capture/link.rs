//! Link types: what stands before the IP header of a captured packet.

use tcp_trace_common::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Link, Skip, Slice};

/// The link types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header, VLAN tags included.
    Ethernet,
    /// BSD's loopback: an address family in the byte order of the host.
    Null,
    /// OpenBSD's loopback: the same in network order.
    Loop,
    /// An IP header; three numbers, by the system that wrote the file.
    Raw,
    /// An IPv4 header.
    Ipv4,
    /// An IPv6 header.
    Ipv6,
    /// Linux's `any` interface.
    Sll,
    /// Linux's `any` interface, with the interface's number.
    Sll2,
}

/// Numbers in files, as in tcpdump's list.
const NUMBERS: [(u32, LinkType, &str); 10] = [
    (1, LinkType::Ethernet, "Ethernet"),
    (0, LinkType::Null, "NULL"),
    (108, LinkType::Loop, "LOOP"),
    (101, LinkType::Raw, "RAW"),
    (12, LinkType::Raw, "RAW"),
    (14, LinkType::Raw, "RAW"),
    (228, LinkType::Ipv4, "IPV4"),
    (229, LinkType::Ipv6, "IPV6"),
    (113, LinkType::Sll, "LINUX_SLL"),
    (276, LinkType::Sll2, "LINUX_SLL2"),
];

/// The types that are read, for a message.
pub(super) fn names() -> String {
    NUMBERS.map(|(number, _, name)| format!("{number} ({name})")).join(", ")
}

impl LinkType {
    /// By its number in a file.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        NUMBERS.into_iter().find_map(|(known, link, _)| (known == number).then_some(link))
    }

    /// What is left of a packet behind this header, and how it is to be read.
    pub(super) fn strip(self, packet: Captured<'_>) -> Result<(Link, Captured<'_>), Skip> {
        let ether_type = |at: usize| {
            let bytes = packet.bytes.get(at..).and_then(|rest| rest.first_chunk().copied());
            bytes.map(u16::from_be_bytes).map(Link::EtherType).ok_or(Skip::Cut)
        };
        let (link, length) = match self {
            Self::Ethernet => (Link::Ethernet, 0),
            Self::Raw => (Link::Ip, 0),
            Self::Ipv4 => (Link::EtherType(ETHERTYPE_IPV4), 0),
            Self::Ipv6 => (Link::EtherType(ETHERTYPE_IPV6), 0),
            // Which number stands for IPv6 depends on the system; the header itself tells.
            Self::Null | Self::Loop => (Link::Ip, 4),
            Self::Sll => (ether_type(14)?, 16),
            Self::Sll2 => (ether_type(0)?, 20),
        };
        Ok((link, packet.behind(length).ok_or(Skip::Cut)?))
    }
}

/// A packet of which the end may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Captured<'a> {
    /// What was captured.
    pub(super) bytes: &'a [u8],
    /// Bytes it had on the wire.
    pub(super) length: u32,
}

impl Captured<'_> {
    fn behind(self, header: usize) -> Option<Self> {
        let length = self.length.saturating_sub(u32::try_from(header).unwrap_or(u32::MAX));
        Some(Self { bytes: self.bytes.get(header..)?, length })
    }
}

impl<'a> Frame for Captured<'a> {
    type View = Slice<'a>;

    fn view<const N: usize>(&self, at: usize) -> Option<Slice<'a>> {
        Slice(self.bytes).view::<N>(at)
    }

    fn length(&self) -> u32 {
        self.length
    }
}
