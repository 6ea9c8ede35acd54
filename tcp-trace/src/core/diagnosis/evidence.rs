//! What the host itself says, beside its sockets' states: gathered outside, judged here.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    time::Duration,
};

use rustc_hash::FxHashMap;

use crate::core::{clock::Ts, event::Comm};

/// A descriptor that refers to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptor {
    /// Whose.
    pub pid: u32,
    /// That process's name.
    pub comm: Comm,
    /// Its number.
    pub fd: i32,
}

/// What is known of one socket that is looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// Every descriptor that refers to it, by process and number; a few of many.
    pub holders: Vec<Descriptor>,
    /// How many there are.
    pub holders_count: u32,
    /// Since when no data has been sent from here, and for how long the peer has been silent.
    pub idle: Option<Idle>,
}

/// For how long a socket has done nothing, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Since data was sent from here.
    pub sent: Duration,
    /// Since data came.
    pub received: Duration,
    /// Since anything at all came: nothing does after a FIN but what our own data asks for.
    pub heard: Duration,
}

/// What is known of one process that is looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Descriptors it has open.
    pub descriptors: u64,
    /// How many it may have (`RLIMIT_NOFILE`, soft).
    pub limit: Option<u64>,
    /// Descriptors of sockets that no list of the kernel's shows: closed ones, and those never bound
    /// or connected. Some of them, lowest first.
    pub unlisted: Vec<i32>,
    /// How many; `None` where the lists could not be read.
    pub unlisted_count: Option<u64>,
}

/// A listener's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerQueue {
    /// Connections that wait for `accept()`.
    pub waiting: u32,
    /// How many may wait.
    pub room: u32,
}

/// Settings and figures of one network namespace; `None` of what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetnsFacts {
    /// `ip_local_port_range`: the first and the last port.
    pub ports: Option<(u16, u16)>,
    /// How many of those `ip_local_reserved_ports` keeps back.
    pub reserved: u32,
    /// `tcp_tw_reuse`: 0 never, 1 always, 2 on loopback alone.
    pub tw_reuse: Option<u32>,
    /// `tcp_timestamps`: 0 off. Without them nothing is reused.
    pub timestamps: Option<u32>,
    /// `tcp_max_tw_buckets`.
    pub tw_buckets: Option<u64>,
    /// `tcp_max_orphans`, of the whole host: the first namespace alone shows it.
    pub max_orphans: Option<u64>,
    /// `tcp_fin_timeout`, seconds.
    pub fin_timeout: Option<u32>,
    /// `somaxconn`.
    pub somaxconn: Option<u32>,
    /// `tcp_max_syn_backlog`.
    pub syn_backlog: Option<u32>,
    /// `tcp_syncookies`.
    pub syncookies: Option<u32>,
    /// Sockets without a process, on the whole host (`sockstat`).
    pub orphans: Option<u64>,
    /// Pages of memory that TCP uses, on the whole host (`sockstat`).
    pub memory_pages: Option<u64>,
    /// From how many pages on the kernel refuses (`tcp_mem`, the last figure).
    pub memory_limit: Option<u64>,
}

impl NetnsFacts {
    /// Ports that a `connect()` may choose from.
    #[must_use]
    pub fn port_budget(&self) -> Option<u64> {
        let (first, last) = self.ports?;
        let all = u64::from(last).checked_sub(u64::from(first))? + 1;
        Some(all.saturating_sub(u64::from(self.reserved)))
    }

    /// Whether `connect()` may take a port that stands in `TIME_WAIT`.
    #[must_use]
    pub fn reuses(&self, loopback: bool) -> bool {
        self.timestamps != Some(0)
            && match self.tw_reuse {
                Some(1) => true,
                // The default since 4.19.
                Some(2) => loopback,
                _ => false,
            }
    }
}

/// What one look at the host has told.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// When.
    pub at: Ts,
    /// Sockets that were looked into, by cookie.
    pub sockets: FxHashMap<NonZeroU64, SocketFacts>,
    /// Listeners, by cookie.
    pub listeners: FxHashMap<NonZeroU64, ListenerQueue>,
    /// Processes that were looked into.
    pub processes: BTreeMap<u32, ProcessFacts>,
    /// Processes that were asked about and have ended.
    pub ended: BTreeSet<u32>,
    /// By namespace.
    pub namespaces: BTreeMap<u32, NetnsFacts>,
    /// Whether not all descriptors could be looked at, for want of time or room.
    pub cut: bool,
}

/// Whom to look into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Sockets, by cookie.
    pub sockets: rustc_hash::FxHashSet<NonZeroU64>,
    /// Sockets of which only is asked for how long they have done nothing, by cookie.
    pub waiting: rustc_hash::FxHashSet<NonZeroU64>,
    /// Processes.
    pub processes: BTreeSet<u32>,
    /// Processes that may keep descriptors of sockets that are closed.
    pub closed: BTreeSet<u32>,
    /// Processes that found no local port: do they live? By number, with their start
    /// (`CLOCK_BOOTTIME`, nanoseconds) where that is known.
    pub failing: BTreeMap<u32, Option<NonZeroU64>>,
}

impl Suspects {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
            && self.processes.is_empty()
            && self.closed.is_empty()
            && self.failing.is_empty()
    }
}
