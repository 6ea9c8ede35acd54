//! The thread that looks at the host's sockets: a dump of a million takes a second and a half, for
//! which the tracer cannot stop draining.

use std::{
    collections::HashSet,
    num::NonZeroU64,
    sync::{Arc, mpsc},
};

use super::round::Rounds;
use crate::{
    core::{
        coverage::Mibs,
        decode::Record,
        diagnosis::evidence::{HostFacts, Suspects},
    },
    engine::waker::Waker,
    kernel::sys,
};

/// Findings that may wait to be taken, each of them a piece of a snapshot at most: the thread reads on
/// only as the tracer takes them.
const WAITING: usize = 1;

/// What to look at.
#[derive(Debug)]
pub(super) enum Order {
    /// Every namespace's sockets and figures.
    Everything {
        /// Whose owners to look for.
        owners: Owners,
        /// Whom to look into for the diagnosis.
        suspects: Suspects,
    },
    /// The figures of the namespaces met last.
    Figures,
}

/// Whose owners are to be looked for.
#[derive(Debug)]
pub(super) enum Owners {
    /// Every socket's.
    Every,
    /// Those of sockets with these cookies.
    Of(HashSet<NonZeroU64>),
}

/// What was found.
#[derive(Debug)]
pub(super) enum Finding {
    /// Some of a namespace's sockets, with the mark of the snapshot's beginning, of its going on, or of
    /// its end. Those of another namespace come after the end.
    Sockets {
        /// The records, to be stamped with the moment at which they are taken.
        records: Vec<Record>,
        /// Of the last ones, what came of it.
        end: Option<End>,
    },
    /// What the kernel counts in each namespace.
    Figures {
        /// By the namespace's inode.
        readings: Vec<(u32, Mibs)>,
        /// Whether a namespace may not be read.
        partial: bool,
    },
    /// What the host says beside its sockets' states.
    Host(Box<HostFacts>),
    /// A namespace is no more.
    Gone {
        /// Its inode.
        netns: u32,
        /// The record that says so.
        record: Record,
    },
    /// The order is carried out.
    Done {
        /// Namespaces that are traced and can be looked into.
        namespaces: u64,
    },
}

/// What came of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All is there.
    Whole,
    /// Sockets may be missing.
    Cut,
    /// They could not be listed, or not to the end.
    Failed,
}

/// The thread is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Died;

/// The tracer's end of the conversation. Dropping it ends the thread with its next finding.
#[derive(Debug)]
pub(super) struct Reconciler {
    orders: mpsc::Sender<Order>,
    findings: mpsc::Receiver<Finding>,
}

impl Reconciler {
    /// Starts the thread; it rings `waker` with every finding.
    pub(super) fn start(mut rounds: Rounds, waker: Arc<Waker>) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let (outbox, findings) = mpsc::sync_channel(WAITING);
        std::thread::Builder::new().name("reconciler".to_owned()).spawn(move || {
            if let Err(error) = sys::run_as_batch() {
                tracing::debug!(%error, "the reconciler runs as an ordinary thread");
            }
            let mut tell = |finding| {
                let told = outbox.send(finding).is_ok();
                waker.wake();
                told
            };
            while let Ok(order) = inbox.recv() {
                if !rounds.carry_out(order, &mut tell) {
                    break;
                }
            }
        })?;
        Ok(Self { orders, findings })
    }

    /// Gives an order.
    ///
    /// # Errors
    /// Where the thread has died.
    pub(super) fn order(&self, order: Order) -> Result<(), Died> {
        self.orders.send(order).map_err(|_| Died)
    }

    /// The next finding, if there is one.
    ///
    /// # Errors
    /// Where the thread has died.
    pub(super) fn finding(&self) -> Result<Option<Finding>, Died> {
        match self.findings.try_recv() {
            Ok(finding) => Ok(Some(finding)),
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Err(Died),
        }
    }
}
