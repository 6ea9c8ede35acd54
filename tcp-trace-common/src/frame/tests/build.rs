//! Frames, built header by header, to be read again.

use std::vec::Vec;

/// One frame with a TCP segment in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    /// Whether it begins with Ethernet, or with IP.
    pub(crate) is_ethernet: bool,
    /// VLAN tags, outermost first: control information.
    pub(crate) tags: Vec<u16>,
    /// What lies below TCP.
    pub(crate) network: Network,
    /// Ends: source and destination, of the family of `network` (IPv4 takes the last four bytes).
    pub(crate) addrs: [[u8; 16]; 2],
    /// Ports: source and destination.
    pub(crate) ports: [u16; 2],
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgement number.
    pub(crate) ack: u32,
    /// TCP flags.
    pub(crate) flags: u8,
    /// Window.
    pub(crate) window: u16,
    /// Words of TCP options, at most 10.
    pub(crate) options: u8,
    /// Bytes of payload.
    pub(crate) payload: u16,
    /// Whether IP says 0 for its length.
    pub(crate) is_endless: bool,
    /// Bytes behind the packet.
    pub(crate) padding: u8,
}

/// IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// IPv4 with words of options (at most 10), and its field of fragment flags and offset.
    V4 { options: u8, fragment: u16 },
    /// IPv6 with extension headers: kind, and length by the header's own unit.
    V6(Vec<(u8, u8)>),
}

impl Built {
    /// The bytes, and how many of them are headers that cannot be missing.
    pub(crate) fn bytes(&self) -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        if self.is_ethernet {
            bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
            for (nth, tag) in self.tags.iter().enumerate() {
                let kind: u16 = if nth + 1 < self.tags.len() { 0x88a8 } else { 0x8100 };
                bytes.extend(kind.to_be_bytes());
                bytes.extend(tag.to_be_bytes());
            }
            let kind: u16 = if self.is_v6() { 0x86dd } else { 0x0800 };
            bytes.extend(kind.to_be_bytes());
        }
        match &self.network {
            Network::V4 { options, fragment } => self.ipv4(&mut bytes, *options, *fragment),
            Network::V6(extensions) => self.ipv6(&mut bytes, extensions),
        }
        let needed = bytes.len() + 20;
        self.tcp(&mut bytes);
        bytes.extend((0..self.payload).map(|_| b'p'));
        bytes.extend((0..self.padding).map(|_| 0));
        (bytes, needed)
    }

    pub(crate) fn is_v6(&self) -> bool {
        matches!(self.network, Network::V6(_))
    }

    /// Bytes of the TCP header and its payload.
    fn segment_len(&self) -> u16 {
        20 + 4 * u16::from(self.options) + self.payload
    }

    fn ipv4(&self, bytes: &mut Vec<u8>, options: u8, fragment: u16) {
        let header = 20 + 4 * u16::from(options);
        let total = if self.is_endless { 0 } else { header + self.segment_len() };
        bytes.extend([0x45 + options, 0]);
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, 6, 0, 0]);
        for addr in &self.addrs {
            bytes.extend(&addr[12..]);
        }
        bytes.extend((0..4 * options).map(|_| 1));
    }

    fn ipv6(&self, bytes: &mut Vec<u8>, extensions: &[(u8, u8)]) {
        let before: u16 = extensions.iter().map(|each| extension_len(*each)).sum();
        let length = if self.is_endless { 0 } else { before + self.segment_len() };
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(length.to_be_bytes());
        let next = |nth: usize| extensions.get(nth).map_or(6, |(kind, _)| *kind);
        bytes.extend([next(0), 64]);
        for addr in &self.addrs {
            bytes.extend(addr);
        }
        for (nth, extension) in extensions.iter().enumerate() {
            bytes.extend([next(nth + 1), extension.1, 0, 0]);
            bytes.extend((4..extension_len(*extension)).map(|_| 0xee));
        }
    }

    fn tcp(&self, bytes: &mut Vec<u8>) {
        for port in self.ports {
            bytes.extend(port.to_be_bytes());
        }
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([(5 + self.options) << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend((0..4 * self.options).map(|_| 1));
    }
}

/// Bytes of an extension header.
fn extension_len((kind, length): (u8, u8)) -> u16 {
    match kind {
        44 => 8,
        51 => 4 * (u16::from(length) + 2),
        _ => 8 * (u16::from(length) + 1),
    }
}
