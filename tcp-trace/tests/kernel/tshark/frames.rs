//! Frames made by hand, for what this kernel may not be able to send by itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use tcp_trace_common::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

use crate::{
    actor::Arg,
    netns::{Netns, interface_request},
};

/// Segments of [`tagged_lives`] that belong to handshakes, teardowns and resets.
pub(super) const CONTROL_SEGMENTS: usize = 4 * SCRIPT_CONTROL;
const SCRIPT_CONTROL: usize = 7;

/// Whether the client sends it, its flags, its numbers counted from 0, its payload.
type Line = (bool, u8, u32, u32, usize);

/// A handshake, a request, its answer's ACK, a teardown in three, and a late RST.
const SCRIPT: [Line; 9] = [
    (true, TCP_SYN, 0, 0, 0),
    (false, TCP_SYN | TCP_ACK, 0, 1, 0),
    (true, TCP_ACK, 1, 1, 0),
    (true, TCP_ACK, 1, 1, 20),
    (false, TCP_ACK, 1, 21, 0),
    (true, TCP_FIN | TCP_ACK, 21, 1, 3),
    (false, TCP_FIN | TCP_ACK, 1, 25, 0),
    (true, TCP_ACK, 25, 2, 0),
    (false, TCP_RST, 2, 0, 0),
];

/// One connection for each way of tagging: one tag and two, IPv4 and IPv6; of each frame whether the
/// client sends it.
pub(super) fn tagged_lives() -> Vec<(bool, Vec<u8>)> {
    let tags: [&[(u16, u16)]; 2] = [&[(0x8100, 42)], &[(0x88a8, 7), (0x8100, 42)]];
    let mut frames = Vec::new();
    for (tags, port) in tags.into_iter().zip([5001, 5002]) {
        for v4 in [true, false] {
            frames.extend(SCRIPT.iter().map(|line| (line.0, frame(tags, v4, port, line))));
        }
    }
    frames
}

fn frame(tags: &[(u16, u16)], v4: bool, port: u16, line: &Line) -> Vec<u8> {
    // To a host of the same wire, which need not be there.
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for (kind, id) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    let tcp = tcp(port, line);
    let length = u16::try_from(tcp.len()).unwrap();
    let (from, to) = if line.0 { (1, 2) } else { (2, 1) };
    if v4 {
        frame.extend(0x0800u16.to_be_bytes());
        frame.extend([0x45, 0]);
        frame.extend((20 + length).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(Ipv4Addr::new(192, 0, 2, from).octets());
        frame.extend(Ipv4Addr::new(192, 0, 2, to).octets());
    } else {
        frame.extend(0x86ddu16.to_be_bytes());
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([6, 64]);
        let host = |n: u8| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).octets();
        frame.extend(host(from));
        frame.extend(host(to));
    }
    frame.extend(tcp);
    frame
}

fn tcp(port: u16, &(from_client, flags, seq, ack, payload): &Line) -> Vec<u8> {
    let (own, other) = if from_client { (port, 80) } else { (80, port) };
    let (isn, theirs) = if from_client { (u32::MAX - 5, 1000) } else { (1000, u32::MAX - 5) };
    let ack = if flags & TCP_ACK == 0 { 0 } else { ack.wrapping_add(theirs) };
    let mut tcp = [own, other].map(u16::to_be_bytes).concat();
    tcp.extend(seq.wrapping_add(isn).to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    tcp.extend([5 << 4, flags, 1, 0, 0, 0, 0, 0]);
    tcp.resize(tcp.len() + payload, b'x');
    tcp
}

/// Sends the frame out of `interface` as it is.
pub(super) fn send(netns: &Netns, interface: &str, frame: &[u8]) {
    let home = netns.home();
    let index = netns.ioctl(libc::AF_INET, libc::SIOCGIFINDEX, &interface_request(interface, &[]));
    let open = [libc::AF_PACKET, libc::SOCK_RAW, 0].map(|n| Arg::Number(n.into()));
    let socket = Arg::Number(home.call(libc::SYS_socket, &open).unwrap().value);
    // A `struct sockaddr_ll` that names nothing but the interface.
    let mut to = u16::try_from(libc::AF_PACKET).unwrap().to_ne_bytes().to_vec();
    to.extend([0, 0]);
    to.extend(&index[16..20]);
    to.resize(20, 0);
    let length = |bytes: &[u8]| Arg::Number(i64::try_from(bytes.len()).unwrap());
    let data = [socket, Arg::Bytes(frame), length(frame), Arg::Number(0)];
    let all = [&data[..], &[Arg::Bytes(&to), length(&to)]].concat();
    home.call(libc::SYS_sendto, &all).unwrap();
    home.call(libc::SYS_close, &[socket]).unwrap();
}
