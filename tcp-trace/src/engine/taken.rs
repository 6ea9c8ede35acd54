//! Events taken, by kind.

use crate::core::event::{Body, LifeStep, Origin};

/// Kinds of event, as metrics name them.
const KINDS: [&str; 18] = [
    "state",
    "snapshot",
    "connect",
    "accept",
    "close",
    "time_wait_born",
    "time_wait_substate",
    "time_wait_ended",
    "time_wait_refused",
    "request",
    "synack_retransmit",
    "reset_sent",
    "retransmit",
    "destroyed",
    "netns_gone",
    "segment",
    "stack",
    "folded",
];

/// How many events of each kind were taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken([u64; KINDS.len()]);

impl Taken {
    /// Counts one; a loss is none.
    pub(super) fn count(&mut self, body: &Body) {
        if let Some(count) = kind(body).and_then(|kind| self.0.get_mut(kind)) {
            *count += 1;
        }
    }

    /// Every kind, zeros included.
    pub(super) fn by_kind(&self) -> Vec<(&'static str, u64)> {
        KINDS.into_iter().zip(self.0).collect()
    }

    /// Those of connections, as they went on.
    pub(super) fn of_connections(&self) -> u64 {
        let others = [1, 14, 15, 16, 17].into_iter().filter_map(|kind| self.0.get(kind)).sum();
        self.total().saturating_sub(others)
    }

    /// All together.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

fn kind(body: &Body) -> Option<usize> {
    let life = match body {
        Body::Lost { .. } => return None,
        Body::State(change) => return Some(usize::from(change.origin == Origin::Snapshot)),
        Body::Segment(_) => return Some(15),
        Body::Stack(_) => return Some(16),
        Body::Life(life) => life,
    };
    Some(match life.what {
        LifeStep::FoundTimeWait { .. } | LifeStep::FoundRequest { .. } => 1,
        // The frame around a snapshot's rows is no event of its own.
        LifeStep::SnapshotBegun { .. }
        | LifeStep::SnapshotGoesOn { .. }
        | LifeStep::SnapshotEnded { .. } => return None,
        LifeStep::Connect(_) => 2,
        LifeStep::Accept(_) => 3,
        LifeStep::Close(..) => 4,
        LifeStep::TimeWaitBorn { .. } => 5,
        LifeStep::TimeWaitSubstate => 6,
        LifeStep::TimeWaitEnded { .. } => 7,
        LifeStep::TimeWaitRefused => 8,
        LifeStep::Request => 9,
        LifeStep::SynAckRetransmit(_) => 10,
        LifeStep::ResetSent { .. } => 11,
        LifeStep::Retransmit(_) => 12,
        LifeStep::Destroyed => 13,
        LifeStep::NetnsGone => 14,
        LifeStep::Folded { .. } => 17,
    })
}
