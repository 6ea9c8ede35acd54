//! Built frames read back, by table and by chance.

mod build;

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use build::{Built, Network};

const PLAIN: Network = Network::V4 { options: 0, fragment: 0 };

fn built(network: Network) -> Built {
    Built {
        is_ethernet: true,
        tags: vec![],
        network,
        addrs: [[0x20; 16], [0x40; 16]],
        ports: [40_000, 443],
        seq: 0x0102_0304,
        ack: 0x0506_0708,
        flags: TCP_FIN | TCP_ACK,
        window: 502,
        options: 3,
        payload: 7,
        is_endless: false,
        padding: 0,
    }
}

fn link(built: &Built) -> Link {
    if built.is_ethernet { Link::Ethernet } else { Link::Ip }
}

fn read(built: &Built) -> Result<Segment, Skip> {
    parse_slice(&built.bytes().0, link(built))
}

/// What the frame holds, as it was ordered.
fn ordered(built: &Built) -> Segment {
    let addr = |addr: [u8; 16]| {
        let mut mapped = addr;
        if !built.is_v6() {
            mapped[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        }
        mapped
    };
    Segment {
        source_addr: addr(built.addrs[0]),
        destination_addr: addr(built.addrs[1]),
        source_port: built.ports[0],
        destination_port: built.ports[1],
        seq: built.seq,
        ack: built.ack,
        flags: built.flags,
        window: built.window,
        payload: u32::from(built.payload)
            + if built.is_endless { u32::from(built.padding) } else { 0 },
        vlan: built.tags.first().map_or(0, |tag| tag | VLAN_PRESENT),
    }
}

#[test]
fn a_plain_segment() {
    let bytes = built(PLAIN).bytes().0;
    let segment = parse_slice(&bytes, Link::Ethernet).unwrap();
    assert_eq!(segment.source_addr, *b"\0\0\0\0\0\0\0\0\0\0\xff\xff    ");
    assert_eq!(segment.destination_addr, *b"\0\0\0\0\0\0\0\0\0\0\xff\xff@@@@");
    assert_eq!((segment.source_port, segment.destination_port), (40_000, 443));
    assert_eq!((segment.seq, segment.ack), (0x0102_0304, 0x0506_0708));
    assert_eq!((segment.flags, segment.window), (TCP_FIN | TCP_ACK, 502));
    assert_eq!((segment.payload, segment.vlan), (7, 0));
    assert_eq!(parse_slice(&bytes[14..], Link::Ip), Ok(segment));
    assert_eq!(parse_slice(&bytes[14..], Link::EtherType(ETHERTYPE_IPV4)), Ok(segment));
}

#[test]
fn tags() {
    for tags in [vec![], vec![5], vec![0x2005, 0xfff7]] {
        let frame = Built { tags: tags.clone(), ..built(Network::V6(vec![])) };
        assert_eq!(read(&frame), Ok(ordered(&frame)), "{tags:?}");
    }
    let frame = Built { tags: vec![1, 2, 3], ..built(PLAIN) };
    assert_eq!(read(&frame), Err(Skip::Cut));
    let tagged = Built { tags: vec![9], ..built(PLAIN) };
    let behind = &tagged.bytes().0[14..];
    let segment = parse_slice(behind, Link::EtherType(ETHERTYPE_VLAN));
    assert_eq!(segment, Ok(ordered(&tagged)));
}

#[test]
fn extension_headers() {
    for (extensions, fate) in [
        (vec![(0, 0)], Ok(())),
        (vec![(0, 1), (60, 0), (43, 2), (44, 0), (51, 4), (60, 3)], Ok(())),
        (vec![(60, 0); MOST_EXTENSIONS], Ok(())),
        (vec![(60, 0); MOST_EXTENSIONS + 1], Err(Skip::Cut)),
        // 14 + 40 bytes come before, and 448 is the most.
        (vec![(60, 47), (44, 0)], Ok(())),
        (vec![(60, 48), (44, 0)], Err(Skip::Cut)),
        (vec![(0, 255)], Err(Skip::Cut)),
        (vec![(59, 0)], Err(Skip::NotTcp)),
        (vec![(0, 0), (17, 0)], Err(Skip::NotTcp)),
        (vec![(50, 0)], Err(Skip::NotTcp)),
    ] {
        let frame = built(Network::V6(extensions.clone()));
        assert_eq!(read(&frame), fate.map(|()| ordered(&frame)), "{extensions:?}");
    }
}

#[test]
fn fragments() {
    for (fragment, is_read) in
        [(0, true), (0x2000, true), (0x4000, true), (1, false), (0x3fff, false)]
    {
        let frame = built(Network::V4 { options: 1, fragment });
        let wanted = if is_read { Ok(ordered(&frame)) } else { Err(Skip::Fragment) };
        assert_eq!(read(&frame), wanted, "{fragment:#x}");
    }
    for (field, follows, fate) in [
        (1u16, 6, None), // more to come, at offset 0
        (8, 6, Some(Skip::Fragment)),
        (0xfff9, 60, Some(Skip::Fragment)),
        (8, 17, Some(Skip::NotTcp)),
    ] {
        let frame = built(Network::V6(vec![(44, 0)]));
        let mut bytes = frame.bytes().0;
        bytes[54] = follows;
        bytes[56..58].copy_from_slice(&field.to_be_bytes());
        let wanted = fate.map_or(Ok(ordered(&frame)), Err);
        assert_eq!(parse_slice(&bytes, Link::Ethernet), wanted, "{field:#x} {follows}");
    }
}

#[test]
fn broken_headers() {
    // Where a byte of a plain frame is another one.
    for (at, value, fate) in [
        (12, 0x08 ^ 1, Skip::NotTcp), // EtherType
        (14, 0x65, Skip::NotTcp),     // version
        (14, 0x44, Skip::Cut),        // IPv4 header of 16 bytes
        (14, 0x4f, Skip::Cut),        // of 60, which are not there
        (23, 17, Skip::NotTcp),       // protocol
        (17, 51, Skip::Cut),          // total length below the headers' 52
        (46, 0x40, Skip::Cut),        // TCP header of 16 bytes
        (46, 0xb0, Skip::Cut),        // of 44, more than IP says is there
    ] {
        let mut bytes = built(PLAIN).bytes().0;
        bytes[at] = value;
        assert_eq!(parse_slice(&bytes, Link::Ethernet), Err(fate), "{at} {value:#x}");
    }
    assert_eq!(parse_slice(&[0x50; 60], Link::Ip), Err(Skip::NotTcp));
    assert_eq!(parse_slice(&[], Link::Ip), Err(Skip::Cut));
    assert_eq!(parse_slice(&[], Link::EtherType(0x0806)), Err(Skip::NotTcp));
}

#[test]
fn segments_longer_than_ip_can_say() {
    for network in [PLAIN, Network::V6(vec![(0, 0)])] {
        let frame = Built { is_endless: true, padding: 100, ..built(network) };
        assert_eq!(read(&frame).unwrap().payload, 107);
    }
}

#[test]
fn flags_tell_the_fate() {
    for (flags, fate) in [
        (TCP_SYN, SEGMENT_SYN),
        (TCP_SYN | 0xc0, SEGMENT_SYN),
        (TCP_SYN | TCP_ACK, SEGMENT_SYN_ACK),
        (TCP_FIN, SEGMENT_FIN),
        (TCP_FIN | TCP_ACK | 8, SEGMENT_FIN),
        (TCP_RST, SEGMENT_RST),
        (TCP_RST | TCP_ACK, SEGMENT_RST),
        (TCP_SYN | TCP_RST | TCP_FIN | TCP_ACK, SEGMENT_RST),
        (TCP_SYN | TCP_FIN, SEGMENT_SYN),
        (TCP_ACK | 8, SEGMENT_OTHER),
        (0, SEGMENT_OTHER),
    ] {
        assert_eq!(fate_of(flags), fate, "{flags:#x}");
    }
}

fn networks() -> impl Strategy<Value = Network> {
    let kind = prop::sample::select(vec![0u8, 43, 44, 51, 60]);
    // As many and as long as are looked at: 8 of 40 bytes, behind at most 62.
    let extensions = prop::collection::vec((kind, 0..5u8), 0..=MOST_EXTENSIONS);
    prop_oneof![
        (0..=10u8, prop::sample::select(vec![0u16, 0x2000, 0x4000]))
            .prop_map(|(options, fragment)| Network::V4 { options, fragment }),
        extensions.prop_map(|mut extensions| {
            for extension in extensions.iter_mut().filter(|(kind, _)| *kind == 44) {
                extension.1 = 0;
            }
            Network::V6(extensions)
        }),
    ]
}

prop_compose! {
    fn frames()(
        is_ethernet: bool,
        tags in prop::collection::vec(any::<u16>(), 0..=MOST_TAGS),
        network in networks(),
        addrs: [[u8; 16]; 2],
        ports: [u16; 2],
        numbers: (u32, u32, u16),
        flags: u8,
        options in 0..=10u8,
        payload in 0..1500u16,
        padding in 0..60u8,
    ) -> Built {
        Built {
            is_ethernet,
            tags: if is_ethernet { tags } else { Vec::new() },
            network,
            addrs,
            ports,
            seq: numbers.0,
            ack: numbers.1,
            flags,
            window: numbers.2,
            options,
            payload,
            is_endless: false,
            padding,
        }
    }
}

proptest! {
    #[test]
    fn a_built_frame_reads_back_whatever_follows_it(frame in frames(), more in 0..60u8) {
        prop_assert_eq!(read(&frame), Ok(ordered(&frame)));
        let padded = Built { padding: frame.padding + more, ..frame.clone() };
        prop_assert_eq!(read(&padded), read(&frame));
    }

    #[test]
    fn a_cut_matters_only_within_the_headers(frame in frames(), part: prop::sample::Index) {
        let (bytes, needed) = frame.bytes();
        for len in 0..needed {
            prop_assert_eq!(parse_slice(&bytes[..len], link(&frame)), Err(Skip::Cut), "{}", len);
        }
        let len = needed + part.index(bytes.len() - needed + 1);
        prop_assert_eq!(parse_slice(&bytes[..len], link(&frame)), Ok(ordered(&frame)));
    }

    #[test]
    fn any_bytes_give_a_segment_or_a_reason(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        ethertype: u16,
    ) {
        for link in [Link::Ethernet, Link::Ip, Link::EtherType(ethertype)] {
            let _ = parse_slice(&bytes, link);
        }
    }

    #[test]
    fn a_frame_with_wrong_bytes_gives_a_segment_or_a_reason(
        frame in frames(),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = frame.bytes().0;
        for (at, byte) in wrong {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(segment) = parse_slice(&bytes, link(&frame)) {
            prop_assert!(segment.payload <= 0xffff + 40);
        }
    }
}
