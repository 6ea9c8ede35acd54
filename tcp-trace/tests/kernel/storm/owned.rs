//! Each connection's owner beside the process that made it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tcp_trace::api::{Connection, ConnectionList, Owner};

use super::{table::address, weather::Storm, worker::Worker};
use crate::{daemon::Daemon, deadline::until_good, owners::Attached};

/// What is told of everybody's ends.
#[derive(Debug, Default)]
struct Tally {
    outbound: u64,
    wrong: BTreeMap<String, u64>,
    examples: Vec<String>,
}

/// Waits until every owner that this host can know is right.
#[track_caller]
pub(super) fn judge(daemon: &Daemon, storm: &Storm, patience: Duration) {
    let attached = Attached::of(daemon);
    let look = || {
        let tally = tally(daemon, storm, attached);
        if tally.outbound != storm.connects() {
            let calls = storm.connects();
            return Err(format!("{calls} connect() calls, {} are told", tally.outbound));
        }
        // Whose call the kernel kept from us is found by looking, and not as well.
        let missed = missed_calls(daemon);
        if tally.wrong.values().sum::<u64>() <= missed {
            Ok(())
        } else {
            Err(format!("{tally:#?}, and {missed} calls are missed"))
        }
    };
    let took = until_good(patience, Duration::from_millis(500), look).unwrap();
    println!("every owner is right after {took:?} ({attached:?})");
}

/// How often the kernel says it has skipped a program of `connect()` or `accept()`.
fn missed_calls(daemon: &Daemon) -> u64 {
    let misses = daemon.metrics().nonzero("tcp_trace_probe_misses_total");
    let calls = misses
        .iter()
        .filter(|(program, _)| program.contains("\"connect_") || program.contains("\"accept_"));
    calls.map(|(_, count)| count).sum()
}

fn tally(daemon: &Daemon, storm: &Storm, attached: Attached) -> Tally {
    let body = daemon.get("/api/v1/connections?limit=0&closed=true");
    let list: ConnectionList = serde_json::from_str(&body).unwrap();
    let mut tally = Tally::default();
    for connection in list.connections.iter().filter(|connection| connection.state != "listen") {
        let workers = storm.workers.iter();
        let wrong =
            if let Some(worker) = workers.clone().find(|worker| connects(worker, connection)) {
                tally.outbound += 1;
                outbound(worker, connection)
            } else if let Some(worker) = workers.clone().find(|worker| serves(worker, connection)) {
                inbound(worker, connection, attached)
            } else {
                Some("nobody's".to_owned())
            };
        if let Some(wrong) = wrong {
            *tally.wrong.entry(wrong).or_default() += 1;
            if tally.examples.len() < 3 {
                tally.examples.push(format!("{connection:?}"));
            }
        }
    }
    tally
}

fn is_site(worker: &Worker, netns: u32, connection: &Connection, end: SocketAddr) -> bool {
    connection.netns == Some(netns)
        && worker.sites.iter().any(|sites| sites.addresses().contains(&end))
}

/// Whether it is this worker's client's.
fn connects(worker: &Worker, connection: &Connection) -> bool {
    is_site(worker, worker.netns.0, connection, address(&connection.remote))
}

/// Whether it is one of this worker's servers'.
fn serves(worker: &Worker, connection: &Connection) -> bool {
    is_site(worker, worker.netns.1, connection, address(&connection.local))
}

fn is(owner: Option<&Owner>, pid: u32, source: &str) -> bool {
    owner.is_some_and(|owner| owner.pid == pid && owner.source == source)
}

fn told(owner: Option<&Owner>, whose: &str) -> String {
    let source = owner.map_or("nobody", |owner| owner.source.as_str());
    format!("{whose}, told by {source}")
}

/// Both ways of seeing a `connect()` run in the process that makes it.
fn outbound(worker: &Worker, connection: &Connection) -> Option<String> {
    let owner = connection.owner.as_ref();
    (!is(owner, worker.client.pid(), "connect")).then(|| told(owner, "outbound"))
}

fn inbound(worker: &Worker, connection: &Connection, attached: Attached) -> Option<String> {
    let owner = connection.owner.as_ref();
    let ends = (address(&connection.local), address(&connection.remote));
    let Some(pids) = worker.made.accepted.get(&ends) else {
        // Nobody has accepted it: at most the listener's owner is known, of which there are two.
        let by_listener =
            owner.is_none_or(|owner| owner.source == "listener" && serves_as(worker, owner.pid));
        return (!by_listener).then(|| told(owner, "in the queue"));
    };
    let accepted = |source| pids.iter().any(|pid| is(owner, *pid, source));
    let right = if attached.accept {
        accepted("accept")
    } else if connection.closed_at.is_none() && holds(connection) {
        accepted("descriptor")
    } else {
        // It came and went without a trace of who took it.
        owner.is_none_or(|owner| serves_as(worker, owner.pid))
    };
    (!right).then(|| told(owner, "accepted"))
}

/// Whether somebody has a descriptor for it: not so of what closed first.
fn holds(connection: &Connection) -> bool {
    ["established", "close_wait"].contains(&connection.state.as_str())
}

fn serves_as(worker: &Worker, pid: u32) -> bool {
    worker.servers.iter().any(|server| server.pid() == pid)
}
