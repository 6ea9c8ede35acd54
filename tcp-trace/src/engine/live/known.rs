//! A namespace as the last round met it.

use crate::kernel::{holders::Seen, namespaces::Namespace, sock_diag::Row};

/// Inodes of sockets remembered for each namespace.
const SAMPLE: usize = 128;

/// What is remembered of a namespace.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The ways into it.
    pub(super) namespace: Option<Namespace>,
    /// Some of its sockets. A socket keeps its namespace, even one that no process lives in and
    /// nothing else refers to.
    sockets: Vec<u32>,
}

impl Known {
    /// Remembers some of the sockets that a process holds.
    pub(super) fn remember(&mut self, rows: &[Row]) {
        let held = rows.iter().map(|row| row.inode).filter(|inode| *inode != 0);
        self.sockets.clear();
        self.sockets.extend(held.take(SAMPLE));
    }

    /// Whether a process still holds one of them.
    pub(super) fn is_held(&self, seen: &Seen) -> bool {
        self.sockets.iter().any(|inode| seen.holders.contains_key(inode))
    }
}
