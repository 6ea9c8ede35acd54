//! What happened, once decoded: the one form in which live events, start-up snapshots and
//! recordings reach the table.

use std::{borrow::Cow, fmt, net::SocketAddr, num::NonZeroU64, time::Duration};

use super::{
    clock::Ts,
    segment::SegmentEvent,
    stack::StackEvent,
    tcp_state::{TcpState, Transition},
};

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
    /// Something else happened to a socket.
    Life(LifeEvent),
    /// A segment passed one end.
    Segment(SegmentEvent),
    /// Where in its program a connection was opened or accepted is known.
    Stack(StackEvent),
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
    /// For how long nothing had come from the peer, to the millisecond; rows of a snapshot alone know.
    pub silent: Option<Duration>,
}

impl StateChange {
    /// What kind of change this is. A parent of MPTCP takes no part in the protocol's own states:
    /// it is cloned off its listener established, and ends as its subflows let it.
    #[must_use]
    pub fn transition(&self) -> Transition {
        match self.old.transition(self.new) {
            Transition::Illegal if self.protocol == Protocol::Mptcp => {
                let cloned = self.old == TcpState::Listen && self.new != TcpState::Listen;
                if cloned { Transition::Birth } else { Transition::Step }
            }
            kind => kind,
        }
    }
}

/// What happens in a connection's life beside its state changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeEvent {
    /// Which full socket, mini-socket or request; a mini-socket has its connection's cookie.
    pub socket: SocketId,
    /// Both ends.
    pub flow: Flow,
    /// `sk_protocol`.
    pub protocol: Protocol,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
    /// What.
    pub what: LifeStep,
}

/// The kinds of [`LifeEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeStep {
    /// `connect()` is about to send the SYN.
    Connect(Option<Caller>),
    /// `accept()` handed the socket out.
    Accept(Option<Caller>),
    /// The last descriptor was closed, in this state.
    Close(Option<Caller>, TcpState),
    /// A mini-socket takes the connection over.
    TimeWaitBorn {
        /// `FIN_WAIT2` or `TIME_WAIT`.
        substate: TcpState,
        /// Address of the full socket, where known.
        from: u64,
    },
    /// The mini-socket got the peer's FIN: from `FIN_WAIT2` to `TIME_WAIT`.
    TimeWaitSubstate,
    /// The mini-socket ends.
    TimeWaitEnded {
        /// Its substate then.
        substate: TcpState,
        /// Why.
        why: TimeWaitEnd,
    },
    /// No mini-socket could be had; the connection just ends.
    TimeWaitRefused,
    /// A SYN made a request socket; the handshake is half done.
    Request,
    /// The SYN-ACK of a request is sent again, for the how many-th time.
    SynAckRetransmit(u32),
    /// A RST is sent.
    ResetSent {
        /// Number of `enum sk_rst_reason` where the kernel says (6.10).
        reason: Option<u32>,
        /// Whether no segment has asked for it: the kernel itself gives the connection up.
        unasked: bool,
    },
    /// A SYN or FIN is sent again, in this state.
    Retransmit(TcpState),
    /// The socket was freed, so its descriptor is gone.
    Destroyed,
    /// All sockets of the namespace follow, as `sock_diag` gave them between `since` and now.
    SnapshotBegun {
        /// When it was asked for.
        since: Ts,
    },
    /// More of them follow, which were all read after `since`.
    SnapshotGoesOn {
        /// When no row that follows had been read yet.
        since: Ts,
    },
    /// That was the last of them.
    SnapshotEnded {
        /// Whether it was whole, so that what it does not show is gone.
        whole: bool,
    },
    /// A row of a snapshot: a mini-socket.
    FoundTimeWait {
        /// `FIN_WAIT2` or `TIME_WAIT`.
        substate: TcpState,
        /// What is left of its time, in milliseconds.
        left_ms: u32,
    },
    /// A row of a snapshot: a request socket.
    FoundRequest {
        /// SYN-ACKs sent again.
        retransmits: u32,
    },
    /// The namespace is no more, and neither are its sockets.
    NetnsGone,
    /// The connection was not told of as it went on: this many steps came in one record.
    Folded {
        /// How many.
        steps: u32,
    },
}

/// Who made a call, as read in process context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The thread.
    pub task: Task,
    /// When its process began, in nanoseconds of `CLOCK_BOOTTIME`: with the pid, an identity.
    pub started_ns: Option<NonZeroU64>,
    /// Id of its cgroup in the v2 hierarchy.
    pub cgroup: Option<NonZeroU64>,
}

/// How a mini-socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeWaitEnd {
    /// Its time ran out.
    Expired,
    /// A new connection took its place.
    Reused,
    /// Ended from outside, or with its network namespace.
    Killed,
    /// A RST came for it, or data that nobody can read any more.
    Reset,
}

impl TimeWaitEnd {
    /// Every way, in the order of the kernel's counters (`TIME_WAIT_END_*`).
    pub const ALL: [Self; tcp_trace_common::TIME_WAIT_END_COUNT] =
        [Self::Expired, Self::Reused, Self::Killed, Self::Reset];

    /// Name in metrics and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Reused => "reused",
            Self::Killed => "killed",
            Self::Reset => "reset",
        }
    }

    /// By its number in a record.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index).copied())
    }
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
    /// Whether our SYN is among the bytes acknowledged, which tells who opened the connection; rows of
    /// a snapshot alone know, and not all of them.
    pub syn_acked: Option<bool>,
    /// Told by the segments of a capture: what the process has read is not known.
    pub outside: bool,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of the kernel's own")]
pub struct SockFlags {
    /// A descriptor refers to it. Not so in an accept queue, nor once closed.
    pub attached: bool,
    /// Nobody holds it any more (an orphan).
    pub dead: bool,
    /// The peer's FIN has arrived.
    pub fin_received: bool,
    /// `sk_shutdown`: 1 receive side, 2 send side, 3 both.
    pub shutdown: u8,
    /// A subflow of an MPTCP connection.
    pub subflow: bool,
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
