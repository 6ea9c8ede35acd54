//! Frames of every shape, whole and broken, by chance that can be repeated.

use tcp_trace_common::{
    TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN,
    frame::{Link, parse_slice},
};

use super::build::{Built, Network};
use crate::storm::random::Random;

/// The kernel tries no frame that is shorter.
const SHORTEST: usize = 15;

/// A frame as wanted: valid, or made so and then cut, changed in a few bits, or of any bytes.
pub(crate) fn frame(
    random: &mut Random,
    is_ethernet: bool,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    loop {
        let frame = any_frame(random, is_ethernet);
        if is_wanted(&frame) {
            return frame;
        }
    }
}

fn any_frame(random: &mut Random, is_ethernet: bool) -> Vec<u8> {
    let (mut bytes, headers) = valid(random, is_ethernet).bytes();
    match random.below(10) {
        0..=4 => {}
        5 | 6 => bytes.truncate(random.below(headers + 8)),
        7 | 8 => {
            for _ in 0..=random.below(4) {
                let at = random.below(headers.min(bytes.len()));
                bytes[at] ^= 1 << random.below(8);
            }
        }
        _ => bytes = (0..random.below(200)).map(|_| any(random)).collect(),
    }
    while bytes.len() < SHORTEST {
        bytes.push(any(random));
    }
    bytes
}

/// Whether the kernel tries it with a TC program.
pub(crate) fn is_tried(frame: &[u8]) -> bool {
    frame.len() >= least_linear(frame)
}

/// Bytes that must lie in one piece for the kernel to try a frame with a TC program: since 6.18 an
/// IP header behind Ethernet, too.
pub(crate) fn least_linear(frame: &[u8]) -> usize {
    match frame[12..14] {
        [0x08, 0x00] => 34,
        [0x86, 0xdd] => 54,
        _ => 14,
    }
}

/// A SYN longer than a page, with headers of any shape.
pub(crate) fn long_syn(random: &mut Random) -> Vec<u8> {
    loop {
        let shape =
            Built { flags: TCP_SYN, payload: 5000, is_endless: false, ..valid(random, true) };
        let (bytes, _) = shape.bytes();
        if parse_slice(&bytes, Link::Ethernet).is_ok() {
            return bytes;
        }
    }
}

fn valid(random: &mut Random, is_ethernet: bool) -> Built {
    let tags = if is_ethernet { random.below(4) } else { 0 };
    // Few ends, so that flows come again and ACKs find what they acknowledge.
    let ends = [[0x20; 16], [0x20; 16], [0xfd; 16]];
    let flags = [
        TCP_SYN,
        TCP_SYN | TCP_ACK,
        TCP_ACK,
        TCP_ACK | 8,
        TCP_FIN | TCP_ACK,
        TCP_RST,
        TCP_RST | TCP_ACK,
        any(random),
    ];
    Built {
        is_ethernet,
        tags: (0..tags).map(|_| u16::from_be_bytes([any(random), any(random)])).collect(),
        network: network(random),
        addrs: [random.one_of(&ends), random.one_of(&ends)],
        ports: [random.one_of(&[443, 40_000, 40_001]), random.one_of(&[443, 40_000])],
        seq: number(random),
        ack: number(random),
        flags: random.one_of(&flags),
        window: u16::from_be_bytes([any(random), any(random)]),
        options: byte_below(random, 11),
        payload: random.one_of(&[0, 0, 1, 100]),
        is_endless: random.below(50) == 0,
        padding: random.one_of(&[0, 0, 6, 40]),
    }
}

fn network(random: &mut Random) -> Network {
    if random.below(2) == 0 {
        let fragment = random.one_of(&[0, 0x4000, 0x4000, 0x2000, 0x2001, 7]);
        return Network::V4 { options: byte_below(random, 11), fragment };
    }
    // One more than is looked at, and now and then longer than is looked at.
    let extensions = if random.below(2) == 0 { 0 } else { random.below(10) };
    let longest = random.one_of(&[2, 5, 40]);
    let extension = |random: &mut Random| match random.one_of(&[0, 43, 44, 51, 60, 60, 17, 59]) {
        // Its second byte means nothing.
        44 => (44, 0),
        kind => (kind, byte_below(random, longest)),
    };
    Network::V6((0..extensions).map(|_| extension(random)).collect())
}

/// Often near one another, and near the wrap.
fn number(random: &mut Random) -> u32 {
    let near = random.one_of(&[0, 0x8000_0000, u32::MAX - 50]);
    u32::from(any(random)).wrapping_add(near)
}

fn any(random: &mut Random) -> u8 {
    byte_below(random, 256)
}

fn byte_below(random: &mut Random, end: usize) -> u8 {
    u8::try_from(random.below(end)).unwrap()
}
