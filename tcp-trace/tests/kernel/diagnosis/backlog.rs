//! What comes in faster than it is taken, by listener.

use std::net::SocketAddr;

use tcp_trace::core::tcp_state::TcpState;

use super::{Apart, Traced, Ward, flood, loopback, pid, port, truth, until};

/// What [`Actor::listen`](super::Actor::listen) asks for.
const BACKLOG: u64 = 64;
/// SYNs from made-up sources.
const SYNS: u32 = 100;

#[test]
#[ignore = "needs root"]
fn a_flood_of_syns_is_told_by_listener() {
    let apart = Apart::new(Traced::Server, &[("ipv4/tcp_syncookies", "1")]);
    // The answers get lost.
    apart.wire.lose();
    apart.wire.right.route_all("wire");
    let (_calm, flooded) = (apart.listen(), apart.listen());
    let SocketAddr::V4(target) = flooded.local() else { unreachable!() };
    apart.wire.pour(1, (0..SYNS).map(|number| flood::syn(number, target)));
    let of = |name| truth::mib(&apart.wire.right, "TcpExt", name);
    let requests = || {
        let rows = truth::sockets(&apart.wire.right);
        rows.iter().filter(|row| row.state == TcpState::SynRecv).count() as u64
    };
    until(
        || format!("{} requests, {} cookies", requests(), of("SyncookiesSent")),
        || (requests() + of("SyncookiesSent") == u64::from(SYNS)).then_some(()),
    );
    // As many as there is room for; since some kernel one more.
    let held = requests();
    assert!((BACKLOG..=BACKLOG + 1).contains(&held), "{held} requests");
    let found = apart.finds("syn_recv_flood", |found| {
        found.counts["syncookies"] == of("SyncookiesSent") && found.counts["again"] == held
    });
    assert_eq!(found.count, held, "{found:#?}");
    let bound = found.exhaustion.as_ref().unwrap();
    assert_eq!((bound.used, bound.limit), (held, BACKLOG));
    assert_eq!((pid(&found), &found.service), (Some(apart.server.pid()), &port(flooded.local())));
    assert_eq!(found.severity, "serious");
    assert!(of("TCPSynRetrans") >= held);
    // Cookies stand in for requests that were never held: nothing is amiss elsewhere.
    let told = super::diagnosis(&apart.daemon, "").findings;
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[test]
#[ignore = "needs root"]
fn an_accept_queue_that_overflows_is_told_by_listener() {
    /// Asked for; the kernel lets in one more.
    const ROOM: u64 = 2;
    const CLIENTS: usize = 6;
    let ward = Ward::new(&[]);
    let calm = ward.listen();
    let stuck = ward.server.socket(loopback(true));
    stuck.bind(loopback(true)).unwrap();
    stuck.listen(ROOM.cast_signed());
    let _taken = (ward.client.connect(calm.local()), calm.accept());
    for _ in 0..CLIENTS {
        let client = ward.client.socket(stuck.local());
        client.set_nonblocking();
        let begun = client.connect(stuck.local()).unwrap_err();
        assert_eq!(begun.raw_os_error(), Some(libc::EINPROGRESS));
    }
    let overflows = || truth::mib(&ward.netns, "TcpExt", "ListenOverflows");
    // Each SYN that is sent again overflows again.
    let found = ward.finds("accept_queue", |found| {
        found.count == ROOM + 1 && found.counts["overflows"] == overflows()
    });
    assert!(overflows() >= CLIENTS as u64 - (ROOM + 1));
    assert_eq!((pid(&found), &found.service), (Some(ward.server.pid()), &port(stuck.local())));
    assert_eq!(found.severity, "serious");
    let bound = found.exhaustion.as_ref().unwrap();
    assert_eq!((bound.used, bound.limit), (ROOM + 1, ROOM));
    let queues = ward.diagnosis().findings;
    assert_eq!(queues.iter().filter(|found| found.kind == "accept_queue").count(), 1);

    // Once they are accepted, what overflowed is remembered, and no queue is full.
    for _ in 0..CLIENTS {
        stuck.accept();
    }
    let found = ward.finds("accept_queue", |found| found.count == 0);
    assert_eq!(found.counts["overflows"], overflows());
}
