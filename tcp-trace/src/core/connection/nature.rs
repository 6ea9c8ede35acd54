//! What a connection is, and whether all of it is known.

use super::Connection;
use crate::core::{
    event::Protocol,
    tcp_state::TcpState,
    timeline::{Mark, StepKind},
};

impl Connection {
    /// Whether its full socket is there; a mini-socket has none.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.mini().is_none_or(|mini| mini.pending)
    }

    /// Substate of its mini-socket, where it has one that is not over.
    #[must_use]
    pub fn mini_substate(&self) -> Option<TcpState> {
        self.mini().filter(|mini| mini.over.is_none()).map(|mini| mini.substate)
    }

    /// Whether figures count it. Of an MPTCP connection its subflows are counted, as the kernel does.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.protocol != Protocol::Mptcp
    }

    /// Whether it stands where it was found, so that its age is a lower bound.
    #[must_use]
    pub fn is_age_a_bound(&self) -> bool {
        self.found && self.state_since <= self.opened_at
    }

    /// Whether both ends are known.
    #[must_use]
    pub fn has_both_ends(&self) -> bool {
        self.ends.local_port != 0 && self.ends.remote_port != 0
    }

    /// Whether every step is there: no known gap, and no loss since its last event that may have
    /// been one of its own. A later event that leads on from the known state proves there was none.
    #[must_use]
    pub fn is_complete(&self, loss_epoch: u64) -> bool {
        !self.gap
            && self.timeline.omitted() == 0
            && (self.closed().is_some() || self.loss_epoch == loss_epoch)
    }

    /// Whether all that is known comes from a snapshot, and from no event yet.
    #[must_use]
    pub fn is_only_found(&self) -> bool {
        self.found
            && self.timeline.steps().len() == 1
            && self.timeline.steps().all(|step| matches!(step.kind, StepKind::Mark(Mark::Found(_))))
    }

    /// Whether this is a listening socket and no connection.
    #[must_use]
    pub fn is_listener(&self) -> bool {
        self.state == TcpState::Listen || self.timeline.begins_in(TcpState::Listen)
    }
}
