//! What happened, once decoded: the one form in which live events, start-up snapshots and
//! recordings reach the table.

use std::{borrow::Cow, fmt, net::SocketAddr, num::NonZeroU64};

use super::{clock::Ts, tcp_state::TcpState};

/// Something that happened at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by the kernel's clock.
    pub at: Ts,
    /// What.
    pub body: Body,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A socket changed its state, or was found in one at start.
    State(StateChange),
    /// Events were lost around this moment.
    Lost {
        /// How many; 0 where an earlier loss is over.
        count: u64,
    },
}

/// Where a [`StateChange`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A hook saw it happen.
    Live,
    /// The socket was there already; `old` equals `new` and the age is a lower bound.
    Snapshot,
}

/// One socket's change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Which socket.
    pub socket: SocketId,
    /// How we know.
    pub origin: Origin,
    /// State before.
    pub old: TcpState,
    /// State after.
    pub new: TcpState,
    /// Both ends, v4-mapped addresses as IPv4.
    pub flow: Flow,
    /// `sk_protocol`.
    pub protocol: Protocol,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
    /// `sk_err`, a positive errno or 0.
    pub error: i32,
    /// Sequence numbers and bytes, where they could be read.
    pub transfer: Option<Transfer>,
    /// Whose hands the socket is in, where it could be read.
    pub flags: Option<SockFlags>,
    /// The task on whose back the change ran: often **not** the owner.
    pub current: Option<Task>,
}

/// Identity of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    /// The kernel's socket cookie, unique for the life of the host.
    pub cookie: Option<NonZeroU64>,
    /// Address of the `struct sock`, recycled at once after death; 0 where unknown.
    pub sk: u64,
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end; unspecified with port 0 for a listener.
    pub remote: SocketAddr,
}

/// `sk_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Plain TCP, MPTCP subflows among it.
    Tcp,
    /// The parent socket of an MPTCP connection.
    Mptcp,
    /// Anything else.
    Other(u16),
}

/// What the socket has moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Next sequence number expected from the peer.
    pub rcv_nxt: u32,
    /// Sequence number up to which the process has read.
    pub copied_seq: u32,
    /// Oldest sequence number not acknowledged by the peer.
    pub snd_una: u32,
    /// Sequence number after the last byte written.
    pub write_seq: u32,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: u32,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Bytes received.
    pub bytes_received: u64,
}

impl Transfer {
    /// Sequence space received and not read: payload bytes plus one for an unread FIN.
    ///
    /// A wrapped-around difference (a socket that never had a peer) counts as nothing.
    #[must_use]
    pub fn unread_sequence(&self) -> u32 {
        let unread = self.rcv_nxt.wrapping_sub(self.copied_seq);
        if self.rcv_nxt == 0 || unread > i32::MAX.unsigned_abs() { 0 } else { unread }
    }

    /// Sequence space written and not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> u32 {
        let open = self.write_seq.wrapping_sub(self.snd_una);
        if open > i32::MAX.unsigned_abs() { 0 } else { open }
    }
}

/// Whose hands a socket is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockFlags {
    /// A descriptor refers to it. Not so in an accept queue, nor once closed.
    pub attached: bool,
    /// Nobody holds it any more (an orphan).
    pub dead: bool,
    /// The peer's FIN has arrived.
    pub fin_received: bool,
    /// `sk_shutdown`: 1 receive side, 2 send side, 3 both.
    pub shutdown: u8,
}

/// A thread, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id (`tgid`).
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub comm: Comm,
}

/// A task's name: up to 15 bytes that the task chose itself, not always UTF-8.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// The name up to its NUL, with what is no UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        String::from_utf8_lossy(self.0.get(..end).unwrap_or_default())
    }

    /// A name from text, cut to what the kernel would keep.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut bytes = [0; 16];
        for (slot, byte) in bytes.iter_mut().zip(text.bytes().take(15)) {
            *slot = byte;
        }
        Self(bytes)
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_nul_or_utf8_is_still_a_name() {
        assert_eq!(Comm([b'a'; 16]).text(), "aaaaaaaaaaaaaaaa");
        assert_eq!(Comm([0xff; 16]).text().chars().count(), 16);
        assert_eq!(Comm::from_text("a-name-that-is-too-long").text(), "a-name-that-is-");
    }

    #[test]
    fn unread_counts_across_the_wrap_and_never_backwards() {
        let transfer =
            |rcv_nxt, copied_seq| Transfer { rcv_nxt, copied_seq, ..Transfer::default() };
        assert_eq!(transfer(5, u32::MAX - 4).unread_sequence(), 10);
        assert_eq!(transfer(4, 5).unread_sequence(), 0);
        assert_eq!(transfer(0, 77).unread_sequence(), 0);
    }
}
