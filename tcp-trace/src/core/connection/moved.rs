//! What a connection has moved and what waits in it, without the places in the sequence that a SYN
//! and a FIN take.

use super::Connection;
use crate::core::{
    clock::Ts,
    close::CloseReason,
    direction::Direction,
    event::StateChange,
    tcp_state::TcpState,
    timeline::{Mark, StepKind},
};

impl Connection {
    /// Payload bytes the peer has acknowledged. The kernel counts our SYN (of an outbound
    /// connection) and our FIN along.
    #[must_use]
    pub fn bytes_sent(&self) -> Option<u64> {
        let acknowledged = self.transfer?.bytes_acked;
        let syn = self.direction == Direction::Outbound;
        let fin = u64::from(self.is_our_fin_acknowledged());
        Some(acknowledged.saturating_sub(u64::from(syn) + fin))
    }

    /// Whether bytes may have gone out since its figures were told, which is at a change of state and by
    /// a snapshot: a figure of 0 is none then.
    #[must_use]
    pub fn may_send_unseen(&self, now: Ts) -> bool {
        use TcpState as S;
        let sends = matches!(
            self.state,
            S::Established | S::CloseWait | S::FinWait1 | S::Closing | S::LastAck
        );
        sends && self.is_unlooked(now)
    }

    /// Likewise of bytes that may have come.
    #[must_use]
    pub fn may_receive_unseen(&self, now: Ts) -> bool {
        use TcpState as S;
        matches!(self.state, S::Established | S::FinWait1 | S::FinWait2) && self.is_unlooked(now)
    }

    fn is_unlooked(&self, now: Ts) -> bool {
        let outside = self.transfer.is_some_and(|transfer| transfer.outside);
        !outside && self.is_full() && self.row_at < self.state_since && self.state_since < now
    }

    /// Of one that was there before, a row may tell who opened it.
    pub(super) fn learn_opener(&mut self, row: &StateChange) {
        if self.direction == Direction::Unknown
            && let Some(ours) = row.transfer.and_then(|transfer| transfer.syn_acked)
        {
            self.direction = if ours { Direction::Outbound } else { Direction::Inbound };
        }
    }

    /// Told by `FIN_WAIT2`, which nothing else leads to, and by an orderly end.
    fn is_our_fin_acknowledged(&self) -> bool {
        let orderly = self.judged().is_some_and(|closed| {
            matches!(
                closed.verdict.reason,
                CloseReason::FinActive | CloseReason::FinPassive | CloseReason::Simultaneous
            )
        });
        orderly
            || self.timeline.steps().any(|step| match step.kind {
                StepKind::State { from, to, .. } => [from, to].contains(&TcpState::FinWait2),
                StepKind::MiniBorn { .. } => true,
                StepKind::Mark(Mark::Found(state)) => state == TcpState::FinWait2,
                _ => false,
            })
    }

    /// Payload bytes received. The kernel counts the peer's FIN along.
    #[must_use]
    pub fn bytes_received(&self) -> Option<u64> {
        let received = self.transfer?.bytes_received;
        Some(received.saturating_sub(u64::from(self.fin_received())))
    }

    /// Received payload that nobody had read at the last change.
    #[must_use]
    pub fn unread_bytes(&self) -> Option<u32> {
        let unread = self.transfer.filter(|transfer| !transfer.outside)?.unread_sequence();
        Some(unread.saturating_sub(u32::from(self.fin_received())))
    }

    /// Whether the process had read up to the peer's FIN at the last change; `None` before a FIN.
    #[must_use]
    pub fn fin_read(&self) -> Option<bool> {
        let transfer = self.transfer.filter(|transfer| !transfer.outside)?;
        self.fin_received().then(|| transfer.unread_sequence() == 0)
    }

    fn fin_received(&self) -> bool {
        self.flags.is_some_and(|flags| flags.fin_received)
            || matches!(self.state, TcpState::CloseWait | TcpState::LastAck | TcpState::Closing)
    }
}
