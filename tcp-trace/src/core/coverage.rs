//! Own counts against the kernel's: whether the tracer sees what the kernel says has happened.
//!
//! The kernel counts in each network namespace for itself, we count for all that are traced. Both
//! are taken since the first reading, which is close to the moment at which tracing began.

use std::collections::BTreeMap;

use tcp_trace_common as wire;

use super::{population::Matrix, tcp_state::TcpState as S};

mod mib;
#[cfg(test)]
mod tests;

pub use mib::{Mib, Mibs};

/// What both sides count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `connect()`s that sent a SYN.
    ActiveOpens,
    /// Children of listeners.
    PassiveOpens,
    /// Ends in `SYN_SENT` or `SYN_RECV`. The kernel leaves out those that the process itself ended
    /// and counts resets of request sockets, which are not in the matrix.
    AttemptFails,
    /// Ends in ESTABLISHED or `CLOSE_WAIT`.
    EstabResets,
    /// Segments sent again. The kernel counts the segments of a large packet one by one.
    Retransmits,
    /// Mini-sockets born.
    TimeWait,
}

impl Counter {
    /// Each.
    pub const ALL: [Self; 6] = [
        Self::ActiveOpens,
        Self::PassiveOpens,
        Self::AttemptFails,
        Self::EstabResets,
        Self::Retransmits,
        Self::TimeWait,
    ];

    /// Name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActiveOpens => "active_opens",
            Self::PassiveOpens => "passive_opens",
            Self::AttemptFails => "attempt_fails",
            Self::EstabResets => "estab_resets",
            Self::Retransmits => "retransmits",
            Self::TimeWait => "time_wait",
        }
    }

    /// The kernel's figures that together count the same.
    ///
    /// A mini-socket with four seconds or less to go counts as `TWKilled`, with more as `TW`
    /// (`__inet_twsk_schedule()`); `TCPTimeWaitOverflow` counts those that could not be had.
    const fn kernels(self) -> &'static [Mib] {
        match self {
            Self::ActiveOpens => &[Mib::ActiveOpens],
            Self::PassiveOpens => &[Mib::PassiveOpens],
            Self::AttemptFails => &[Mib::AttemptFails],
            Self::EstabResets => &[Mib::EstabResets],
            Self::Retransmits => &[Mib::RetransSegs],
            Self::TimeWait => &[Mib::TimeWait, Mib::TimeWaitKilled],
        }
    }
}

/// Which hooks beside the state changes are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooked {
    /// `tcp_connect()`.
    pub connects: bool,
    /// Births of mini-sockets, where the kernel counts these (5.18).
    pub time_wait: bool,
    /// Segments and SYN-ACKs sent again.
    pub retransmits: bool,
}

/// Our counts at one moment; `None` of what is not counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ours([Option<u64>; Counter::ALL.len()]);

impl Ours {
    /// From the block of counters (see [`wire::COUNTER_SLOTS`]) and the matrix at its head, cleared
    /// of what the tracer made itself.
    #[must_use]
    pub fn new(counters: &[u64], matrix: &Matrix, hooked: Hooked) -> Self {
        let slots = |slots: &[usize]| {
            slots.iter().map(|slot| counters.get(*slot).copied().unwrap_or(0)).sum::<u64>()
        };
        let ends = |states: [S; 2]| states.iter().map(|state| matrix.get(*state, S::Close)).sum();
        Self(Counter::ALL.map(|counter| {
            match counter {
                Counter::ActiveOpens if hooked.connects => Some(slots(&[wire::COUNTER_CONNECTS])),
                // With those that found no port or no route, for which no SYN was sent.
                Counter::ActiveOpens => Some(matrix.get(S::Close, S::SynSent)),
                Counter::PassiveOpens => Some(matrix.get(S::Listen, S::SynRecv)),
                Counter::AttemptFails => Some(ends([S::SynSent, S::SynRecv])),
                Counter::EstabResets => Some(ends([S::Established, S::CloseWait])),
                Counter::Retransmits => hooked
                    .retransmits
                    .then(|| slots(&[wire::COUNTER_RETRANSMITS, wire::COUNTER_SYNACK_RETRANSMITS])),
                Counter::TimeWait => hooked.time_wait.then(|| {
                    slots(&[wire::COUNTER_TIME_WAIT_BORN, wire::COUNTER_TIME_WAIT_BORN_FIN_WAIT2])
                }),
            }
        }))
    }

    fn get(&self, counter: Counter) -> Option<u64> {
        self.0.get(counter as usize).copied().flatten()
    }
}

/// One namespace's figures, when it was first read and last.
#[derive(Clone, Copy, Debug)]
struct Followed {
    first: Mibs,
    last: Mibs,
}

/// Both sides' counts since tracing began.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    namespaces: BTreeMap<u32, Followed>,
    /// Of namespaces that are gone, as they were last read.
    departed: Mibs,
    first: Option<Ours>,
    last: Ours,
    /// A namespace could not be read, so the kernel's side is too small.
    partial: bool,
}

impl Coverage {
    /// Takes the figures of the traced namespaces and our counts of the same moment. A namespace
    /// met for the first time after the first reading was born meanwhile, and began at zero.
    pub fn take(&mut self, readings: &[(u32, Mibs)], partial: bool, ours: Ours) {
        let begins = self.first.is_none();
        for (netns, now) in readings {
            if self.namespaces.get(netns).is_some_and(|known| now.is_before(&known.last)) {
                // The number has passed to another namespace.
                self.depart(*netns);
            }
            let first = if begins { *now } else { Mibs::default() };
            let known = self.namespaces.entry(*netns).or_insert(Followed { first, last: *now });
            known.last = *now;
        }
        self.first.get_or_insert(ours);
        self.last = ours;
        self.partial = partial;
    }

    /// Notes that a namespace is gone. What happened in it after its last reading is not known.
    pub fn depart(&mut self, netns: u32) {
        if let Some(gone) = self.namespaces.remove(&netns) {
            self.departed.add(&gone.last.less(&gone.first));
        }
    }

    /// What the kernel has counted since tracing began, in all traced namespaces.
    #[must_use]
    pub fn kernels(&self) -> Mibs {
        let mut sum = self.departed;
        for known in self.namespaces.values() {
            sum.add(&known.last.less(&known.first));
        }
        sum
    }

    /// Our count over the kernel's, of what both can count: 1 where they agree, also where nothing
    /// has happened; more where we count what the kernel does not. Where the kernel counts nothing
    /// at all it is one more than our count, so that it is a number.
    #[must_use]
    pub fn ratios(&self) -> Vec<(&'static str, f64)> {
        let Some(first) = self.first.filter(|_| !self.partial) else { return Vec::new() };
        let kernels = self.kernels();
        let ratio = |counter: Counter| {
            let ours = self.last.get(counter)?.saturating_sub(first.get(counter)?);
            let known = counter.kernels().iter().filter_map(|mib| kernels.get(*mib));
            let theirs: u64 = known.sum();
            let (ours, theirs) =
                if theirs == 0 { (ours.saturating_add(1), 1) } else { (ours, theirs) };
            Some((counter.name(), float(ours) / float(theirs)))
        };
        Counter::ALL.into_iter().filter_map(ratio).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
fn float(count: u64) -> f64 {
    count as f64
}
