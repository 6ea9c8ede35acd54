//! Answers made by hand, cut at every place and filled with noise.

use std::{collections::VecDeque, net::Ipv6Addr};

use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::{
    dump::{Progress, SOCK_DIAG_BY_FAMILY, read, steady},
    row::{AF_INET, AF_INET6, Found, INET_DIAG_INFO, INET_DIAG_SHUTDOWN, STATES, Stamp, parse},
    *,
};
use crate::kernel::netlink::{Header, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN};

mod live;
mod opener;

const STAMP: Stamp = Stamp { time_ns: 5, netns: Some(9) };
const SEQUENCE: u32 = 3;

/// What a test says of a row.
#[derive(Clone, Copy)]
struct Diag {
    family: u8,
    state: u8,
    timer: u8,
    local: [u8; 16],
    remote: [u8; 16],
    rqueue: u32,
    wqueue: u32,
    inode: u32,
}

/// 10.0.0.1:80 to 10.0.0.2:40000, established and held.
const SAMPLE: Diag = Diag {
    family: AF_INET,
    state: 1,
    timer: 0,
    local: [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    remote: [10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    rqueue: 7,
    wqueue: 11,
    inode: 4711,
};

impl Diag {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.family, self.state, self.timer, 2];
        bytes.extend(80_u16.to_be_bytes());
        bytes.extend(40_000_u16.to_be_bytes());
        bytes.extend(self.local);
        bytes.extend(self.remote);
        let numbers = [0, 0x55, 0x66, 59_000, self.rqueue, self.wqueue, 0, self.inode];
        bytes.extend(numbers.iter().flat_map(|number: &u32| number.to_ne_bytes()));
        bytes
    }

    /// As a full socket has it.
    fn full(self, shutdown: u8) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.extend(attribute(INET_DIAG_SHUTDOWN, &[shutdown]));
        bytes.extend(attribute(INET_DIAG_INFO, &tcp_info()));
        bytes
    }

    fn row(self, shutdown: u8) -> Row {
        row(&self.full(shutdown))
    }
}

fn row(payload: &[u8]) -> Row {
    match parse(payload, STAMP) {
        Ok(Found::Socket(row)) => row,
        other => panic!("a socket, not {other:?}"),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A `struct tcp_info` of 6.x with the fields that are read.
fn tcp_info() -> Vec<u8> {
    let mut info = vec![0xee; 248];
    info[68..72].copy_from_slice(&1500_u32.to_ne_bytes());
    info[100..104].copy_from_slice(&2_u32.to_ne_bytes());
    info[120..128].copy_from_slice(&(1_u64 << 40).to_ne_bytes());
    info[128..136].copy_from_slice(&77_u64.to_ne_bytes());
    info
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 16).unwrap();
    let mut bytes = Header { length, kind, flags, sequence, port: 99 }.as_bytes().to_vec();
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn socket_message() -> Vec<u8> {
    message(SOCK_DIAG_BY_FAMILY, 2, SEQUENCE, &SAMPLE.full(0))
}

fn done() -> Vec<u8> {
    message(NLMSG_DONE, 2, SEQUENCE, &0_i32.to_ne_bytes())
}

/// What a datagram brings.
fn taken(datagram: &[u8]) -> (Result<Progress, SockDiagError>, Snapshot) {
    let mut found = Snapshot::default();
    (read(datagram, SEQUENCE, STAMP, &mut found), found)
}

#[test]
fn every_state_but_close_is_asked_for() {
    let asked: Vec<u32> = (0..32).filter(|state| STATES & (1 << state) != 0).collect();
    assert_eq!(asked, [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]);
}

#[test]
fn an_ipv4_row_is_a_seed() {
    let Row { record, inode, .. } = SAMPLE.row(0);
    assert_eq!(inode, 4711);
    assert_eq!((record.kind, usize::from(record.len)), (wire::KIND_SEED, wire::STATE_RECORD_LEN));
    let valid = wire::VALID_COOKIE | wire::VALID_TCP | wire::VALID_FLAGS | wire::VALID_NETNS;
    assert_eq!(record.valid, valid);
    assert_eq!((record.protocol, record.family, record.netns), (6, 2, 9));
    assert_eq!((record.time_ns, record.cookie, record.sk), (5, 0x66_0000_0055, 0));
    assert_eq!(Ipv6Addr::from(record.local_addr).to_string(), "::ffff:10.0.0.1");
    assert_eq!(Ipv6Addr::from(record.remote_addr).to_string(), "::ffff:10.0.0.2");
    assert_eq!((record.local_port, record.remote_port), (80, 40_000));
    assert_eq!((record.old_state, record.new_state, record.sk_err), (1, 1, 0));
    assert_eq!(record.rcv_nxt - record.copied_seq, 7);
    assert_eq!(record.write_seq - record.snd_una, 11);
    assert_eq!((record.srtt_us_x8, record.retransmits), (12_000, 2));
    assert_eq!((record.bytes_acked, record.bytes_received), (1 << 40, 77));
    assert_eq!((record.pid, record.tid, record.comm_bytes()), (0, 0, [0; 16]));
    assert_eq!((record.shutdown, record.sock_flags), (0, wire::SOCK_ATTACHED));
}

#[test]
fn an_ipv6_address_stays_as_it_is() {
    let local = "2001:db8::1".parse::<Ipv6Addr>().unwrap();
    let remote = "::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap();
    let v6 = Diag { family: AF_INET6, local: local.octets(), remote: remote.octets(), ..SAMPLE };
    let record = v6.row(0).record;
    assert_eq!(record.family, 10);
    assert_eq!(record.local_addr, local.octets());
    assert_eq!(record.remote_addr, remote.octets());
}

#[test]
fn what_was_not_told_is_not_valid() {
    let mut bytes = SAMPLE.bytes();
    bytes[44..52].fill(0);
    let Ok(Found::Socket(row)) = parse(&bytes, Stamp { time_ns: 0, netns: None }) else {
        panic!("a socket")
    };
    assert_eq!(row.record.valid, wire::VALID_FLAGS);
}

#[test]
fn a_listener_has_no_sequence_numbers() {
    let record = Diag { state: 10, rqueue: 3, wqueue: 128, ..SAMPLE }.row(0).record;
    assert_eq!((record.rcv_nxt, record.copied_seq), (0, 0));
    assert_eq!((record.snd_una, record.write_seq), (0, 0));
}

#[test]
fn tcp_info_may_have_any_length() {
    let info = tcp_info();
    let whole = SAMPLE.row(0).record;
    for length in 0..=info.len() {
        let mut bytes = SAMPLE.bytes();
        bytes.extend(attribute(INET_DIAG_INFO, &info[..length]));
        let record = row(&bytes).record;
        assert_ne!(record.valid & wire::VALID_TCP, 0);
        let from = |end, value: u64| if length >= end { value } else { 0 };
        assert_eq!(u64::from(record.srtt_us_x8), from(72, whole.srtt_us_x8.into()));
        assert_eq!(u64::from(record.retransmits), from(104, whole.retransmits.into()));
        assert_eq!(record.bytes_acked, from(128, whole.bytes_acked));
        assert_eq!(record.bytes_received, from(136, whole.bytes_received));
    }
}

#[test]
fn flags_follow_from_state_file_and_shutdown() {
    let flags = |state, inode, shutdown| {
        let record = Diag { state, inode, ..SAMPLE }.row(shutdown).record;
        assert_eq!(record.shutdown, shutdown);
        record.sock_flags
    };
    let (held, orphan) = (wire::SOCK_ATTACHED, wire::SOCK_FLAG_DEAD);
    let fin = wire::SOCK_FLAG_FIN_RECEIVED;
    assert_eq!(flags(1, 1, 0), held);
    assert_eq!(flags(8, 1, 1), held | fin, "CLOSE_WAIT, leaked");
    assert_eq!(flags(8, 0, 1), fin, "CLOSE_WAIT in an accept queue");
    assert_eq!(flags(4, 1, 2), held, "FIN_WAIT1 after shutdown()");
    assert_eq!(flags(4, 0, 3), orphan, "FIN_WAIT1 after close()");
    assert_eq!(flags(9, 0, 3), orphan | fin, "LAST_ACK");
    assert_eq!(flags(11, 0, 3), orphan | fin, "CLOSING");
}

#[test]
fn mini_sockets_and_requests_are_told_apart_from_full_sockets_in_their_states() {
    let bare = |state, timer| Diag { state, timer, inode: 0, ..SAMPLE }.bytes();
    let mini = |state, timer| match parse(&bare(state, timer), STAMP) {
        Ok(Found::Mini(record)) => record,
        other => panic!("a mini-socket, not {other:?}"),
    };
    for (state, timer, kind, value, shown) in [
        (6, 3, wire::KIND_SEED_TIME_WAIT, 59_000, 6),
        (5, 3, wire::KIND_SEED_TIME_WAIT, 59_000, 5),
        (3, 1, wire::KIND_SEED_REQUEST, 2, 12),
    ] {
        let record = mini(state, timer);
        assert_eq!((record.kind, record.value), (kind, value));
        assert_eq!(usize::from(record.len), wire::LIFE_RECORD_LEN);
        assert_eq!((record.old_state, record.new_state), (shown, shown));
        assert_eq!(record.valid, wire::VALID_COOKIE | wire::VALID_NETNS);
        assert_eq!((record.cookie, record.netns, record.time_ns), (0x66_0000_0055, 9, 5));
        assert_eq!((record.local_port, record.remote_port), (80, 40_000));
        assert_eq!(Ipv6Addr::from(record.local_addr).to_string(), "::ffff:10.0.0.1");
        assert!(crate::core::decode::event(&record.into()).is_ok());
    }
    for state in [0, 7, 12, 13, 31, 32, 255] {
        assert_eq!(parse(&bare(state, 0), STAMP), Ok(Found::Other));
    }
    let orphan = Diag { state: 5, timer: 2, inode: 0, ..SAMPLE };
    assert_eq!(orphan.row(3).record.new_state, 5);
    let fast_open_child = Diag { state: 3, timer: 1, inode: 0, ..SAMPLE };
    assert_eq!(fast_open_child.row(0).record.new_state, 3);
}

#[test]
fn a_dump_is_all_its_datagrams_until_done() {
    let bare = |state| {
        let row = Diag { state, timer: 3, inode: 0, ..SAMPLE };
        message(SOCK_DIAG_BY_FAMILY, 2, SEQUENCE, &row.bytes())
    };
    let stranger = message(SOCK_DIAG_BY_FAMILY, 2, SEQUENCE - 1, &SAMPLE.full(0));
    let (progress, found) = taken(&[socket_message(), bare(6), stranger, bare(5)].concat());
    assert_eq!(progress.unwrap(), Progress::More);
    assert_eq!(found.rows, [SAMPLE.row(0)]);
    let minis: Vec<_> = found.minis.iter().map(|record| record.old_state).collect();
    assert_eq!((minis, found.is_whole()), (vec![6, 5], true));

    let (progress, found) = taken(&[socket_message(), done(), socket_message()].concat());
    assert_eq!(progress.unwrap(), Progress::Done);
    assert_eq!(found.rows.len(), 1, "nothing comes after the end");
}

#[test]
fn what_was_handed_over_is_counted_on() {
    let mut found = Snapshot::default();
    let two = [socket_message(), socket_message()].concat();
    read(&two, SEQUENCE, STAMP, &mut found).unwrap();
    let piece = found.piece();
    assert_eq!((piece.rows.len(), found.rows.len(), found.held()), (2, 0, 0));
    found.told = LIMIT - 1;
    read(&two, SEQUENCE, STAMP, &mut found).unwrap();
    assert_eq!((found.rows.len(), found.beyond_limit), (1, 1));
    assert!(!found.is_whole());
}

#[test]
fn a_change_during_the_dump_is_noted_wherever_the_kernel_says_it() {
    let flagged = |kind| message(kind, 2 | NLM_F_DUMP_INTR, SEQUENCE, &SAMPLE.full(0));
    assert!(taken(&flagged(SOCK_DIAG_BY_FAMILY)).1.interrupted);
    assert!(taken(&message(NLMSG_DONE, NLM_F_DUMP_INTR, SEQUENCE, &[])).1.interrupted);
    assert!(taken(&message(NLMSG_OVERRUN, 0, SEQUENCE, &[])).1.interrupted);
    assert!(!taken(&message(NLMSG_DONE, NLM_F_DUMP_INTR, 0, &[])).1.interrupted, "not ours");
}

#[test]
fn errors_come_as_error_or_as_done() {
    let answer = |kind, errno: i32| taken(&message(kind, 0, SEQUENCE, &errno.to_ne_bytes())).0;
    assert_eq!(answer(NLMSG_ERROR, 0).unwrap(), Progress::More, "an acknowledgement");
    assert_eq!(answer(NLMSG_DONE, 9).unwrap(), Progress::Done);
    for kind in [NLMSG_ERROR, NLMSG_DONE] {
        let text = answer(kind, -2).unwrap_err().to_string();
        assert!(text.contains("modprobe tcp_diag"), "{text}");
        let text = answer(kind, -1).unwrap_err().to_string();
        assert!(text.contains("gave up"), "{text}");
        assert!(answer(kind, i32::MIN).is_err());
    }
}

#[test]
fn every_cut_is_an_error_or_a_message_less() {
    let whole = [socket_message(), socket_message(), done()].concat();
    let boundaries = [socket_message().len(), 2 * socket_message().len()];
    for end in 0..whole.len() {
        let (progress, found) = taken(&whole[..end]);
        match boundaries.iter().position(|&boundary| boundary == end) {
            Some(before) => {
                assert_eq!(progress.unwrap(), Progress::More);
                assert_eq!(found.rows.len(), before + 1);
            }
            None => assert!(matches!(progress, Err(SockDiagError::Malformed(_))), "{end}"),
        }
    }
    assert_eq!(taken(&whole).0.unwrap(), Progress::Done);
}

#[test]
fn every_cut_row_is_an_error_or_an_attribute_less() {
    let whole = SAMPLE.full(0);
    // After the fixed part, and after the one byte of INET_DIAG_SHUTDOWN with any of its padding.
    let boundaries = [72, 77, 78, 79, 80];
    for end in 0..whole.len() {
        assert_eq!(parse(&whole[..end], STAMP).is_ok(), boundaries.contains(&end), "{end}");
    }
}

#[test]
fn lengths_smaller_than_their_header_end_the_walk() {
    for length in 0..16_u32 {
        let mut bytes = socket_message();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert!(taken(&bytes).0.is_err());
    }
    for length in 0..4_u16 {
        let mut bytes = SAMPLE.full(0);
        bytes[72..74].copy_from_slice(&length.to_ne_bytes());
        assert!(parse(&bytes, STAMP).is_err());
    }
}

#[test]
fn a_dump_that_fails_or_is_interrupted_is_tried_once_more_and_then_taken_as_it_is() {
    let broken = || SockDiagError::Silent { after: Duration::ZERO };
    let dumps = |tries: &[Option<bool>]| {
        let mut left: VecDeque<Option<bool>> = tries.iter().copied().collect();
        let found = steady(|| {
            let interrupted = left.pop_front().unwrap().ok_or_else(broken)?;
            Ok(Snapshot { interrupted, rows: vec![SAMPLE.row(0)], ..Snapshot::default() })
        });
        // An earlier try's rows are not kept.
        (found.ok().map(|found| (found.rows.len(), found.is_whole())), left.len())
    };
    assert_eq!(dumps(&[Some(false)]), (Some((1, true)), 0));
    assert_eq!(dumps(&[Some(true), Some(false)]), (Some((1, true)), 0));
    assert_eq!(dumps(&[Some(true), Some(true), Some(false)]), (Some((1, false)), 1));
    assert_eq!(dumps(&[None, Some(false)]), (Some((1, true)), 0));
    assert_eq!(dumps(&[None, None, Some(false)]), (None, 1));
    let mut tries = 0;
    let unavailable = steady(|| {
        tries += 1;
        Err(SockDiagError::Unavailable { source: io::ErrorKind::NotFound.into() })
    });
    assert!(unavailable.is_err());
    assert_eq!(tries, 1, "what the kernel lacks it will not have the next time");
}

#[test]
fn a_listeners_inode_is_not_its_childs() {
    let listener = Diag { state: 10, inode: 5, ..SAMPLE }.row(0);
    let child = Diag { state: 8, inode: 5, ..SAMPLE }.row(1);
    let other = Diag { inode: 6, ..SAMPLE }.row(0);
    let mut rows = [child, listener, other];
    drop_inherited_inodes(&mut rows, &mut HashSet::new());
    assert_eq!(rows[0].inode, 0);
    assert_eq!(rows[0].record.sock_flags, wire::SOCK_FLAG_FIN_RECEIVED);
    assert_eq!(rows[1..], [listener, other]);
}

proptest! {
    #[test]
    fn any_datagram_is_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = taken(&bytes);
        let _ = parse(&bytes, STAMP);
    }

    #[test]
    fn a_changed_datagram_is_taken_or_refused(
        changes in proptest::collection::vec((0_usize..1000, any::<u8>()), 1..8),
    ) {
        let mut bytes = [socket_message(), socket_message(), done()].concat();
        let length = bytes.len();
        for (at, value) in changes {
            bytes[at % length] = value;
        }
        let (_, found) = taken(&bytes);
        prop_assert!(found.rows.len() <= length / 88);
    }

    #[test]
    fn queues_survive_as_differences(rqueue in any::<u32>(), wqueue in any::<u32>()) {
        let record = Diag { rqueue, wqueue, ..SAMPLE }.row(0).record;
        prop_assert_eq!(record.rcv_nxt.wrapping_sub(record.copied_seq), rqueue);
        prop_assert_eq!(record.write_seq.wrapping_sub(record.snd_una), wqueue);
    }
}
