use proptest::prelude::*;

use super::{
    super::{CaptureError, LinkType, PACKET_LIMIT, Reader, Rebuilder, is_capture},
    files::{Order, Written, block, frame, interface, low, packet, pcap, section},
    told::{CLIENT, SERVER, SYN, sighting},
};
use crate::core::{event::Body, segment::Travel};

const AT: u64 = 1_700_000_000_123_456_789;
const ORDERS: [Order; 2] = [Order(false), Order(true)];

type Read = (u64, Vec<u8>);

/// Stamps and bytes of all packets up to the end or the first error.
fn read(bytes: &[u8]) -> (Vec<Read>, Result<(), CaptureError>) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut packets = Vec::new();
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) => packets.push((packet.at_ns, packet.bytes.to_vec())),
            Ok(None) => return (packets, Ok(())),
            Err(error) => return (packets, Err(error)),
        }
    }
}

fn good(bytes: &[u8]) -> Vec<Read> {
    let (packets, result) = read(bytes);
    result.unwrap();
    packets
}

fn refused(bytes: &[u8]) -> String {
    read(bytes).1.unwrap_err().to_string()
}

#[test]
fn pcap_in_either_byte_order_and_resolution() {
    for order in ORDERS {
        for (nanos, at) in [(true, AT), (false, AT / 1000 * 1000)] {
            let file = pcap(order, nanos, 1, &[Written(AT, b"frame", 5), Written(AT, b"frame", 2)]);
            assert!(is_capture(&file));
            assert_eq!(good(&file), [(at, b"frame".to_vec()), (at, b"fr".to_vec())]);
        }
    }
}

#[test]
fn flags_above_the_link_type_are_no_part_of_it() {
    let mut file = pcap(Order(false), true, 1, &[Written(AT, b"frame", 5)]);
    file[23] = 0x24;
    assert_eq!(good(&file).len(), 1);
}

#[test]
fn each_interface_has_a_clock_of_its_own() {
    for order in ORDERS {
        let offset = order.u64(1_000_000_000);
        let file = [
            section(order),
            interface(order, 1, 0, &[]),
            interface(order, 1, 0, &[(9, &[9])]),
            interface(order, 1, 0, &[(9, &[0x8a]), (14, &offset)]),
            packet(order, 0, AT / 1000, b"micro"),
            // A block that means nothing here, longer than any that is looked into.
            block(order, 4, &vec![0; 2 << 20]),
            packet(order, 1, AT, b"nano"),
            packet(order, 2, 700_000_000 << 10 | 512, b"power of two"),
        ];
        let packets = good(&file.concat());
        let stamps: Vec<_> = packets.iter().map(|(at, _)| *at).collect();
        assert_eq!(stamps, [AT / 1000 * 1000, AT, 1_700_000_000_500_000_000]);
        assert_eq!(packets[2].1, b"power of two");
    }
}

#[test]
fn packets_of_every_kind_of_block() {
    for order in ORDERS {
        // An old packet: interface, drops, time, what was captured and what there was.
        let time = AT / 1000;
        let words = [u32::try_from(time >> 32).unwrap(), low(time), 3, 9];
        let words: Vec<u8> = words.into_iter().flat_map(|word| order.u32(word)).collect();
        let old = [&order.u16(0)[..], &order.u16(7), &words, b"old"].concat();
        let simple = [&order.u32(9)[..], b"simp"].concat();
        let file = [
            section(order),
            interface(order, 1, 4, &[]),
            block(order, 2, &old),
            block(order, 3, &simple),
            // A new section forgets the interfaces, and may have another byte order.
            section(Order(!order.0)),
            interface(Order(!order.0), 1, 0, &[]),
            packet(Order(!order.0), 0, time, b"new"),
        ];
        let packets: Vec<_> = good(&file.concat()).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(packets, [&b"old"[..], b"simp", b"new"]);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let order = Order(false);
    let start = [section(order), interface(order, 1, 0, &[])].concat();
    let here = format!("damaged at byte {}: ", start.len());
    let after = |block: Vec<u8>| refused(&[&start[..], &block].concat());
    let mut differs = packet(order, 0, AT, b"x");
    let end = differs.len() - 1;
    differs[end] = 1;
    let rows = [
        (packet(order, 1, AT, b"x"), "an interface that is not there"),
        (differs, "two lengths differ"),
        ([6, 0, 0, 0, 5, 0, 0, 0].to_vec(), "no block has a length of 5"),
        ([6, 0, 0, 0, 0, 0, 0, 0xf0].to_vec(), "beyond reason"),
        (block(order, 6, &[0xff; 20]), "this is no packet"),
        (block(order, 0x0a0d_0d0a, &[0; 16]), "names no byte order"),
    ];
    for (block, why) in rows {
        let told = after(block);
        assert!(told.contains(&here) && told.contains(why), "{told} is not {here}{why}");
    }
    let mut large = pcap(order, true, 1, &[Written(AT, b"x", 1)]);
    large[32..36].copy_from_slice(&(PACKET_LIMIT + 1).to_le_bytes());
    assert!(refused(&large).contains("damaged at byte 24: a packet of 262145 bytes"));
    let unknown = pcap(order, true, 147, &[]);
    let told = refused(&unknown);
    assert!(told.contains("link type 147") && told.contains("276 (LINUX_SLL2)"), "{told}");
    assert!(refused(b"TCPTRACE").contains("neither"));
    assert!(refused(b"").contains("neither"));
    let mut version = pcap(order, true, 1, &[]);
    version[4] = 3;
    assert!(refused(&version).contains("pcap 3.4"));
}

/// The events that a file tells.
fn told(file: &[u8]) -> (Vec<Body>, Rebuilder) {
    let (mut rebuilder, mut events) = (Rebuilder::default(), Vec::new());
    let mut reader = Reader::new(file).unwrap();
    while let Some(packet) = reader.next_packet().unwrap() {
        rebuilder.packet(&packet, &mut events);
    }
    rebuilder.finish(&mut events);
    (events.into_iter().map(|event| event.body).collect(), rebuilder)
}

#[test]
fn every_link_type_leads_to_the_same_segment() {
    let v4 = sighting(0, CLIENT, SYN, 7, 0, 0);
    let v6 = super::super::conversations::Sighting {
        source: "[2001:db8::1]:40000".parse().unwrap(),
        destination: "[2001:db8::2]:80".parse().unwrap(),
        ..v4
    };
    for link in [1, 0, 108, 101, 12, 14, 228, 229, 113, 276] {
        assert!(LinkType::from_number(link).is_some());
        for sighting in [v4, v6] {
            if link == 228 && sighting == v6 || link == 229 && sighting == v4 {
                continue;
            }
            let bytes = frame(link, &sighting);
            // Cut behind the TCP header's fixed part, as a small snaplen does.
            let file = pcap(Order(true), true, link, &[Written(AT, &bytes, bytes.len())]);
            let (bodies, rebuilder) = told(&file);
            let Some(Body::Segment(segment)) = bodies.get(1) else { panic!("{link}: {bodies:?}") };
            assert_eq!((segment.flow.local, segment.travel), (sighting.source, Travel::Out));
            assert_eq!(segment.header, sighting.header);
            assert!(rebuilder.foreign_link().is_none());
        }
    }
}

#[test]
fn a_cut_packet_tells_its_payload_by_its_ip_header() {
    let data = sighting(0, CLIENT, 0x10, 7, 9, 1000);
    let frame = frame(1, &data);
    let file = pcap(Order(false), true, 1, &[Written(AT, &frame, 54)]);
    let (bodies, _) = told(&file);
    let Some(Body::State(found)) = bodies.iter().rev().find(|body| {
        matches!(body, Body::State(change) if change.flow.local.ip() == SERVER.parse::<std::net::SocketAddr>().unwrap().ip())
    }) else {
        panic!("{bodies:?}")
    };
    assert_eq!(found.transfer.unwrap().bytes_received, 1000);
}

#[test]
fn what_is_passed_over_is_counted() {
    let order = Order(false);
    let syn = frame(1, &sighting(0, CLIENT, SYN, 7, 0, 0));
    let (mut udp, mut fragment) = (syn.clone(), syn.clone());
    udp[23] = 17;
    fragment[21] = 9;
    let file = [
        section(order),
        interface(order, 1, 0, &[]),
        interface(order, 189, 0, &[]),
        packet(order, 0, 1, &syn),
        packet(order, 0, 2, &udp),
        packet(order, 0, 3, &fragment),
        packet(order, 0, 4, &syn[..40]),
        packet(order, 1, 5, &syn),
        packet(order, 0, 6, &syn),
    ];
    let (_, rebuilder) = told(&file.concat());
    let over = rebuilder.passed_over();
    assert_eq!((over.not_tcp, over.fragments, over.cut, over.unknown_link), (1, 1, 1, 1));
    assert_eq!((over.segments.taken, over.segments.doubles), (1, 1));
    assert!(rebuilder.foreign_link().is_none());
    let only = [section(order), interface(order, 189, 0, &[]), packet(order, 0, 5, &syn)];
    assert_eq!(told(&only.concat()).1.foreign_link(), Some(189));
}

/// A file of either format with a few packets.
fn whole(ng: bool, order: Order) -> Vec<u8> {
    let syn = frame(1, &sighting(0, CLIENT, SYN, 7, 0, 0));
    if ng {
        let packets = (0..4).map(|n| packet(order, 0, n, &syn));
        let start = [section(order), interface(order, 1, 0, &[(9, &[6])])];
        start.into_iter().chain(packets).collect::<Vec<_>>().concat()
    } else {
        pcap(order, true, 1, &[1, 2, 3, 4].map(|n| Written(n, &syn, 60)))
    }
}

#[test]
fn every_cut_is_noticed_and_what_came_before_is_kept() {
    for (ng, order) in
        [(false, ORDERS[0]), (false, ORDERS[1]), (true, ORDERS[0]), (true, ORDERS[1])]
    {
        let whole = whole(ng, order);
        let all = good(&whole);
        let mut kept = 0;
        let mut ends = 0;
        for end in 0..whole.len() {
            let (packets, result) = read(&whole[..end]);
            assert!(packets.len() >= kept && all.starts_with(&packets));
            kept = packets.len();
            match result {
                Err(CaptureError::Cut { offset, .. }) => assert!(offset <= end as u64),
                Err(CaptureError::NotACapture) => assert!(end < 4),
                Err(error) => panic!("{end}: {error}"),
                // Between two packets nothing tells that there were more.
                Ok(()) => ends += 1,
            }
        }
        assert_eq!(kept, 3);
        assert!((4..=5).contains(&ends), "{ends}");
    }
}

proptest! {
    /// Whatever the bytes, they are read or refused, and what is read makes no panic further on.
    #[test]
    fn any_bytes_are_read_or_refused(
        ng: bool, big: bool, keep in 0usize..400,
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        flip in any::<proptest::sample::Index>(), bits: u8,
    ) {
        let mut bytes = whole(ng, Order(big));
        bytes.truncate(keep.max(24));
        bytes.extend(tail);
        let at = flip.index(bytes.len());
        bytes[at] ^= bits;
        let (mut rebuilder, mut events) = (Rebuilder::default(), Vec::new());
        if let Ok(mut reader) = Reader::new(&bytes[..]) {
            while let Ok(Some(packet)) = reader.next_packet() {
                rebuilder.packet(&packet, &mut events);
            }
            prop_assert!(reader.next_packet().is_ok_and(|packet| packet.is_none()));
        }
        rebuilder.finish(&mut events);
    }
}
