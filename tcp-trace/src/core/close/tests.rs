use std::net::SocketAddr;

use super::*;
use crate::core::event::{Flow, Origin, Protocol, SocketId, Transfer};

fn change(old: TcpState, error: i32, flags: SockFlags, transfer: Transfer) -> StateChange {
    StateChange {
        socket: SocketId { cookie: None, sk: 1 },
        origin: Origin::Live,
        old,
        new: TcpState::Close,
        flow: Flow {
            local: SocketAddr::from(([127, 0, 0, 1], 1)),
            remote: SocketAddr::from(([127, 0, 0, 1], 2)),
        },
        protocol: Protocol::Tcp,
        netns: None,
        error,
        transfer: Some(transfer),
        flags: Some(flags),
        current: None,
        silent: None,
    }
}

const HELD: SockFlags =
    SockFlags { attached: true, dead: false, fin_received: false, shutdown: 0, subflow: false };
const QUEUED: SockFlags = SockFlags { attached: false, ..HELD };
const HELD_FIN: SockFlags = SockFlags { fin_received: true, ..HELD };
const QUEUED_FIN: SockFlags = SockFlags { fin_received: true, ..QUEUED };
const ORPHAN: SockFlags =
    SockFlags { attached: false, dead: true, fin_received: false, shutdown: 3, subflow: false };
const IDLE: Transfer = Transfer {
    rcv_nxt: 100,
    copied_seq: 100,
    snd_una: 50,
    write_seq: 50,
    srtt_us: 0,
    retransmits: 0,
    bytes_acked: 0,
    bytes_received: 0,
    syn_acked: None,
    outside: false,
};
const UNREAD: Transfer = Transfer { copied_seq: 90, ..IDLE };
const UNREAD_FIN: Transfer = Transfer { copied_seq: 99, ..IDLE };
const UNACKED: Transfer = Transfer { write_seq: 51, ..IDLE };

/// Old state, `sk_err`, flags, figures, reason, who closed first.
type Row = (TcpState, i32, SockFlags, Transfer, CloseReason, Option<ClosedBy>);

#[test]
fn each_end_is_told_from_the_others() {
    use {CloseReason as R, ClosedBy as By, TcpState as S};
    let (l, r) = (Some(By::Local), Some(By::Remote));
    let rows: [Row; 26] = [
        (S::FinWait2, 0, HELD_FIN, IDLE, R::FinActive, l),
        (S::FinWait2, 0, ORPHAN, IDLE, R::FinActive, l),
        (S::FinWait2, 0, HELD_FIN, UNREAD, R::FinActive, l),
        (S::FinWait2, 0, HELD, UNREAD, R::AbortUnreadData, l),
        (S::FinWait2, 0, HELD, IDLE, R::AbortLinger, l),
        (S::FinWait2, 104, ORPHAN, IDLE, R::ResetAfterFin, l),
        (S::LastAck, 0, ORPHAN, IDLE, R::FinPassive, r),
        (S::LastAck, 0, ORPHAN, UNACKED, R::OrphanKilled, r),
        (S::LastAck, 32, ORPHAN, IDLE, R::ResetAfterFin, r),
        (S::Closing, 0, ORPHAN, IDLE, R::Simultaneous, Some(By::Both)),
        (S::FinWait1, 0, ORPHAN, UNACKED, R::OrphanKilled, l),
        (S::FinWait1, 0, HELD, UNREAD, R::AbortUnreadData, l),
        (S::FinWait1, 110, ORPHAN, UNACKED, R::RetransmitTimeout, l),
        (S::SynSent, 111, HELD, IDLE, R::Refused, r),
        (S::SynSent, 110, HELD, UNACKED, R::ConnectTimeout, None),
        (S::SynSent, 113, HELD, UNACKED, R::Unknown, None),
        (S::SynSent, 0, HELD, UNACKED, R::Unknown, l),
        (S::Established, 104, HELD, IDLE, R::RstReceived, r),
        (S::Established, 0, HELD, UNREAD, R::AbortUnreadData, l),
        (S::Established, 0, HELD, IDLE, R::AbortLinger, l),
        (S::Established, 0, QUEUED, UNREAD, R::ListenerClosed, l),
        (S::Established, 103, HELD, IDLE, R::Destroyed, l),
        (S::Established, 110, HELD, IDLE, R::KeepaliveTimeout, None),
        (S::Established, 110, HELD, UNACKED, R::RetransmitTimeout, None),
        (S::CloseWait, 32, HELD_FIN, IDLE, R::ResetAfterFin, r),
        (S::CloseWait, 0, QUEUED_FIN, UNREAD_FIN, R::ListenerClosed, r),
    ];
    for (old, error, flags, transfer, reason, by) in rows {
        let change = change(old, error, flags, transfer);
        let verdict = verdict(&change, ClosedBy::first_fin(old), true);
        assert_eq!((verdict.reason, verdict.by), (reason, by), "{old} error {error} {flags:?}");
    }
}

#[test]
fn a_fin_is_no_unread_data() {
    let closed = change(TcpState::CloseWait, 0, HELD_FIN, UNREAD_FIN);
    assert_eq!(unread_bytes(&closed), Some(0));
    assert_eq!(verdict(&closed, Some(ClosedBy::Remote), true).reason, CloseReason::AbortLinger);
}

#[test]
fn a_connect_that_found_no_port_names_its_error() {
    let mut failed = change(TcpState::SynSent, 0, HELD, IDLE);
    assert_eq!(verdict(&failed, None, false).error, 0);
    failed.flow.local.set_port(0);
    assert_eq!(verdict(&failed, None, false).error, errno::EADDRNOTAVAIL);
}

#[test]
fn without_the_figures_nothing_is_invented() {
    let mut bare = change(TcpState::Established, 0, HELD, IDLE);
    (bare.flags, bare.transfer) = (None, None);
    assert_eq!(verdict(&bare, None, true).reason, CloseReason::Unknown);
    bare.error = errno::ETIMEDOUT;
    assert_eq!(verdict(&bare, None, true).reason, CloseReason::Unknown);
}

#[test]
fn names_are_unique() {
    let names: std::collections::HashSet<_> = CloseReason::ALL.iter().map(|r| r.name()).collect();
    assert_eq!(names.len(), CloseReason::ALL.len());
}
