//! A reader that is stopped loses events, and says which figures that touches: timelines, and
//! nothing else.

use std::{collections::BTreeMap, fs, net::SocketAddr};

use rustix::process::Signal;
use tcp_trace::api::{Connection, ConnectionList};

use super::{
    counters::{Script, judge_gauges, until_counted},
    daemon::Daemon,
    deadline::until,
    netns::Netns,
    sock::Sock,
};

/// Connections while nobody reads: some 40,000 records, where the buffers hold a few hundred each.
const UNREAD: u64 = 5_000;

/// The first and the last CPU; on a host with one, the same.
fn cpus() -> [usize; 2] {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let mut numbers = online.trim().split([',', '-']).map(|number| number.parse().unwrap());
    let first = numbers.next().unwrap();
    [first, numbers.next_back().unwrap_or(first)]
}

#[test]
#[ignore = "needs root"]
fn counters_stay_exact_while_nobody_reads() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let [cpu, _] = cpus();
    client.pin(cpu);
    server.pin(cpu);
    let daemon = Daemon::start(&[&netns], &["--buffer-size=65536"]);
    let mut script = Script::new(&client, &server);
    let before = script.open();
    until_counted(&daemon, &script.caused);
    until_told(&daemon, before.0, |connection| connection.complete);

    stop(&daemon);
    script.client_resets(UNREAD / 2);
    script.open();
    script.client_closes(UNREAD / 2);
    script.half_close();
    daemon.signal(Signal::CONT);

    judge_after_loss(&daemon, &netns, &script);
    // What was open meanwhile may have missed something, and cannot tell.
    until_told(&daemon, before.0, |connection| !connection.complete);
    judge_new_ones(&daemon, &netns, &mut script);
}

/// Births on a CPU whose buffer is full, ends on one whose buffer is not: connections that the
/// tracer meets in the middle of their lives.
#[test]
#[ignore = "needs root"]
fn gauges_stay_exact_where_one_cpu_loses_and_another_does_not() {
    let netns = Netns::new();
    let (client, server) = (netns.actor("kt-client"), netns.actor("kt-server"));
    let [first, last] = cpus();
    client.pin(first);
    server.pin(last);
    let daemon = Daemon::start(&[&netns], &["--buffer-size=65536"]);
    let mut script = Script::new(&client, &server);
    stop(&daemon);
    script.client_resets(UNREAD / 5);
    script.server_closes(20);
    script.half_close();
    daemon.signal(Signal::CONT);
    judge_after_loss(&daemon, &netns, &script);
    judge_new_ones(&daemon, &netns, &mut script);
}

/// Stops the daemon, as a debugger or a starved host would.
pub(crate) fn stop(daemon: &Daemon) {
    let path = format!("/proc/{}/stat", daemon.pid());
    let state = || {
        let stat = fs::read_to_string(&path).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    daemon.signal(Signal::STOP);
    until(|| format!("the daemon is in state {}", state()), || (state() == 'T').then_some(()));
}

/// Counters and gauges are exact at once, and still when everything that was not lost is told; and
/// what was lost is counted.
fn judge_after_loss(daemon: &Daemon, netns: &Netns, script: &Script<'_>) {
    until_counted(daemon, &script.caused);
    judge_gauges(daemon, netns);
    let told_and_lost = || {
        let metrics = daemon.metrics();
        let told = metrics.count("tcp_trace_events_total{kind=\"state\"}");
        let lost = metrics.count("tcp_trace_events_lost_total{stage=\"output_enospc\"}");
        (told, lost)
    };
    let sent = script.caused.transitions();
    let (told, lost) = until(
        || format!("{:?} told and lost of {sent} sent", told_and_lost()),
        || Some(told_and_lost()).filter(|(told, lost)| told + lost == sent),
    );
    assert!(lost > 0 && told > 0, "{told} told, {lost} lost");
    let metrics = daemon.metrics();
    assert_eq!(metrics.matrix(), script.caused.matrix);
    judge_gauges(daemon, netns);
    // Other records than state changes share the buffers, and are counted apart.
    let stages = metrics.nonzero("tcp_trace_events_lost_total");
    let others = stages.get("stage=\"output_life_enospc\"").copied().unwrap_or(0);
    let mut expected = BTreeMap::from([("stage=\"output_enospc\"".to_owned(), lost)]);
    if others > 0 {
        expected.insert("stage=\"output_life_enospc\"".to_owned(), others);
    }
    assert_eq!(stages, expected);
    assert!(metrics.count("tcp_trace_perf_record_lost_total") <= lost + others);
}

/// What comes after a loss is whole again.
fn judge_new_ones(daemon: &Daemon, netns: &Netns, script: &mut Script<'_>) {
    let (client, server) = script.open();
    let ends = [(client.local(), "fin_active"), (server.local(), "fin_passive")];
    until_told(daemon, client, |connection| connection.complete);
    client.close();
    server.read_to_end(b"");
    server.close();
    script.caused.lives(1, "established fin_wait1 fin_wait2 close");
    script.caused.lives(1, "established close_wait last_ack close");
    until_counted(daemon, &script.caused);
    judge_gauges(daemon, netns);
    let port = ends[0].0.port();
    for (local, reason) in ends {
        let found = || find(daemon, local, &format!("&closed=true&port={port}"));
        let ended = until(
            || format!("it is told as {:#?}", found()),
            || found().filter(|connection| connection.close_reason.is_some()),
        );
        assert!(ended.complete, "{ended:#?}");
        assert_eq!(ended.close_reason.as_deref(), Some(reason));
    }
}

fn find(daemon: &Daemon, local: SocketAddr, more: &str) -> Option<Connection> {
    let body = daemon.get(&format!("/api/v1/connections?limit=0{more}"));
    let list: ConnectionList = serde_json::from_str(&body).unwrap();
    list.connections.into_iter().find(|c| SocketAddr::new(c.local.addr, c.local.port) == local)
}

/// Waits until the connection of `sock` is told, and as it should be.
fn until_told(daemon: &Daemon, sock: Sock<'_>, wanted: impl Fn(&Connection) -> bool) {
    let local = sock.local();
    let found = || find(daemon, local, "");
    until(|| format!("it is told as {:#?}", found()), || found().filter(&wanted).map(drop));
}
