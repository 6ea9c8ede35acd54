//! The check before anything is believed: a loopback connection of our own, whose records must say
//! what we know to be true.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU64,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tcp_trace_common::StateRecord;
use thiserror::Error;

use crate::core::{
    close,
    event::{Body, Event, LifeEvent, StateChange},
    tcp_state::TcpState,
};

/// What the client sends and nobody reads.
const UNREAD: &[u8] = b"check";

/// Why the check did not pass.
#[derive(Debug, Error)]
pub(crate) enum CheckError {
    /// A record says something else than the truth: no record can be believed.
    #[error(
        "the self-check failed: {what} of a connection we made ourselves is {found} where {expected} is true; the field offsets of this kernel must be wrong, so nothing is traced (please report the kernel version)"
    )]
    Wrong { what: &'static str, expected: String, found: String },
    /// Our own connection was not seen.
    #[error("the self-check failed: of a connection we made ourselves, {0} was not reported")]
    Unseen(&'static str),
}

/// The truth about the connection made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    server: SocketAddr,
    client: SocketAddr,
    cookie: Option<NonZeroU64>,
    pid: u32,
    netns: Option<u32>,
}

impl Made {
    /// Makes the connection, leaves bytes unread, ends the client's side first. Runs in the namespace
    /// of the calling thread.
    pub(crate) fn connection(address: IpAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let server = listener.local_addr()?;
        let mut client = TcpStream::connect_timeout(&server, Duration::from_secs(1))?;
        let (accepted, _) = listener.accept()?;
        client.write_all(UNREAD)?;
        let cookie = rustix::net::sockopt::socket_cookie(&client).ok().and_then(NonZeroU64::new);
        let made = Self {
            server,
            client: client.local_addr()?,
            cookie,
            pid: std::process::id(),
            netns: super::host::own_netns(),
        };
        // Not close(): that would leave a mini-socket behind, which would be somebody's TIME_WAIT.
        client.shutdown(Shutdown::Write)?;
        wait_for_fin(&accepted)?;
        drop(accepted);
        Ok(made)
    }

    /// Both families the host has; IPv6 may be off.
    pub(crate) fn connections() -> std::io::Result<Vec<Self>> {
        let mut made = vec![Self::connection(Ipv4Addr::LOCALHOST.into())?];
        made.extend(Self::connection(Ipv6Addr::LOCALHOST.into()));
        Ok(made)
    }

    /// Whether a record is of this connection or its listener. The newborn child carries its
    /// listener's address, and a connecting socket no port of its own.
    pub(crate) fn is_mine(&self, record: &StateRecord) -> bool {
        change(record).is_some_and(|change| {
            change.netns == self.netns
                && [change.flow.local, change.flow.remote].contains(&self.server)
        })
    }

    /// Whether an event beside the state changes is of this connection. A socket that has ended
    /// has given back its own port, so the other end must tell.
    pub(crate) fn is_mine_too(&self, event: &LifeEvent) -> bool {
        let ends = [event.flow.local, event.flow.remote];
        event.netns == self.netns && (ends.contains(&self.server) || ends.contains(&self.client))
    }

    /// Whether these records hold both ends.
    pub(crate) fn is_over(&self, records: &[StateRecord]) -> bool {
        let ends = records.iter().filter(|record| self.is_mine(record)).filter_map(change);
        ends.filter(|c| c.new == TcpState::Close && c.old != TcpState::Listen).count() >= 2
    }

    /// Compares what was reported with the truth. `births` tells whether this backend sees the
    /// births of listeners and children.
    pub(crate) fn judge(&self, records: &[StateRecord], births: bool) -> Result<(), CheckError> {
        let changes: Vec<_> =
            records.iter().filter(|record| self.is_mine(record)).filter_map(change).collect();
        let find = |name, old, new| {
            let found = changes.iter().find(|c| (c.old, c.new) == (old, new));
            found.ok_or(CheckError::Unseen(name))
        };
        if births {
            find("the listener's birth", TcpState::Close, TcpState::Listen)?;
            find("the child's birth", TcpState::Listen, TcpState::SynRecv)?;
        }
        let connecting = find("CLOSE -> SYN_SENT", TcpState::Close, TcpState::SynSent)?;
        if let Some(task) = connecting.current {
            same("the connecting process", self.pid, task.pid)?;
        }
        self.judge_client(find(
            "ESTABLISHED -> FIN_WAIT1",
            TcpState::Established,
            TcpState::FinWait1,
        )?)?;
        self.judge_server(find(
            "ESTABLISHED -> CLOSE_WAIT",
            TcpState::Established,
            TcpState::CloseWait,
        )?)
    }

    fn judge_client(&self, change: &StateChange) -> Result<(), CheckError> {
        same("the client's own address", self.client, change.flow.local)?;
        same("the client's peer", self.server, change.flow.remote)?;
        if let (Some(cookie), Some(found)) = (self.cookie, change.socket.cookie) {
            same("the socket cookie", cookie, found)?;
        }
        if let Some(flags) = change.flags {
            same("the shutdown state at shutdown()", 2, flags.shutdown)?;
        }
        same("the pending error", 0, change.error)
    }

    fn judge_server(&self, change: &StateChange) -> Result<(), CheckError> {
        same("the server's own address", self.server, change.flow.local)?;
        same("the server's peer", self.client, change.flow.remote)?;
        if let Some(flags) = change.flags {
            same("whether a descriptor holds the socket", true, flags.attached)?;
            same("whether the FIN came", true, flags.fin_received)?;
        }
        if let Some(unread) = close::unread_bytes(change) {
            same("the count of unread bytes", UNREAD.len() as u64, u64::from(unread))?;
        }
        if let Some(transfer) = change.transfer {
            // The FIN takes a place in the sequence and is counted by some kernels.
            let received = transfer.bytes_received.saturating_sub(UNREAD.len() as u64);
            if received > 1 || transfer.bytes_received < UNREAD.len() as u64 {
                same("the count of received bytes", UNREAD.len() as u64, transfer.bytes_received)?;
            }
        }
        Ok(())
    }
}

/// On a busy host the FIN may be handled later, by another thread: a socket closed before it comes
/// would never be in `CLOSE_WAIT`.
fn wait_for_fin(socket: &TcpStream) -> std::io::Result<()> {
    let patience = Timespec { tv_sec: 2, tv_nsec: 0 };
    let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
    if poll(&mut polled, Some(&patience))? == 0 {
        return Err(std::io::Error::other("the FIN of a loopback connection did not come in 2 s"));
    }
    Ok(())
}

fn change(record: &StateRecord) -> Option<StateChange> {
    match crate::core::decode::event(&(*record).into()) {
        Ok(Event { body: Body::State(change), .. }) => Some(change),
        _ => None,
    }
}

fn same<T: Copy + PartialEq + std::fmt::Debug>(
    what: &'static str,
    expected: T,
    found: T,
) -> Result<(), CheckError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    Err(CheckError::Wrong { what, expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_with_both_values() {
        let text = same("the socket cookie", 5, 6).unwrap_err().to_string();
        assert!(text.contains("the socket cookie") && text.contains('5') && text.contains('6'));
    }

    #[test]
    fn nothing_seen_is_no_pass() {
        let made = Made::connection(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert!(matches!(made.judge(&[], true), Err(CheckError::Unseen(_))));
        assert!(!made.is_over(&[]));
    }
}
