//! A million SYNs from as many sources: counted each, reported within a budget, and what else the
//! host does is told as on any day.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    daemon::Daemon,
    deadline::until,
    story::{counts, turned},
    truth,
    wire::Wire,
};

/// SYNs of the flood.
const SYNS: u32 = 1_000_000;
/// What the daemon may grow by, in bytes: buffers, requests and segments that wait for a connection
/// are all bounded.
const GROWTH: u64 = 96 << 20;
/// Reports a second and CPU that are let through.
const RATE: u64 = 5_000;

const SYN_IN: &[(&str, &str)] = &[("direction", "in"), ("flag", "syn")];

#[test]
#[ignore = "needs root"]
fn a_million_syns_from_as_many_sources() {
    let wire = Wire::new();
    // Answers to the flood go back into the wire, and are lost there.
    wire.lose();
    wire.right.route_all("wire");
    let rate = RATE.to_string();
    let arguments =
        ["--segments=on", "--interface=wire", "--interface=lo", "--segment-rate", &rate];
    let daemon = Daemon::start(&[&wire.right], &arguments);
    let (client, server) = (wire.right.actor("fl-client"), wire.right.actor("fl-server"));
    let flooded = server.listen((Wire::right_address(true), 0).into());
    let SocketAddr::V4(target) = flooded.local() else { unreachable!() };
    let before = (memory(&daemon), syns(&daemon), truth::mib(&wire.right, "Tcp", "InSegs"));

    // Connections of the host's own meanwhile, each of them to be told whole.
    let other = server.listen((Ipv4Addr::LOCALHOST, 0).into());
    let over = AtomicBool::new(false);
    let ends = std::thread::scope(|scope| {
        scope.spawn(|| {
            wire.pour(1, (0..SYNS).map(|number| syn(number, target)));
            over.store(true, Ordering::Release);
        });
        let mut ends = Vec::new();
        while !over.load(Ordering::Acquire) {
            let near = client.connect(other.local());
            ends.push((near.local(), other.local()));
            let far = other.accept();
            near.close();
            far.read_to_end(b"");
            far.close();
            // What is closed is not kept for ever.
            if ends.len() > 2_000 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        ends
    });
    assert!(ends.len() > 20, "{} connections", ends.len());

    // Every SYN that the kernel took in, and no other.
    let own = u64::try_from(ends.len()).unwrap();
    let wanted = before.1 + u64::from(SYNS) + own;
    until(
        || format!("{} SYNs are counted, and there were {wanted}", syns(&daemon)),
        || (syns(&daemon) == wanted).then_some(()),
    );
    let metrics = daemon.metrics();
    // SYNs that wait for a connection are many, and the oldest of them go.
    let mut lost = metrics.nonzero("tcp_trace_events_lost_total");
    lost.retain(|labels, _| !labels.contains("segment_pending_full"));
    assert!(lost.is_empty(), "{lost:#?}");
    until(
        || format!("reported or folded, and passed: {:?}", told_and_passed(&daemon)),
        || {
            let ([reported, folded], passed) = told_and_passed(&daemon);
            assert!(folded > 0, "the budget of {RATE} a second was never used up");
            (reported + folded == passed).then_some(())
        },
    );
    let grown = memory(&daemon).saturating_sub(before.0);
    assert!(grown < GROWTH, "the daemon has grown by {grown} bytes");

    // The others' states are told whole, whatever became of their segments. To ask for one is to
    // look through all that are held.
    let step = ends.len().div_ceil(40);
    for (client, server) in ends.iter().rev().step_by(step) {
        for ends in [(*client, *server), turned((*client, *server))] {
            let stories = daemon.stories(ends.0, ends.1);
            assert!(stories.iter().any(|known| known.complete), "{ends:?}: {stories:#?}");
        }
    }
    counts(&daemon, "tcp_trace_illegal_transitions_total", 0);
}

/// Segments that were reported, those that were folded, and all that were to be either.
fn told_and_passed(daemon: &Daemon) -> ([u64; 2], u64) {
    let metrics = daemon.metrics();
    let folded = metrics.nonzero("tcp_trace_segments_folded_total").values().sum();
    let reported = metrics.count("tcp_trace_events_total{kind=\"segment\"}");
    let all = metrics.nonzero("tcp_trace_segments_total");
    let control = all.iter().filter(|(labels, _)| !labels.contains("flag=\"other\""));
    ([reported, folded], control.map(|(_, count)| count).sum())
}

/// SYNs that came in by either interface.
fn syns(daemon: &Daemon) -> u64 {
    let metrics = daemon.metrics();
    let is = |labels: &str| {
        SYN_IN.iter().all(|(name, value)| labels.contains(&format!("{name}=\"{value}\"")))
    };
    let all = metrics.nonzero("tcp_trace_segments_total");
    all.iter().filter(|(labels, _)| is(labels)).map(|(_, count)| count).sum()
}

/// The most memory that it has had, in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The SYN with this number: each has a source of its own.
pub(crate) fn syn(number: u32, to: SocketAddrV4) -> Vec<u8> {
    // Documentation and benchmark addresses and what is around them: nobody answers from there.
    let mixed = number.wrapping_mul(0x9e37_79b1);
    let from = Ipv4Addr::from(0xc612_0000 | mixed & 0x1_ffff);
    let port = u16::try_from(1024 + (mixed >> 17)).unwrap();
    let mut tcp = [port.to_be_bytes(), to.port().to_be_bytes()].concat();
    tcp.extend(number.to_be_bytes());
    tcp.extend([0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [&from.octets()[..], &to.ip().octets(), &[0, 6, 0, 20]].concat();
    let sum = checksum(&[&pseudo[..], &tcp].concat());
    tcp[16..18].copy_from_slice(&sum);
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    ip.extend(from.octets());
    ip.extend(to.ip().octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [ip, tcp].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
