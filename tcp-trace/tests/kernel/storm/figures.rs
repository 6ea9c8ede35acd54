//! The daemon's figures beside the kernel's MIBs, from one moment to another.

use std::collections::BTreeMap;

use crate::{
    daemon::{Daemon, Metrics},
    deadline::until_good,
    needs,
    netns::Netns,
    owners::Attached,
    truth,
};

/// Both, at one moment.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    metrics: Metrics,
    mibs: BTreeMap<&'static str, u64>,
}

/// What the kernel counts, and under which heading.
const MIBS: [(&str, &str); 7] = [
    ("Tcp", "ActiveOpens"),
    ("Tcp", "PassiveOpens"),
    ("Tcp", "AttemptFails"),
    ("Tcp", "EstabResets"),
    ("TcpExt", "TW"),
    ("TcpExt", "TWKilled"),
    ("TcpExt", "TWRecycled"),
];

impl Figures {
    /// Those of now: of a moment at which the kernel counted nothing.
    pub(super) fn now(daemon: &Daemon, netns: &[&Netns]) -> Self {
        let mib = |&(group, name): &(&'static str, &'static str)| {
            (name, netns.iter().map(|netns| truth::mib(netns, group, name)).sum())
        };
        let read = || MIBS.iter().map(mib).collect::<BTreeMap<_, _>>();
        let mut mibs = read();
        loop {
            let metrics = daemon.metrics();
            let after = read();
            if after == mibs {
                return Self { metrics, mibs };
            }
            mibs = after;
        }
    }

    fn mib(&self, before: &Self, name: &str) -> u64 {
        self.mibs[name] - before.mibs[name]
    }

    fn count(&self, before: &Self, series: &str) -> u64 {
        self.metrics.count(series) - before.metrics.count(series)
    }

    fn moves(&self, before: &Self, cell: &str) -> u64 {
        let count = |figures: &Self| figures.metrics.matrix().get(cell).copied().unwrap_or(0);
        count(self) - count(before)
    }

    /// Each pair that must be equal: what it is, the daemon's count, the kernel's.
    fn pairs(&self, before: &Self, given_up: u64) -> Vec<(&'static str, u64, u64)> {
        let opened = |direction| {
            let series = "tcp_trace_connections_opened_total";
            self.count(before, &format!("{series}{{direction=\"{direction}\"}}"))
        };
        let failed = self.moves(before, "syn_sent>close") + self.moves(before, "syn_recv>close");
        let reset =
            self.moves(before, "established>close") + self.moves(before, "close_wait>close");
        let mib = |name| self.mib(before, name);
        vec![
            ("opened outbound", opened("outbound"), mib("ActiveOpens")),
            ("opened inbound", opened("inbound"), mib("PassiveOpens")),
            // A `connect()` that the process itself gives up is no failed attempt to the kernel.
            ("attempts that failed", failed, mib("AttemptFails") + given_up),
            ("reset while established", reset, mib("EstabResets")),
        ]
    }

    /// Mini-sockets: what it is, ours, and what ours must be by the kernel's count.
    ///
    /// Before 5.19 the kernel counts one once its time is over, since then as it begins. Where no
    /// hook counts them they are inferred from records, and those can be lost.
    fn mini_sockets(&self, before: &Self, counted: bool) -> (&'static str, u64, u64) {
        let started = self.count(before, "tcp_trace_time_wait_started_total");
        let expired = self.count(before, "tcp_trace_time_wait_ended_total{reason=\"expired\"}");
        let kernels = self.mib(before, "TW") + self.mib(before, "TWKilled");
        let lost = self.count(before, "tcp_trace_events_lost_total{stage=\"output_enospc\"}");
        match (needs::is_at_least((5, 19)), counted) {
            (true, false) if lost > 0 => ("TIME_WAIT begun", started, started.min(kernels)),
            (true, _) => ("TIME_WAIT begun", started, kernels),
            (false, true) => ("TIME_WAIT expired", expired, kernels),
            (false, false) => ("TIME_WAIT begun", started, started.max(kernels)),
        }
    }
}

/// Waits until all that was counted since `before` equals what the kernel has.
#[track_caller]
pub(super) fn judge(daemon: &Daemon, netns: &[&Netns], before: &Figures, given_up: u64) {
    let counted = Attached::of(daemon).mini_sockets;
    let look = || {
        let now = Figures::now(daemon, netns);
        let mut pairs = now.pairs(before, given_up);
        pairs.push(now.mini_sockets(before, counted));
        // What the kernel did not show us it counts: no more than that may be missing.
        let missed: u64 = now.metrics.nonzero("tcp_trace_probe_misses_total").values().sum();
        let unexplained = |(_, ours, kernels): &&(_, u64, u64)| {
            ours > kernels || kernels.saturating_sub(*ours) > missed
        };
        let wrong: Vec<_> = pairs.iter().filter(unexplained).collect();
        if wrong.is_empty() {
            println!("counted as the kernel does: {pairs:?}");
            return Ok(());
        }
        Err(format!("(what, counted, in the kernel): {wrong:?}; {}", super::table::excuses(daemon)))
    };
    // Gauges and counters come from the kernel's own counts; what is inferred lags by the window.
    let waits = (std::time::Duration::from_secs(20), std::time::Duration::from_millis(200));
    until_good(waits.0, waits.1, look).unwrap();
}
