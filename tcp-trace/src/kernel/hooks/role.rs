//! What a hook is for, and what is lost without it.

use serde::{Deserialize, Serialize};

/// What a hook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A listener's birth, where the state backend does not see it.
    Listen,
    /// A child's birth, likewise.
    Child,
    /// Who connects.
    Connect,
    /// Who accepts.
    Accept,
    /// Who closes.
    Close,
    /// The socket is freed: stands in for [`Role::Close`].
    Destroyed,
    /// The end of a mini-socket. Before its birth: who sees births must see ends.
    TimeWaitEnded,
    /// The birth of a mini-socket.
    TimeWaitBorn,
    /// A segment reaches a mini-socket.
    TimeWaitEnter,
    /// What came of that segment.
    TimeWaitLeave,
    /// `connect()` takes a mini-socket's ports.
    TimeWaitReuse,
    /// No mini-socket can be had.
    TimeWaitRefused,
    /// A SYN made a request socket.
    Request,
    /// A SYN-ACK is sent again.
    SynAck,
    /// A RST is sent.
    ResetSent,
    /// A RST ends a socket.
    ResetReceived,
    /// A segment is sent again.
    Retransmit,
}

impl Role {
    /// All, in the order in which they are attached.
    pub const ALL: [Self; 17] = [
        Self::Listen,
        Self::Child,
        Self::Connect,
        Self::Accept,
        Self::Close,
        Self::Destroyed,
        Self::TimeWaitEnded,
        Self::TimeWaitBorn,
        Self::TimeWaitEnter,
        Self::TimeWaitLeave,
        Self::TimeWaitReuse,
        Self::TimeWaitRefused,
        Self::Request,
        Self::SynAck,
        Self::ResetSent,
        Self::ResetReceived,
        Self::Retransmit,
    ];

    /// What the user knows it by.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Listen | Self::Child => "births",
            Self::Connect => "connect()",
            Self::Accept => "accept()",
            Self::Close => "close()",
            Self::Destroyed => "release",
            Self::TimeWaitEnded | Self::TimeWaitBorn => "TIME_WAIT",
            Self::TimeWaitEnter | Self::TimeWaitLeave => "TIME_WAIT substate",
            Self::TimeWaitReuse => "TIME_WAIT reuse",
            Self::TimeWaitRefused => "TIME_WAIT overflow",
            Self::Request => "half-open",
            Self::SynAck => "SYN-ACK retransmits",
            Self::ResetSent => "RST sent",
            Self::ResetReceived => "RST received",
            Self::Retransmit => "retransmits",
        }
    }

    /// What it hooks, first choice.
    #[must_use]
    pub fn target(self) -> &'static str {
        let first = super::CATALOGUE.iter().find(|hook| hook.role == self);
        first.map_or("", |hook| hook.target)
    }

    /// What stands in its place where it cannot be had, and what is lost.
    #[must_use]
    pub const fn without(self) -> Without {
        let (fallback, loses) = match self {
            Self::Listen => (
                "listeners are found by snapshots",
                "when a listener began, and connections' owner by listener until then",
            ),
            Self::Child => (
                "inbound connections begin at ESTABLISHED",
                "the handshake's duration, and connections that never got that far",
            ),
            Self::Connect => (
                "current at CLOSE -> SYN_SENT, which runs in connect()",
                "cgroup and start time of the connecting process",
            ),
            Self::Accept => (
                "the listener's owner, then the descriptor's holder at each snapshot",
                "which worker accepted, until the next snapshot, or for good if it is shorter-lived",
            ),
            Self::Close => (
                "the state change that close() makes, and the socket's release",
                "who closed a socket that had nothing left to change",
            ),
            Self::Destroyed => ("none", "when a finished socket's descriptor was closed"),
            Self::TimeWaitEnded | Self::TimeWaitBorn => (
                "inferred from FIN_WAIT2 or CLOSING -> CLOSE, ended by snapshots or after 60 s",
                "when exactly a TIME_WAIT ends, and so how long it stood (tcp_trace_state_duration_seconds), \
                 and whether it expired or was reused",
            ),
            Self::TimeWaitEnter | Self::TimeWaitLeave => (
                "snapshots",
                "the moment at which a FIN_WAIT2 mini-socket becomes TIME_WAIT; ends by RST count as killed",
            ),
            Self::TimeWaitReuse => ("none", "a TIME_WAIT that connect() reuses counts as killed"),
            Self::TimeWaitRefused => {
                ("the kernel's TCPTimeWaitOverflow", "which connection got no TIME_WAIT")
            }
            Self::Request => {
                ("snapshots", "when a SYN came: handshakes of inbound connections are not timed")
            }
            Self::SynAck => ("none", "SYN-ACKs sent again"),
            Self::ResetSent => ("none", "RSTs that this host sends, and their reasons"),
            Self::ResetReceived => ("none", "the count of RSTs that ended a socket"),
            Self::Retransmit => ("none", "SYNs and FINs sent again"),
        };
        Without { fallback, loses }
    }
}

/// What the lack of a hook comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Without {
    /// What stands in its place.
    pub fallback: &'static str,
    /// What is lost all the same.
    pub loses: &'static str,
}
