//! The TCP sockets that are there already, asked of the kernel through `NETLINK_SOCK_DIAG`.
//!
//! The answer covers the network namespace of the calling thread. It is no single moment: the
//! kernel walks its hash tables bucket by bucket, so a socket that comes or goes during the walk
//! may be missing or told twice (with the same cookie, by which the table knows it).

use std::{collections::HashSet, io, mem, time::Duration};

use tcp_trace_common as wire;
use thiserror::Error;

mod dump;
mod row;
#[cfg(test)]
mod tests;

use super::netlink::Malformed;
pub(crate) use dump::{Channel, steady};
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

/// The TCP sockets of one network namespace, or some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Full sockets, IPv4 before IPv6.
    pub(crate) rows: Vec<Row>,
    /// Mini-sockets ([`wire::KIND_SEED_TIME_WAIT`]) and half-open connections of listeners
    /// ([`wire::KIND_SEED_REQUEST`]), IPv4 before IPv6.
    pub(crate) minis: Vec<wire::LifeRecord>,
    /// How many have been read, those that were handed over before among them.
    pub(crate) told: usize,
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

    /// Rows that wait to be handed over.
    fn held(&self) -> usize {
        self.rows.len() + self.minis.len()
    }

    /// Takes them out. What has been counted stays.
    fn piece(&mut self) -> Self {
        let (rows, minis) = (mem::take(&mut self.rows), mem::take(&mut self.minis));
        Self { rows, minis, ..Self::default() }
    }
}

/// Sockets that a snapshot has at most: what a host has that runs out of everything else first.
const LIMIT: usize = 1 << 20;
/// Takes a piece of a snapshot; false where nobody wants to know any more.
pub(crate) type Take<'a> = dyn FnMut(Snapshot) -> bool + 'a;

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
    /// Whoever was told had enough.
    #[error("nobody wants to know which TCP sockets there are any more")]
    Unwanted,
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

/// Lists the TCP sockets of the namespace that `channel` is about: hands them to `take` in pieces of
/// this `size` as they are read, and returns the last piece, with the counts of all.
///
/// The stamp goes into every record as it is.
///
/// # Errors
/// Where the kernel does not list them, or `take` has had enough. About 1.5 microseconds for each
/// socket.
pub(crate) fn list(
    mut channel: Channel,
    stamp: Stamp,
    size: usize,
    take: &mut Take<'_>,
) -> Result<Snapshot, SockDiagError> {
    let mut listeners = HashSet::new();
    let mut found = Snapshot::default();
    let mut take = |mut piece: Snapshot| {
        drop_inherited_inodes(&mut piece.rows, &mut listeners);
        take(piece)
    };
    for family in [row::AF_INET, row::AF_INET6] {
        channel.dump(family, stamp, &mut found, (size, &mut take))?;
    }
    drop_inherited_inodes(&mut found.rows, &mut listeners);
    Ok(found)
}

/// Clears the inode of sockets that have it from their listener, of these and those before: the kernel
/// lists the listeners of a family first.
///
/// An inode has one socket. Kernels with "net: lockless `sock_i_ino()`" but without the fix that
/// followed it (September 2025) tell the listener's inode for children nobody has accepted.
fn drop_inherited_inodes(rows: &mut [Row], listeners: &mut HashSet<u32>) {
    let is_listener = |row: &Row| row.record.new_state == row::TCP_LISTEN;
    listeners.extend(rows.iter().filter(|row| is_listener(row)).map(|row| row.inode));
    for row in rows.iter_mut().filter(|row| !is_listener(row) && listeners.contains(&row.inode)) {
        row.inode = 0;
        row.record.sock_flags &= !wire::SOCK_ATTACHED;
    }
}
