//! Writes captures and the frames in them.

use std::net::{IpAddr, SocketAddr};

use super::super::conversations::Sighting;
use crate::core::segment::SegmentHeader;

/// Numbers in one byte order or the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order(pub(super) bool);

impl Order {
    pub(super) fn u16(self, value: u16) -> [u8; 2] {
        if self.0 { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u32(self, value: u32) -> [u8; 4] {
        if self.0 { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(super) fn u64(self, value: u64) -> [u8; 8] {
        if self.0 { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// A packet to be written: nanoseconds since the epoch, its bytes, and how many of them are kept.
pub(super) struct Written<'a>(pub(super) u64, pub(super) &'a [u8], pub(super) usize);

pub(super) fn pcap(order: Order, nanos: bool, link: u32, packets: &[Written<'_>]) -> Vec<u8> {
    let magic: u32 = if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = order.u32(magic).to_vec();
    file.extend(order.u16(2).into_iter().chain(order.u16(4)));
    for word in [0, 0, 65_535, link] {
        file.extend(order.u32(word));
    }
    for Written(at, bytes, kept) in packets {
        let fraction = if nanos { at % 1_000_000_000 } else { at % 1_000_000_000 / 1000 };
        let kept = (*kept).min(bytes.len());
        let words = [at / 1_000_000_000, fraction, kept as u64, bytes.len() as u64];
        for word in words {
            file.extend(order.u32(u32::try_from(word).unwrap()));
        }
        file.extend(&bytes[..kept]);
    }
    file
}

pub(super) fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = body.len().next_multiple_of(4) - body.len();
    let length = u32::try_from(body.len() + padding + 12).unwrap();
    let mut block = [order.u32(kind), order.u32(length)].concat();
    block.extend(body);
    block.extend(vec![0; padding]);
    block.extend(order.u32(length));
    block
}

pub(super) fn section(order: Order) -> Vec<u8> {
    let version = [order.u16(1), order.u16(0)].concat();
    let body = [&order.u32(0x1a2b_3c4d)[..], &version, &order.u64(u64::MAX)].concat();
    block(order, 0x0a0d_0d0a, &body)
}

/// An interface with its options: code and value.
pub(super) fn interface(
    order: Order,
    link: u16,
    snaplen: u32,
    options: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut body = [&order.u16(link)[..], &[0, 0], &order.u32(snaplen)].concat();
    for (code, value) in options {
        body.extend(order.u16(*code));
        body.extend(order.u16(u16::try_from(value.len()).unwrap()));
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    if !options.is_empty() {
        body.extend([0; 4]);
    }
    block(order, 1, &body)
}

/// An enhanced packet at `units` of its interface's clock.
pub(super) fn packet(order: Order, interface: u32, units: u64, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    let halves = [u32::try_from(units >> 32).unwrap(), low(units)];
    let words = [interface, halves[0], halves[1], length, length];
    let head: Vec<u8> = words.into_iter().flat_map(|word| order.u32(word)).collect();
    block(order, 6, &[&head, bytes].concat())
}

/// The lower half.
pub(super) fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap()
}

/// A segment behind the header of a link type; payload is zeros.
pub(super) fn frame(link: u32, sighting: &Sighting) -> Vec<u8> {
    let v6 = sighting.source.is_ipv6();
    let ether_type: [u8; 2] = if v6 { [0x86, 0xdd] } else { [8, 0] };
    let mut frame = match link {
        1 => [&[0; 12], &ether_type[..]].concat(),
        0 => [if v6 { 30 } else { 2 }, 0, 0, 0].to_vec(),
        108 => [0, 0, 0, if v6 { 24 } else { 2 }].to_vec(),
        113 => [&[0; 14], &ether_type[..]].concat(),
        276 => [&ether_type[..], &[0; 18]].concat(),
        _ => Vec::new(),
    };
    let SegmentHeader { flags, seq, ack, window, payload } = sighting.header;
    let payload = payload as usize;
    let length = u16::try_from(20 + payload).unwrap();
    match (sighting.source.ip(), sighting.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend(sighting.identification.to_be_bytes());
            frame.extend([0x40, 0, 64, 6, 0, 0]);
            frame.extend([source.octets(), destination.octets()].concat());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([source.octets(), destination.octets()].concat());
        }
        _ => panic!("two families"),
    }
    let port = |end: SocketAddr| end.port().to_be_bytes();
    frame.extend([port(sighting.source), port(sighting.destination)].concat());
    frame.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    frame.extend([0x50, flags.0]);
    frame.extend(window.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(vec![0; payload]);
    frame
}
