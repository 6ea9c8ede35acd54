//! What a connection has moved and what waits in it, without the places in the sequence that a SYN
//! and a FIN take.

use super::Connection;
use crate::core::{
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
