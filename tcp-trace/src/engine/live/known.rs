//! A namespace as the last round met it.

use crate::kernel::{holders::Seen, namespaces::Namespace, sock_diag::Row};

/// Inodes of sockets remembered for each namespace.
const SAMPLE: usize = 128;

/// What is remembered of a namespace.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The ways into it.
    pub(super) namespace: Option<Namespace>,
    /// Its sockets came in several pieces.
    pub(super) is_large: bool,
    /// Some of its sockets.
    pub(super) sockets: Sample,
}

/// Some of a namespace's sockets. A socket keeps its namespace, even one that no process lives in and
/// nothing else refers to.
#[derive(Debug, Default)]
pub(super) struct Sample(Vec<u32>);

impl Sample {
    /// The namespace's sockets are about to be listed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Remembers some of these that a process holds.
    pub(super) fn remember(&mut self, rows: &[Row]) {
        let held = rows.iter().map(|row| row.inode).filter(|inode| *inode != 0);
        self.0.extend(held.take(SAMPLE.saturating_sub(self.0.len())));
    }

    /// Whether a process still holds one of them.
    pub(super) fn is_held(&self, seen: &Seen) -> bool {
        self.0.iter().any(|inode| seen.holders.contains_key(inode))
    }
}
