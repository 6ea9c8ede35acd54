//! As many processes and peers as an attacker likes: series stay bounded, what is folded is counted,
//! and a scrape costs the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::broadcast;

use super::*;
use crate::{
    core::{
        clock::{Ts, WallOffset},
        event::{Body, Event, Flow, Origin, Protocol, SockFlags, SocketId, StateChange, Task},
        table::Limits,
    },
    engine::{
        figures::World,
        tracer::{Identity, KernelFigures, Tracer},
    },
};

/// Names with metrics of their own.
const KEPT: usize = 50;

const SECOND: u64 = 1_000_000_000;

/// A name that its process has chosen with malice: quotes, line ends, escapes, what is no UTF-8.
fn hostile_name(number: usize) -> Comm {
    let mut comm = [0; 16];
    let odd: [&[u8]; 8] =
        [b"\"} 1\n", b"\\", b"\n", b"\xff\xfe", b"{a=\"", b"\r\t\x01", b"other", b"# EOF\n"];
    let text = [odd[number % odd.len()], format!("{number:x}").as_bytes()].concat();
    comm[..text.len()].copy_from_slice(&text);
    Comm(comm)
}

/// A tracer that has seen `connections` to as many peers go to `CLOSE_WAIT`, by `names` processes in
/// turn, minutes ago.
fn tracer(connections: usize, names: usize) -> (Tracer, Ts) {
    let identity = Identity { process_limit: KEPT, ..Identity::default() };
    let inbox = (broadcast::channel(1).0, Arc::default());
    let limits = Limits { live: 1_000_000, closed: 10_000 };
    let mut tracer = Tracer::new(identity, limits, inbox, Ts(0), WallOffset { epoch_ns: 0 });
    let mut at = SECOND;
    for number in 0..connections {
        let peer = Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap());
        let port = 1024 + u16::try_from(number % 60_000).unwrap();
        let flow = Flow {
            local: SocketAddr::from(([192, 0, 2, 1], port)),
            remote: SocketAddr::new(IpAddr::V4(peer), 80),
        };
        let pid = 100 + u32::try_from(number % names).unwrap();
        let task = Task { pid, tid: pid, comm: hostile_name(number % names) };
        for (old, new) in [
            (TcpState::Close, TcpState::SynSent),
            (TcpState::SynSent, TcpState::Established),
            (TcpState::Established, TcpState::CloseWait),
        ] {
            at += 1000;
            let change = StateChange {
                socket: SocketId { cookie: None, sk: 64 * (1 + number as u64) },
                origin: Origin::Live,
                old,
                new,
                flow,
                protocol: Protocol::Tcp,
                netns: Some(1),
                error: 0,
                transfer: None,
                flags: Some(SockFlags { attached: true, ..SockFlags::default() }),
                current: Some(task),
                silent: None,
            };
            tracer.take_event(&Event { at: Ts(at), body: Body::State(change) });
        }
    }
    at += 300 * SECOND;
    tracer.ended_at(Ts(at));
    (tracer, Ts(at))
}

fn figures_of(tracer: &Tracer, now: Ts) -> Figures {
    tracer.figures_of(World::default(), now, &KernelFigures::default())
}

/// The value of a sample, and those of its labels whose name is `label`.
fn values<'a>(text: &'a str, metric: &str, label: &str) -> BTreeMap<&'a str, f64> {
    let mut sums = BTreeMap::new();
    let prefix = format!("{metric}{{{label}=\"");
    for sample in samples(text) {
        if let Some(rest) = sample.strip_prefix(prefix.as_str()) {
            let (labels, value) = rest.rsplit_once(' ').unwrap();
            // Up to the quote that no backslash stands before.
            let mut escape = false;
            let end = labels.find(|c| {
                let ends = c == '"' && !escape;
                escape = c == '\\' && !escape;
                ends
            });
            let value: f64 = value.parse().unwrap();
            *sums.entry(&labels[..end.unwrap()]).or_insert(0.0) += value;
        }
    }
    sums
}

fn the(text: &str, metric: &str) -> f64 {
    let line = samples(text).into_iter().find_map(|line| line.strip_prefix(metric)).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn five_thousand_processes_and_a_hundred_thousand_peers() {
    let (crowd, now) = tracer(100_000, 5_000);
    let figures = figures_of(&crowd, now);
    let text = text(&figures);
    lint(&text);
    assert_unique(&text);
    let metric = "tcp_trace_process_connections";
    let sums = values(&text, metric, "process");
    assert_eq!(sums.len(), KEPT + 1);
    assert!((sums["other"] - 99_000.0).abs() < 0.5, "{sums:?}");
    let all: f64 = sums.values().sum();
    assert!((all - 100_000.0).abs() < 0.5, "{metric} adds up: {all}");
    for metric in [
        "tcp_trace_close_wait_oldest_seconds",
        "tcp_trace_fd_exhaustion_seconds",
        "tcp_trace_close_wait_leaked",
        "tcp_trace_close_wait_leaks_total",
    ] {
        let sums = values(&text, metric, "process");
        assert!(sums.len() <= KEPT + 1, "{metric}: {}", sums.len());
    }
    assert!((the(&text, "tcp_trace_process_names_folded ") - 4_950.0).abs() < 0.5);
    assert!(the(&text, "tcp_trace_diagnosis_folded ") > 0.0);
    let destinations = values(&text, "tcp_trace_time_wait_port_usage_ratio", "destination");
    assert_eq!(destinations.len(), 11, "{destinations:?}");
    assert!(destinations["other"] > 0.0);
    assert!(the(&text, "tcp_trace_time_wait_port_destinations_folded ") >= 4_000.0);

    // As many series as with fewer names and peers, and the same in the other format.
    let (fewer, then) = tracer(600, 60);
    let fewer = super::text(&figures_of(&fewer, then));
    assert_eq!(samples(&text).len(), samples(&fewer).len());
    let open = in_format(Format::OpenMetrics, &figures);
    assert_eq!(samples(&open).len(), samples(&text).len());
    let bytes: BTreeSet<_> = open.bytes().filter(|byte| *byte < b' ' && *byte != b'\n').collect();
    assert!(bytes.is_subset(&BTreeSet::from([b'\r', b'\t', 1])), "{bytes:?}");
}

/// The least time of some tries: others' work on the machine makes it longer, never shorter.
fn least(mut work: impl FnMut()) -> Duration {
    let timed = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..30).map(timed).min().unwrap()
}

#[test]
fn a_scrape_costs_the_same_with_a_hundred_connections_as_with_a_hundred_thousand() {
    let cost = |connections| {
        let (tracer, now) = tracer(connections, 10);
        let text = text(&figures_of(&tracer, now));
        let taken = least(|| drop(std::hint::black_box(figures_of(&tracer, now))));
        (samples(&text).len(), taken)
    };
    let (few, many) = (cost(100), cost(100_000));
    assert_eq!(few.0, many.0, "as many samples");
    // A walk over the table would take some hundred times as long.
    assert!(many.1 < few.1 * 8 + Duration::from_micros(50), "{few:?} {many:?}");
}
