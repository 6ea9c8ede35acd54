//! All figures at one moment, for the metrics.

use std::time::Duration;

use crate::{
    api,
    core::{
        coverage::Coverage, diagnosis::Leaks, event::Comm, fold, half_open::HalfOpenCounts,
        population::Matrix, sources::Sources, statistics::Statistics, tcp_state::TcpState,
        time_wait::TimeWaitCounters,
    },
    kernel::{
        counters::{Counters, SegmentCounters},
        programs::ProgramRuns,
        segments::Standing,
    },
};

/// What a scrape needs, copied out so that rendering it holds up nobody.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Sockets in each state, by [`TcpState::index`].
    pub gauges: [u64; 13],
    /// The kernel's count of every transition.
    pub matrix: Matrix,
    /// What reached the table as events.
    pub sources: Sources,
    /// The kernel's count of mini-sockets; meaningful where [`Sources::time_wait`] is set.
    pub time_wait: TimeWaitCounters,
    /// Requests, and what became of them.
    pub half_open: HalfOpenCounts,
    /// The kernel's other counters.
    pub counters: Counters,
    /// Counters and histograms of the table.
    pub statistics: Statistics,
    /// The process names with the most connections.
    pub processes: Vec<ProcessFigures>,
    /// All other process names together.
    pub other_processes: ProcessFigures,
    /// How many names were folded into [`Figures::other_processes`].
    pub folded_processes: u64,
    /// Connections and listeners in the table.
    pub connections: u64,
    /// How many it may hold.
    pub connections_limit: u64,
    /// Events taken, by kind.
    pub events: Vec<(&'static str, u64)>,
    /// Events lost, by the place where they died; every place, zeros included.
    pub lost: Vec<(&'static str, u64)>,
    /// Losses as the perf buffers report them themselves.
    pub perf_record_lost: u64,
    /// Records that came too late to be put in order.
    pub late_records: u64,
    /// Where the packet programs are attached.
    pub segments: Standing,
    /// What the packet programs have counted.
    pub segment_counters: SegmentCounters,
    /// What has become of stacks, by name.
    pub stacks: Vec<(&'static str, u64)>,
    /// Whether short connections are told in one record.
    pub folding: fold::Standing,
    /// Every program, attached or not.
    pub hooks: Vec<api::Hook>,
    /// Owners whose executable and cgroup were not looked up, for want of room.
    pub unplaced: u64,
    /// The comparison with the host.
    pub world: World,
    /// What the diagnosis says, in figures.
    pub leaks: Leaks,
    /// The longest that the perf buffers waited for the tracer because of what else it did.
    pub longest_pass: Duration,
    /// What the kernel keeps about each attached program.
    pub programs: Vec<ProgramRuns>,
}

/// What came of comparing the table with the host's sockets.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Own counts against the kernel's.
    pub coverage: Coverage,
    /// Namespaces that are traced and could be looked into, the last time.
    pub namespaces: u64,
    /// Snapshots of a namespace that were whole.
    pub whole: u64,
    /// Snapshots in which sockets may be missing.
    pub cut: u64,
    /// Snapshots that could not be taken.
    pub failed: u64,
    /// Namespaces that went away.
    pub gone: u64,
}

/// Connections of one process name.
#[derive(Clone, Debug, Default)]
pub struct ProcessFigures {
    /// Its name, with what is no UTF-8 replaced.
    pub name: String,
    /// Connections by [`TcpState::index`].
    pub by_state: [u64; 13],
    /// Age of its oldest connection in `CLOSE_WAIT`.
    pub oldest_close_wait: Option<Duration>,
}

impl ProcessFigures {
    /// Figures under a process's name.
    #[must_use]
    pub fn named(name: &Comm) -> Self {
        Self { name: name.text().into_owned(), ..Self::default() }
    }

    /// Connections in `state`.
    #[must_use]
    pub fn in_state(&self, state: TcpState) -> u64 {
        self.by_state.get(state.index()).copied().unwrap_or(0)
    }
}
