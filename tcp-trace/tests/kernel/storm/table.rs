//! The daemon's table beside the kernel's own.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tcp_trace::{
    api::{Connection, Endpoint, Status},
    core::tcp_state::TcpState,
};

use crate::{
    daemon::Daemon,
    deadline::until_good,
    netns::Netns,
    truth::{self, Row},
};

/// Between two looks at tables of thousands.
const PAUSE: Duration = Duration::from_millis(100);
/// Two rounds of reconciliation with the kernel, and what they take.
pub(super) const RECONCILED: Duration = Duration::from_secs(75);

type Table = BTreeSet<(u32, Row)>;

/// An end as the tests write it.
pub(super) fn address(end: &Endpoint) -> SocketAddr {
    SocketAddr::new(end.addr, end.port)
}

fn row(connection: &Connection) -> (u32, Row) {
    let row = Row {
        local: address(&connection.local),
        remote: address(&connection.remote),
        state: connection.state.parse().unwrap(),
        mini: connection.mini,
    };
    (connection.netns.unwrap(), row)
}

/// What the kernel has, and apart from it how many half-open requests: they are counted, since a
/// flood of them must not fill the table.
fn kernel(netns: &[&Netns]) -> (Table, u64) {
    let of_one = |netns: &&Netns| {
        let inode = netns.inode();
        truth::with_minis(netns).into_iter().map(move |row| (inode, row))
    };
    let all: Table = netns.iter().flat_map(of_one).collect();
    let (requests, sockets): (Table, Table) =
        all.into_iter().partition(|(_, row)| row.state == TcpState::SynRecv);
    (sockets, requests.len() as u64)
}

/// Whether the daemon shows just what the kernel has: what is there before and after it was asked
/// must be shown, and nothing else than what was there at either time.
fn compare(daemon: &Daemon, netns: &[&Netns]) -> Result<(), String> {
    let (before, _) = kernel(netns);
    let open = daemon.open();
    let status: Status = serde_json::from_str(&daemon.get("/api/v1/status")).unwrap();
    let (after, requests) = kernel(netns);
    let shown: Table = open.iter().map(row).collect();
    let twice = open.len() - shown.len();
    let missing: Vec<_> = before.intersection(&after).filter(|row| !shown.contains(row)).collect();
    let extra: Vec<_> =
        shown.iter().filter(|row| !before.contains(row) && !after.contains(row)).collect();
    let half_open = status.half_open;
    if missing.is_empty() && extra.is_empty() && twice == 0 && half_open == requests {
        return Ok(());
    }
    Err(format!(
        "the kernel has {}, the daemon {}: {} are missing ({}), {} should not be there ({}), \
         {twice} are shown twice; {half_open} of {requests} requests are counted; {}",
        after.len(),
        shown.len(),
        missing.len(),
        by_state(&missing),
        extra.len(),
        by_state(&extra),
        excuses(daemon),
    ))
}

/// How many in each state, and a few of them.
fn by_state(rows: &[&(u32, Row)]) -> String {
    let mut states = std::collections::BTreeMap::<_, u64>::new();
    for (_, row) in rows {
        *states.entry(row.state.name()).or_default() += 1;
    }
    format!("{states:?}, such as {:?}", rows.iter().take(3).collect::<Vec<_>>())
}

/// What would explain a difference: probes that the kernel skipped, records lost or late.
pub(super) fn excuses(daemon: &Daemon) -> String {
    let metrics = daemon.get("/metrics");
    let telling = ["_misses_total{", "_late_records_total ", "_events_lost_total{"];
    let tells = |line: &&str| {
        !line.starts_with('#')
            && telling.iter().any(|name| line.contains(name))
            && !line.ends_with(" 0")
    };
    metrics.lines().filter(tells).collect::<Vec<_>>().join("; ")
}

/// Waits until both tables are the same.
#[track_caller]
pub(super) fn judge(daemon: &Daemon, netns: &[&Netns], patience: Duration) {
    let start = Instant::now();
    match until_good(patience, PAUSE, || compare(daemon, netns)) {
        Ok(took) => println!("the tables are the same after {took:?}"),
        Err(complaint) => panic!("{complaint}, in {:?}", start.elapsed()),
    }
}
