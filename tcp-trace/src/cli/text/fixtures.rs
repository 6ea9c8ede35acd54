//! Objects and styles that the tests share.

use std::net::IpAddr;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::Style;
use crate::api::{
    ClosedEvent, Connection, Endpoint, Owner, RecvQueue, StateEvent, Step, Task, Wire,
};

/// Unicode without colour.
pub(super) fn plain(width: usize) -> Style {
    Style {
        color: false,
        unicode: true,
        width,
        zone: TimeZone::UTC,
        command: super::Command::default(),
    }
}

/// ASCII without colour.
pub(super) fn ascii(width: usize) -> Style {
    Style { unicode: false, ..plain(width) }
}

/// Unicode with colour.
pub(super) fn colour(width: usize) -> Style {
    Style { color: true, ..plain(width) }
}

/// `address:port`, the address without brackets.
pub(super) fn end(text: &str) -> Endpoint {
    let (addr, port) = text.rsplit_once(':').unwrap();
    Endpoint { addr: addr.parse::<IpAddr>().unwrap(), port: port.parse().unwrap() }
}

/// An owner found at `connect()`.
pub(crate) fn owner(comm: &str, pid: u32) -> Owner {
    Owner {
        pid,
        comm: comm.to_owned(),
        exe: None,
        cgroup: None,
        container: None,
        unit: None,
        pod: None,
        started_ns: None,
        cgroup_id: None,
        source: "connect".to_owned(),
    }
}

/// The leaking end: java on port 8080, its peer gone.
pub(crate) fn java() -> Connection {
    Connection {
        id: "3f9c".to_owned(),
        netns: Some(4_026_531_840),
        family: "ipv4".to_owned(),
        local: end("127.0.0.1:8080"),
        remote: end("127.0.0.1:41822"),
        direction: "inbound".to_owned(),
        state: "close_wait".to_owned(),
        mini: false,
        mptcp: None,
        state_since: "2026-03-01T12:00:01.490Z".to_owned(),
        state_age_seconds: 11_520.0,
        age_is_lower_bound: false,
        opened_at: Some("2026-03-01T12:00:01.482Z".to_owned()),
        closed_at: None,
        closed_by: Some("remote".to_owned()),
        close_reason: None,
        peer_closed: Some(true),
        error: None,
        owner: Some(Owner {
            unit: Some("tomcat.service".to_owned()),
            source: "listener".to_owned(),
            ..owner("java", 2207)
        }),
        holders: Vec::new(),
        recv_queue: Some(RecvQueue { unread_bytes: 0, fin_read: Some(true) }),
        bytes_sent: Some(1_900),
        bytes_received: Some(412),
        srtt_us: Some(61),
        retransmits: Some(0),
        complete: true,
        stack: None,
        timeline: None,
    }
}

/// The other end of it: curl, established.
pub(super) fn curl() -> Connection {
    Connection {
        id: "3f9b".to_owned(),
        local: end("127.0.0.1:41822"),
        remote: end("127.0.0.1:8080"),
        direction: "outbound".to_owned(),
        state: "established".to_owned(),
        state_age_seconds: 0.008_1,
        closed_by: None,
        owner: Some(owner("curl", 4411)),
        recv_queue: Some(RecvQueue { unread_bytes: 0, fin_read: None }),
        bytes_sent: Some(412),
        bytes_received: Some(1_900),
        ..java()
    }
}

/// An inbound IPv6 connection with long addresses, of nobody known.
pub(super) fn six() -> Connection {
    Connection {
        id: "40".to_owned(),
        family: "ipv6".to_owned(),
        local: end("2001:db8:85a3::8a2e:370:7334:443"),
        remote: end("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff:50122"),
        state: "established".to_owned(),
        owner: None,
        closed_by: None,
        recv_queue: None,
        bytes_sent: None,
        bytes_received: None,
        srtt_us: None,
        retransmits: None,
        ..java()
    }
}

/// curl's end, ended for `reason`.
pub(super) fn ended(reason: &str, by: Option<&str>) -> Connection {
    Connection {
        state: "close".to_owned(),
        closed_at: Some("2026-03-01T12:00:01.494Z".to_owned()),
        closed_by: by.map(str::to_owned),
        close_reason: Some(reason.to_owned()),
        ..curl()
    }
}

/// Its event.
pub(super) fn closed_event(connection: Connection) -> ClosedEvent {
    ClosedEvent { connection, lifetime_seconds: 0.012 }
}

/// A change of `connection`'s state to that in which it stands.
pub(crate) fn change(connection: Connection, from: &str, seconds: Option<f64>) -> StateEvent {
    StateEvent {
        at: "2026-03-01T12:00:01.490Z".to_owned(),
        from: from.to_owned(),
        to: connection.state.clone(),
        connection,
        in_state_seconds: seconds,
        current: Some(Task { pid: 4411, tid: 4411, comm: "curl".to_owned() }),
        socket: "ffff8881023a8000".to_owned(),
        text: String::new(),
    }
}

/// A step of a timeline that changes the state.
pub(super) fn step(offset_us: u64, from: &str, to: &str, text: &str) -> Step {
    Step {
        at: "2026-03-01T12:00:01.482Z".to_owned(),
        offset_us,
        kind: "state".to_owned(),
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
        text: text.to_owned(),
        ..Step::default()
    }
}

/// A segment of a peer whose initial number is 0, as is ours.
pub(super) fn wire(dir: &str, flags: &str, seq: u32, ack: Option<u32>) -> Wire {
    Wire {
        dir: dir.to_owned(),
        flags: flags.to_owned(),
        seq,
        ack,
        seq_relative: Some(seq),
        ack_relative: ack,
        len: 0,
        window: 65_535,
        retransmit: false,
        again_after_us: None,
        data_in: 0,
        data_out: 0,
        witness: "xdp".to_owned(),
    }
}

/// A mark in a timeline.
pub(super) fn mark(offset_us: u64, mark: &str, text: &str) -> Step {
    Step {
        at: "2026-03-01T12:00:01.482Z".to_owned(),
        offset_us,
        kind: "mark".to_owned(),
        mark: Some(mark.to_owned()),
        text: text.to_owned(),
        ..Step::default()
    }
}

/// Text of any characters, those that steer terminals among them more often than not.
pub(super) fn hostile() -> impl Strategy<Value = String> {
    let steering =
        prop::sample::select(vec!['\x1b', '\u{9b}', '\n', '\r', '\t', '\u{202e}', '\x7f']);
    let character = prop_oneof![any::<char>(), prop::char::range('\0', '\u{9f}'), steering];
    prop::collection::vec(character, 0..24).prop_map(String::from_iter)
}

/// `text` without the sequences that paint.
pub(super) fn unpainted(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
}
