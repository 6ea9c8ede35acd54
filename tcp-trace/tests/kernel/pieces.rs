//! Snapshots that come in several pieces, while connections come and go.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use rustix::{
    net::sockopt::set_socket_linger,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::{
    daemon::{Daemon, Metrics},
    netns::Netns,
    owners::Attached,
    snapshot::until_gauges,
};

/// Connections of which both ends stay.
const KEPT: usize = 4_000;
/// Those whose client closes and whose server does not: a full socket and a mini-socket each.
const LEAKED: usize = 5_000;
/// Connections that come and go meanwhile, in one gust.
const GUST: usize = 1_500;
/// How many gusts there are at most.
const GUSTS: usize = 12;
/// Snapshots that are to be taken in the storm.
const SNAPSHOTS: u64 = 3;
/// Room for the records of a storm while nobody reads.
const ROOM: &str = "--buffer-size=8388608";

const WHOLE: &str = "tcp_trace_snapshots_total{result=\"whole\"}";

/// Both ends of a connection.
fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// One that ends in order, by either side, or by a RST.
fn come_and_go(number: usize, listener: &TcpListener) {
    let (client, server) = pair(listener);
    let (mut first, mut second) =
        if number.is_multiple_of(2) { (client, server) } else { (server, client) };
    if number.is_multiple_of(3) {
        set_socket_linger(&first, Some(Duration::ZERO)).unwrap();
        return;
    }
    first.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap(), 0);
    drop(second);
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
}

fn corrected(metrics: &Metrics) -> u64 {
    metrics.nonzero("tcp_trace_reconciled_total").values().sum()
}

#[test]
#[ignore = "needs root"]
fn what_happens_between_the_pieces_of_a_snapshot_is_told_as_ever() {
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let netns = Netns::new();
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (listener, kept, leaked) = netns.within(|| {
        let listener = TcpListener::bind(nowhere).unwrap();
        let kept: Vec<_> = (0..KEPT).map(|_| pair(&listener)).collect();
        let leaked: Vec<_> = (0..LEAKED).map(|_| pair(&listener).1).collect();
        (listener, kept, leaked)
    });

    // They are found in several pieces, each as it is.
    let daemon = Daemon::reconciling(&[&netns], 100, &[ROOM]);
    until_gauges(&daemon, &[&netns]);
    let (before, seen) = (daemon.metrics(), Attached::of(&daemon));

    let snapshots = || daemon.metrics().count(WHOLE) - before.count(WHOLE);
    for _ in 0..GUSTS {
        netns.within(|| {
            let listener = TcpListener::bind(nowhere).unwrap();
            (0..GUST).for_each(|number| come_and_go(number, &listener));
        });
        if snapshots() >= SNAPSHOTS {
            break;
        }
    }
    assert!(snapshots() > 0, "no snapshot in the storm");
    until_gauges(&daemon, &[&netns]);
    let metrics = daemon.metrics();
    let lost = metrics.nonzero("tcp_trace_events_lost_total");
    assert!(lost.is_empty(), "{lost:?}");
    // Where everything is hooked, there is nothing left to be found by looking.
    let missed: u64 = metrics.nonzero("tcp_trace_probe_misses_total").values().sum();
    assert!(
        !seen.all || corrected(&metrics) <= missed,
        "{:?} corrected",
        metrics.nonzero("tcp_trace_reconciled_total")
    );

    // What goes at once is gone at once.
    drop((kept, leaked, listener));
    until_gauges(&daemon, &[&netns]);
    assert!(!seen.all || corrected(&daemon.metrics()) <= missed);
}
