//! What a change of state tells of the socket beside its states.

use crate::core::{close, event::StateChange, tcp_state::TcpState, timeline::Detail};

/// What is told of the socket beside a change.
pub(super) fn detail(change: &StateChange) -> Detail {
    Detail {
        error: change.error,
        unread_bytes: close::unread_bytes(change),
        shutdown: change.flags.map(|flags| flags.shutdown),
        attached: change.flags.map(|flags| flags.attached),
        fin_received: change.flags.map(|flags| flags.fin_received),
        caller: change.current.filter(|_| runs_in_caller(change)),
    }
}

/// Whether the kernel makes this change only in the context of the calling process.
///
/// CLOSE to `SYN_SENT` and to LISTEN run inside `connect()` and `listen()`, and the changes that
/// send our FIN inside `close()`, `shutdown()` or the exit of the process.
fn runs_in_caller(change: &StateChange) -> bool {
    matches!(
        (change.old, change.new),
        (TcpState::Close, TcpState::SynSent | TcpState::Listen)
            | (TcpState::Listen, TcpState::Close)
            | (TcpState::Established | TcpState::SynRecv, TcpState::FinWait1)
            | (TcpState::CloseWait, TcpState::LastAck)
    )
}
