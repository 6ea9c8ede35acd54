//! One `struct inet_diag_msg` with its attributes to a record. Pure and total.

use std::{net::Ipv4Addr, time::Duration};

use tcp_trace_common as wire;
use zerocopy::{FromBytes, FromZeros as _, Immutable, KnownLayout, big_endian};

use super::Row;
use crate::{
    core::{
        decode::{SEED_ACCEPTED, SEED_CONNECTED, seed_silence},
        diagnosis::evidence::Idle,
    },
    kernel::netlink::{self, Malformed},
};

/// Address family of IPv4 sockets.
pub(super) const AF_INET: u8 = 2;
/// Address family of IPv6 sockets, dual-stack ones among them.
pub(super) const AF_INET6: u8 = 10;
/// `IPPROTO_TCP`.
pub(super) const IPPROTO_TCP: u8 = 6;
/// `INET_DIAG_INFO`: the attribute that holds a `struct tcp_info`.
pub(super) const INET_DIAG_INFO: u16 = 2;
/// `INET_DIAG_SHUTDOWN`: the attribute that holds `sk_shutdown`; every full socket has it.
pub(super) const INET_DIAG_SHUTDOWN: u16 = 8;

/// States as in the kernel's `tcp_states.h`.
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_RECV: u8 = 3;
const TCP_FIN_WAIT2: u8 = 5;
const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LAST_ACK: u8 = 9;
/// A listener's state.
pub(super) const TCP_LISTEN: u8 = 10;
const TCP_CLOSING: u8 = 11;
const TCP_NEW_SYN_RECV: u8 = 12;

/// A bit for every state from ESTABLISHED (1) to CLOSING (11) but CLOSE. Requests come with
/// `SYN_RECV`, mini-sockets in `FIN_WAIT2` with the full sockets in it.
pub(super) const STATES: u32 = 0xffe & !(1 << TCP_CLOSE);

/// `idiag_timer` of mini-sockets, and of nothing else.
const TIMER_TIME_WAIT: u8 = 3;
/// `SEND_SHUTDOWN` in `sk_shutdown`.
const SEND_SHUTDOWN: u8 = 2;

/// [`wire::STATE_RECORD_LEN`] as a record says it of itself.
const RECORD_LEN: u16 = 152;
const _: () = assert!(RECORD_LEN as usize == wire::STATE_RECORD_LEN);

/// [`wire::LIFE_RECORD_LEN`], likewise.
const LIFE_LEN: u16 = 128;
const _: () = assert!(LIFE_LEN as usize == wire::LIFE_RECORD_LEN);

/// What all records of a snapshot have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// When it was taken.
    pub(crate) time_ns: u64,
    /// Where, if known.
    pub(crate) netns: Option<u32>,
}

impl Stamp {
    /// A record about the namespace alone, of no kind yet.
    pub(crate) fn record(self) -> wire::LifeRecord {
        let mut record = wire::LifeRecord::new_zeroed();
        record.len = LIFE_LEN;
        record.protocol = IPPROTO_TCP.into();
        record.time_ns = self.time_ns;
        if let Some(netns) = self.netns {
            record.netns = netns;
            record.valid |= wire::VALID_NETNS;
        }
        record
    }
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A full socket.
    Socket(Row),
    /// A mini-socket or a request socket.
    Mini(wire::LifeRecord),
    /// A socket in a state that was not asked for.
    Other,
}

/// `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct InetDiagMsg {
    /// `AF_*`.
    family: u8,
    /// `TCP_*`; of a mini-socket the state it stands for.
    state: u8,
    /// Which timer runs: 1 retransmission, 2 keepalive, 3 mini-socket, 4 zero window probe.
    timer: u8,
    /// How many times the timer went off; of a request, SYN-ACKs sent again.
    retransmits: u8,
    /// Port on this host.
    local_port: big_endian::U16,
    /// The peer's port.
    remote_port: big_endian::U16,
    /// Address on this host; IPv4 in the first four bytes.
    local: [u8; 16],
    /// The peer's address.
    remote: [u8; 16],
    _interface: u32,
    /// Socket cookie, low half first.
    cookie: [u32; 2],
    /// When the timer goes off, in milliseconds from now.
    expires_ms: u32,
    /// Unread sequence space; connections waiting for `accept()` in a listener.
    rqueue: u32,
    /// Unacknowledged sequence space; longest queue allowed in a listener.
    wqueue: u32,
    _uid: u32,
    /// Inode of the socket's file, or 0.
    inode: u32,
}

const _: () = assert!(size_of::<InetDiagMsg>() == 72);

/// The attributes a record needs.
#[derive(Clone, Copy, Debug, Default)]
struct Attributes<'a> {
    /// A `struct tcp_info` of some length.
    tcp_info: Option<&'a [u8]>,
    /// `sk_shutdown`.
    shutdown: Option<u8>,
}

/// Reads what follows the netlink header of a `SOCK_DIAG_BY_FAMILY` message.
pub(super) fn parse(payload: &[u8], stamp: Stamp) -> Result<Found, Malformed> {
    let short =
        Malformed { what: "inet_diag_msg", have: payload.len(), need: size_of::<InetDiagMsg>() };
    let (row, rest) = InetDiagMsg::read_from_prefix(payload).map_err(|_| short)?;
    let mut attributes = Attributes::default();
    for attribute in netlink::attributes(rest) {
        match attribute? {
            (INET_DIAG_INFO, value) => attributes.tcp_info = Some(value),
            (INET_DIAG_SHUTDOWN, value) => attributes.shutdown = value.first().copied(),
            _ => {}
        }
    }
    Ok(match (row.state, row.timer) {
        (TCP_FIN_WAIT2, TIMER_TIME_WAIT) if row.inode == 0 => Found::Mini(mini(&row, stamp)),
        (TCP_TIME_WAIT, _) => Found::Mini(mini(&row, stamp)),
        (TCP_SYN_RECV, _) if attributes.is_empty() && row.inode == 0 => {
            Found::Mini(request(&row, stamp))
        }
        (state, _) if 1_u32.checked_shl(state.into()).unwrap_or(0) & STATES == 0 => Found::Other,
        _ => {
            let idle = attributes.tcp_info.and_then(idle);
            let mut record = record(&row, attributes, stamp);
            record.reserved_too = seed_silence(idle.map(|idle| idle.heard));
            Found::Socket(Row { record, inode: row.inode, queues: (row.rqueue, row.wqueue), idle })
        }
    })
}

impl InetDiagMsg {
    fn cookie(&self) -> u64 {
        u64::from(self.cookie[1]) << 32 | u64::from(self.cookie[0])
    }
}

impl Attributes<'_> {
    /// Neither attribute: the row is of a request socket or a mini-socket.
    fn is_empty(self) -> bool {
        self.tcp_info.is_none() && self.shutdown.is_none()
    }
}

/// The record of a full socket.
fn record(row: &InetDiagMsg, attributes: Attributes<'_>, stamp: Stamp) -> wire::StateRecord {
    let mut record = wire::StateRecord::new_zeroed();
    record.kind = wire::KIND_SEED;
    record.len = RECORD_LEN;
    record.protocol = IPPROTO_TCP.into();
    record.time_ns = stamp.time_ns;
    record.cookie = row.cookie();
    record.valid = wire::VALID_FLAGS;
    if record.cookie != 0 {
        record.valid |= wire::VALID_COOKIE;
    }
    if let Some(netns) = stamp.netns {
        record.netns = netns;
        record.valid |= wire::VALID_NETNS;
    }
    record.local_addr = address(row.family, row.local);
    record.remote_addr = address(row.family, row.remote);
    record.local_port = row.local_port.get();
    record.remote_port = row.remote_port.get();
    record.family = row.family.into();
    (record.old_state, record.new_state) = (row.state, row.state);
    record.shutdown = attributes.shutdown.unwrap_or(0);
    record.sock_flags = sock_flags(row, record.shutdown);
    queues(row, &mut record);
    if let Some(info) = attributes.tcp_info {
        tcp_info(info, &mut record);
        record.sock_flags |= opener(info);
        record.valid |= wire::VALID_TCP;
    }
    record
}

/// The record of a mini-socket, `inet_timewait_sock`: it has its connection's cookie.
fn mini(row: &InetDiagMsg, stamp: Stamp) -> wire::LifeRecord {
    wire::LifeRecord {
        kind: wire::KIND_SEED_TIME_WAIT,
        value: i32::try_from(row.expires_ms).unwrap_or(i32::MAX),
        ..life(row, stamp)
    }
}

/// The record of a request socket.
fn request(row: &InetDiagMsg, stamp: Stamp) -> wire::LifeRecord {
    wire::LifeRecord {
        kind: wire::KIND_SEED_REQUEST,
        value: row.retransmits.into(),
        old_state: TCP_NEW_SYN_RECV,
        new_state: TCP_NEW_SYN_RECV,
        ..life(row, stamp)
    }
}

/// What is told of both.
fn life(row: &InetDiagMsg, stamp: Stamp) -> wire::LifeRecord {
    let mut record = stamp.record();
    record.cookie = row.cookie();
    if record.cookie != 0 {
        record.valid |= wire::VALID_COOKIE;
    }
    record.local_addr = address(row.family, row.local);
    record.remote_addr = address(row.family, row.remote);
    record.local_port = row.local_port.get();
    record.remote_port = row.remote_port.get();
    record.family = row.family.into();
    (record.old_state, record.new_state) = (row.state, row.state);
    record
}

/// IPv4 stands in the first four bytes, the rest is zero.
fn address(family: u8, bytes: [u8; 16]) -> [u8; 16] {
    match (family, bytes) {
        (AF_INET, [a, b, c, d, ..]) => Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets(),
        _ => bytes,
    }
}

/// The row does not hold the socket's flags, but lets them be inferred.
fn sock_flags(row: &InetDiagMsg, shutdown: u8) -> u8 {
    let mut flags = 0;
    if row.inode != 0 {
        flags |= wire::SOCK_ATTACHED;
    } else if shutdown & SEND_SHUTDOWN != 0 {
        // Only a process shuts the send side; one without a file has been closed, where a child
        // in an accept queue has never been touched.
        flags |= wire::SOCK_FLAG_DEAD;
    }
    if matches!(row.state, TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING) {
        flags |= wire::SOCK_FLAG_FIN_RECEIVED;
    }
    flags
}

/// Sequence numbers of our own choosing: the kernel tells only their differences.
///
/// They start at 1, since 0 is what the kernel has before a handshake.
fn queues(row: &InetDiagMsg, record: &mut wire::StateRecord) {
    if row.state == TCP_LISTEN {
        return;
    }
    record.copied_seq = 1;
    record.rcv_nxt = row.rqueue.wrapping_add(1);
    record.snd_una = 1;
    record.write_seq = row.wqueue.wrapping_add(1);
}

/// Fields of `struct tcp_info` by offset. It grew at its end over the years, so what an older
/// kernel does not have reads as 0 and what a newer one adds is passed over.
fn tcp_info(info: &[u8], record: &mut wire::StateRecord) {
    record.srtt_us_x8 = field::<u32>(info, 68).saturating_mul(8);
    record.retransmits = field(info, 100);
    record.bytes_acked = field(info, 120);
    record.bytes_received = field(info, 128);
}

/// Who opened the connection: the kernel counts as acknowledged the SYN that it sent first, but not
/// its answer to one, and as sent (since 4.19) payload alone. All is read under one lock, so while
/// nothing is under way the one is the other with the SYN and, in `FIN_WAIT2`, the FIN.
fn opener(info: &[u8]) -> u8 {
    let our_fin = match info.first() {
        Some(&(TCP_ESTABLISHED | TCP_CLOSE_WAIT)) => 0,
        Some(&TCP_FIN_WAIT2) => 1,
        _ => return 0,
    };
    if info.len() < 216 || field::<u32>(info, 24) != 0 {
        return 0;
    }
    let acknowledged = field::<u64>(info, 120);
    let sent = field::<u64>(info, 200).wrapping_sub(field::<u64>(info, 208));
    match acknowledged.wrapping_sub(sent).wrapping_sub(our_fin) {
        0 => SEED_ACCEPTED,
        1 => SEED_CONNECTED,
        _ => 0,
    }
}

/// How long ago data was sent, data came, and anything at all came; `None` of a kernel that does not
/// fill these in.
fn idle(info: &[u8]) -> Option<Idle> {
    let ms = |offset| Duration::from_millis(field::<u32>(info, offset).into());
    (info.len() >= 60).then(|| Idle { sent: ms(44), received: ms(52), heard: ms(56) })
}

/// The number at an offset, 0 where the bytes end before its end.
fn field<T: FromBytes + Default>(bytes: &[u8], offset: usize) -> T {
    let tail = bytes.get(offset..).unwrap_or_default();
    T::read_from_prefix(tail).map_or_else(|_| T::default(), |(value, _)| value)
}
