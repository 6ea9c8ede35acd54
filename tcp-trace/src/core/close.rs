//! Why a connection ended and who closed first, as far as states, `sk_err` and the socket's own
//! figures at the last change tell.

use super::{
    errno,
    event::{SockFlags, StateChange},
    tcp_state::TcpState,
};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// Orderly: our FIN went first.
    FinActive,
    /// Orderly: the peer's FIN came first.
    FinPassive,
    /// Orderly: both FINs crossed.
    Simultaneous,
    /// The peer reset an open connection.
    RstReceived,
    /// Our kernel reset an open connection.
    RstSent,
    /// The peer answered our SYN with a RST.
    Refused,
    /// Our SYNs were never answered.
    ConnectTimeout,
    /// Data or a FIN was never acknowledged.
    RetransmitTimeout,
    /// Keep-alive probes were never answered.
    KeepaliveTimeout,
    /// `close()` with received data unread: the kernel resets.
    AbortUnreadData,
    /// `close()` with `SO_LINGER` 0, or `connect(AF_UNSPEC)`: the kernel resets.
    AbortLinger,
    /// The listener went away with the connection in its accept queue.
    ListenerClosed,
    /// The kernel gave up an orphan, for want of memory or at `tcp_max_orphans`.
    OrphanKilled,
    /// Destroyed from outside (`ss -K`).
    Destroyed,
    /// A reset after one side's FIN.
    ResetAfterFin,
    /// The evidence does not tell.
    Unknown,
}

impl CloseReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::FinActive,
        Self::FinPassive,
        Self::Simultaneous,
        Self::RstReceived,
        Self::RstSent,
        Self::Refused,
        Self::ConnectTimeout,
        Self::RetransmitTimeout,
        Self::KeepaliveTimeout,
        Self::AbortUnreadData,
        Self::AbortLinger,
        Self::ListenerClosed,
        Self::OrphanKilled,
        Self::Destroyed,
        Self::ResetAfterFin,
        Self::Unknown,
    ];

    /// Name in metrics and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FinActive => "fin_active",
            Self::FinPassive => "fin_passive",
            Self::Simultaneous => "simultaneous",
            Self::RstReceived => "rst_received",
            Self::RstSent => "rst_sent",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::RetransmitTimeout => "retransmit_timeout",
            Self::KeepaliveTimeout => "keepalive_timeout",
            Self::AbortUnreadData => "abort_unread_data",
            Self::AbortLinger => "abort_linger",
            Self::ListenerClosed => "listener_closed",
            Self::OrphanKilled => "orphan_killed",
            Self::Destroyed => "destroyed",
            Self::ResetAfterFin => "reset_after_fin",
            Self::Unknown => "unknown",
        }
    }
}

/// Who closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClosedBy {
    /// This host.
    Local,
    /// The peer.
    Remote,
    /// Both at once.
    Both,
}

impl ClosedBy {
    /// Every answer.
    pub const ALL: [Self; 3] = [Self::Local, Self::Remote, Self::Both];

    /// Name in metrics and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Both => "both",
        }
    }

    /// Who must have closed first for a connection to stand in `state`; `None` while neither has.
    #[must_use]
    pub const fn first_fin(state: TcpState) -> Option<Self> {
        match state {
            TcpState::FinWait1 | TcpState::FinWait2 | TcpState::TimeWait => Some(Self::Local),
            TcpState::CloseWait | TcpState::LastAck => Some(Self::Remote),
            TcpState::Closing => Some(Self::Both),
            _ => None,
        }
    }
}

/// The end of a connection, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub reason: CloseReason,
    /// Who closed first; `None` where nobody did (a time-out) or nobody can tell.
    pub by: Option<ClosedBy>,
    /// The errno the process gets, 0 for none.
    pub error: i32,
}

/// Judges a change to CLOSE.
///
/// `first_fin` is who had sent a FIN before; `inbound` whether the connection came through a
/// listener. The rules follow `__tcp_close()`, `tcp_disconnect()`, `tcp_reset()`,
/// `tcp_write_err()` and `inet_csk_listen_stop()`.
#[must_use]
pub fn verdict(change: &StateChange, first_fin: Option<ClosedBy>, inbound: bool) -> Verdict {
    let error = effective_error(change);
    let (reason, by) = match (change.old, change.error) {
        // A listener is no connection; it just stops.
        (TcpState::Listen, _) => (CloseReason::Unknown, Some(ClosedBy::Local)),
        (_, errno::ECONNABORTED) => (CloseReason::Destroyed, Some(ClosedBy::Local)),
        (TcpState::SynSent, errno::ECONNREFUSED) => (CloseReason::Refused, Some(ClosedBy::Remote)),
        (TcpState::SynSent, errno::ETIMEDOUT) => (CloseReason::ConnectTimeout, None),
        (TcpState::SynSent, 0) => (CloseReason::Unknown, Some(ClosedBy::Local)),
        (TcpState::SynSent, _) => (CloseReason::Unknown, None),
        (_, errno::ECONNRESET | errno::EPIPE) => match first_fin {
            None => (CloseReason::RstReceived, Some(ClosedBy::Remote)),
            Some(_) => (CloseReason::ResetAfterFin, None),
        },
        (_, 0) if is_outside(change) => from_outside(change),
        (_, 0) => without_error(change, inbound),
        // tcp_write_err() reports the last soft error (an ICMP) in place of ETIMEDOUT.
        _ => (timed_out(change), None),
    };
    Verdict { reason, by: first_fin.or(by), error }
}

/// `sk_err`, or the one local failure that leaves it at 0: no port could be had for `connect()`,
/// told by a socket that never got a sequence number to send.
fn effective_error(change: &StateChange) -> i32 {
    let never_sent = change.transfer.is_some_and(|transfer| transfer.write_seq == 0);
    if change.old == TcpState::SynSent
        && change.error == 0
        && (change.flow.local.port() == 0 || never_sent)
    {
        errno::EADDRNOTAVAIL
    } else {
        change.error
    }
}

fn timed_out(change: &StateChange) -> CloseReason {
    match change.transfer {
        Some(transfer) if transfer.unacknowledged() == 0 => CloseReason::KeepaliveTimeout,
        Some(_) => CloseReason::RetransmitTimeout,
        None => CloseReason::Unknown,
    }
}

/// No error pending: an orderly end, or an abort by this host.
fn without_error(change: &StateChange, inbound: bool) -> (CloseReason, Option<ClosedBy>) {
    let local = Some(ClosedBy::Local);
    match (change.old, change.flags) {
        (TcpState::FinWait2, Some(SockFlags { fin_received: false, attached: true, .. })) => {
            (aborted(change), local)
        }
        (TcpState::FinWait2, _) => (CloseReason::FinActive, local),
        (TcpState::Closing, _) => (CloseReason::Simultaneous, Some(ClosedBy::Both)),
        (TcpState::LastAck, _) => match change.transfer {
            Some(transfer) if transfer.unacknowledged() > 0 => (CloseReason::OrphanKilled, None),
            _ => (CloseReason::FinPassive, Some(ClosedBy::Remote)),
        },
        (_, None) => (CloseReason::Unknown, None),
        (TcpState::FinWait1, Some(flags)) if !flags.attached => (CloseReason::OrphanKilled, local),
        // Nothing ever held it: it was still in the accept queue.
        (_, Some(flags)) if !flags.attached && inbound => (CloseReason::ListenerClosed, local),
        (_, Some(flags)) if !flags.attached => (CloseReason::Unknown, local),
        (_, Some(_)) => (aborted(change), local),
    }
}

fn is_outside(change: &StateChange) -> bool {
    change.transfer.is_some_and(|transfer| transfer.outside)
}

/// Told by segments alone: in order, or by a RST of this end, whatever made it send one.
fn from_outside(change: &StateChange) -> (CloseReason, Option<ClosedBy>) {
    let acknowledged = change.transfer.is_some_and(|transfer| transfer.unacknowledged() == 0);
    let fin_received = change.flags.is_some_and(|flags| flags.fin_received);
    match change.old {
        TcpState::FinWait2 if fin_received => (CloseReason::FinActive, Some(ClosedBy::Local)),
        TcpState::Closing if acknowledged => (CloseReason::Simultaneous, Some(ClosedBy::Both)),
        TcpState::LastAck if acknowledged => (CloseReason::FinPassive, Some(ClosedBy::Remote)),
        _ => (CloseReason::RstSent, Some(ClosedBy::Local)),
    }
}

/// `__tcp_close()` looks at unread data before it looks at `SO_LINGER`.
fn aborted(change: &StateChange) -> CloseReason {
    if unread_bytes(change).unwrap_or(0) > 0 {
        CloseReason::AbortUnreadData
    } else {
        CloseReason::AbortLinger
    }
}

/// Payload bytes received and not read at the moment of `change`: the FIN takes one place in the
/// sequence and is no payload.
#[must_use]
pub fn unread_bytes(change: &StateChange) -> Option<u32> {
    // Before the handshake's end the figures are those of the listener, or none.
    if matches!(change.old, TcpState::Close | TcpState::Listen | TcpState::SynSent) {
        return None;
    }
    let unread = change.transfer.filter(|transfer| !transfer.outside)?.unread_sequence();
    let fin = change.flags.is_some_and(|flags| flags.fin_received)
        || matches!(change.old, TcpState::CloseWait | TcpState::LastAck | TcpState::Closing);
    Some(unread.saturating_sub(u32::from(fin)))
}

#[cfg(test)]
mod tests;
