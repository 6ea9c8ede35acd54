//! The TCP sockets that are there already, asked of the kernel through `NETLINK_SOCK_DIAG`.
//!
//! The answer covers the network namespace of the calling thread. It is no single moment: the
//! kernel walks its hash tables bucket by bucket, so a socket that comes or goes during the walk
//! may be missing or told twice (with the same cookie, by which the table knows it).

use std::{collections::HashSet, io, time::Duration};

use tcp_trace_common as wire;
use thiserror::Error;

mod dump;
mod row;
#[cfg(test)]
mod tests;

use super::netlink::Malformed;
use dump::Channel;
pub(crate) use row::Stamp;

use crate::core::diagnosis::evidence::Idle;

/// One socket of a [`Snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The socket as a record of kind [`wire::KIND_SEED`].
    pub(crate) record: wire::StateRecord,
    /// Inode of its file, by which `/proc/PID/fd` names it; 0 where no file refers to it.
    pub(crate) inode: u32,
    /// `Recv-Q` and `Send-Q`: of a listener, connections that wait for `accept()` and how many may.
    pub(crate) queues: (u32, u32),
    /// For how long it has done nothing, where the kernel tells.
    pub(crate) idle: Option<Idle>,
}

/// The TCP sockets of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The full sockets, IPv4 before IPv6.
    pub(crate) rows: Vec<Row>,
    /// Mini-sockets ([`wire::KIND_SEED_TIME_WAIT`]) and half-open connections of listeners
    /// ([`wire::KIND_SEED_REQUEST`]), IPv4 before IPv6.
    pub(crate) minis: Vec<wire::LifeRecord>,
    /// Sockets that changed to a state nobody asked for while the kernel looked at them.
    pub(crate) passed_over: u64,
    /// Sockets beyond the most that a snapshot may hold.
    pub(crate) beyond_limit: u64,
    /// The kernel says the tables changed under the dump each time, so rows may be missing.
    pub(crate) interrupted: bool,
}

impl Snapshot {
    /// Whether a socket that stood there the whole time is among them.
    pub(crate) fn is_whole(&self) -> bool {
        !self.interrupted && self.beyond_limit == 0
    }

    /// Adds what another dump found.
    fn append(&mut self, mut other: Self) {
        self.rows.append(&mut other.rows);
        self.minis.append(&mut other.minis);
        self.passed_over += other.passed_over;
        self.beyond_limit += other.beyond_limit;
        self.interrupted |= other.interrupted;
    }
}

/// Sockets that one dump keeps at most: what a host has that runs out of everything else first.
/// 240 bytes each.
const LIMIT: usize = 1 << 20;

/// Why there is no snapshot.
#[derive(Debug, Error)]
pub(crate) enum SockDiagError {
    /// The kernel was built or booted without the interface.
    #[error(
        "the kernel does not list TCP sockets: {source} \
         (it needs CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG; as modules: 'modprobe tcp_diag')"
    )]
    Unavailable {
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call on the netlink socket failed.
    #[error("{what} on the sock_diag socket failed: {source}")]
    Call {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel began the dump and gave it up.
    #[error("the kernel gave up listing TCP sockets: {source}")]
    Refused {
        /// What the kernel said.
        source: io::Error,
    },
    /// No answer came.
    #[error("the kernel did not go on listing TCP sockets for {} s", after.as_secs())]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// An answer does not hold what it says it holds.
    #[error("sock_diag answer not understood: {0}")]
    Malformed(#[from] Malformed),
}

impl SockDiagError {
    /// The story behind an error number in an answer.
    fn from_answer(errno: i32) -> Self {
        let source = io::Error::from_raw_os_error(errno);
        // ENOENT: no handler is registered for the family or the protocol.
        if source.kind() == io::ErrorKind::NotFound {
            Self::Unavailable { source }
        } else {
            Self::Refused { source }
        }
    }
}

/// Lists the TCP sockets in the calling thread's network namespace. A dump that fails or is
/// interrupted is tried once more.
///
/// `time_ns` and `netns` go into every record as they are.
///
/// # Errors
/// Where the kernel does not list them. About 1.5 microseconds for each socket.
pub(crate) fn snapshot(time_ns: u64, netns: Option<u32>) -> Result<Snapshot, SockDiagError> {
    let stamp = Stamp { time_ns, netns };
    let dump = |family| dump::steady(|| Channel::open()?.dump(family, stamp));
    let mut whole = dump(row::AF_INET)?;
    whole.append(dump(row::AF_INET6)?);
    drop_inherited_inodes(&mut whole.rows);
    Ok(whole)
}

/// Clears the inode of sockets that have it from their listener.
///
/// An inode has one socket. Kernels with "net: lockless `sock_i_ino()`" but without the fix that
/// followed it (September 2025) tell the listener's inode for children nobody has accepted.
fn drop_inherited_inodes(rows: &mut [Row]) {
    let is_listener = |row: &Row| row.record.new_state == row::TCP_LISTEN;
    let listeners: HashSet<u32> =
        rows.iter().filter(|row| is_listener(row)).map(|row| row.inode).collect();
    for row in rows.iter_mut().filter(|row| !is_listener(row) && listeners.contains(&row.inode)) {
        row.inode = 0;
        row.record.sock_flags &= !wire::SOCK_ATTACHED;
    }
}
