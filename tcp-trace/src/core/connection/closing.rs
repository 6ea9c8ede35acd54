//! Which sides have closed, as far as is known.

use super::Connection;
use crate::core::{close::ClosedBy, tcp_state::TcpState, time_wait::Mini};

impl Connection {
    /// Whether the peer's FIN has come; `None` where it may have, unseen: a mini-socket that is only
    /// inferred takes one without a word.
    #[must_use]
    pub fn peer_closed(&self) -> Option<bool> {
        match (self.first_fin(), self.mini()) {
            (Some((ClosedBy::Remote | ClosedBy::Both, _)), _)
            | (_, Some(Mini { substate: TcpState::TimeWait, .. })) => Some(true),
            (_, Some(mini)) => (!mini.inferred && !self.gap).then_some(false),
            (_, None) => self.flags.map(|flags| flags.fin_received),
        }
    }
}
