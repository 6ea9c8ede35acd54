//! What one round gathers for the diagnosis, beside the rows of the snapshots.

use rustc_hash::FxHashMap;

use crate::{
    core::{
        clock::Ts,
        diagnosis::evidence::{HostFacts, ListenerQueue, NetnsFacts, SocketFacts, Suspects},
    },
    kernel::{
        descriptors::{self, Wanted},
        process_facts::{Start, are_all_seen, is_alive},
        settings,
        sock_diag::Row,
    },
};
use std::num::NonZeroU64;

/// Listeners whose queues are told.
const LISTENERS: usize = 1 << 16;
/// `TCP_LISTEN` of the kernel's `tcp_states.h`.
const TCP_LISTEN: u8 = 10;

/// What is being gathered.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    suspects: Suspects,
    facts: HostFacts,
    wanted: Wanted,
    /// `tcp_max_orphans`, which of all namespaces the first alone shows: this process's, mostly.
    max_orphans: Option<u64>,
    by_inode: FxHashMap<u32, NonZeroU64>,
}

impl Gathering {
    /// About these.
    pub(super) fn about(suspects: Suspects) -> Self {
        let wanted = Wanted {
            processes: suspects.processes.union(&suspects.closed).copied().collect(),
            closed: suspects.closed.clone(),
            ..Wanted::default()
        };
        let max_orphans = settings::max_orphans();
        Self { suspects, wanted, max_orphans, ..Self::default() }
    }

    /// Takes a namespace's full sockets.
    pub(super) fn take_rows(&mut self, rows: &[Row]) {
        for row in rows {
            if !self.suspects.closed.is_empty() && row.inode != 0 {
                self.wanted.listed.insert(row.inode);
            }
            let Some(cookie) = NonZeroU64::new(row.record.cookie) else { continue };
            if row.record.new_state == TCP_LISTEN {
                if self.facts.listeners.len() < LISTENERS {
                    let (waiting, room) = row.queues;
                    self.facts.listeners.insert(cookie, ListenerQueue { waiting, room });
                }
            } else if self.suspects.sockets.contains(&cookie) {
                let facts = SocketFacts { idle: row.idle, ..SocketFacts::default() };
                self.facts.sockets.insert(cookie, facts);
                if row.inode != 0 {
                    self.wanted.sockets.insert(row.inode);
                    self.by_inode.insert(row.inode, cookie);
                }
            } else if self.suspects.waiting.contains(&cookie) {
                let facts = SocketFacts { idle: row.idle, ..SocketFacts::default() };
                self.facts.sockets.insert(cookie, facts);
            }
        }
    }

    /// Takes a namespace's settings.
    pub(super) fn take_settings(&mut self, netns: u32, mut settings: NetnsFacts) {
        settings.max_orphans = settings.max_orphans.or(self.max_orphans);
        self.facts.namespaces.insert(netns, settings);
    }

    /// Looks for whoever holds the sockets; all that was gathered, as of `at`.
    pub(super) fn finish(mut self, at: Ts) -> HostFacts {
        if !self.wanted.sockets.is_empty() || !self.wanted.processes.is_empty() {
            let found = descriptors::look(&self.wanted);
            for (inode, holders) in found.holders {
                let facts = self.by_inode.get(&inode).and_then(|c| self.facts.sockets.get_mut(c));
                if let Some(facts) = facts {
                    (facts.holders, facts.holders_count) = (holders.some, holders.count);
                }
            }
            (self.facts.processes, self.facts.cut) = (found.processes, found.cut);
        }
        if !self.suspects.failing.is_empty() && are_all_seen() {
            let start = |ns: &NonZeroU64| Start::from_ns(ns.get());
            let ended = |pid: u32, ns: &Option<NonZeroU64>| !is_alive(pid, ns.as_ref().map(start));
            let failing = self.suspects.failing.iter();
            self.facts.ended =
                failing.filter(|(pid, ns)| ended(**pid, ns)).map(|(pid, _)| *pid).collect();
        }
        self.facts.at = at;
        self.facts
    }
}
