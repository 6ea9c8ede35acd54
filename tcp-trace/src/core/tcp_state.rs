//! TCP states and the changes between them that Linux really makes.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A TCP state, numbered as in the kernel's `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// Data may flow both ways.
    Established = 1,
    /// `connect()` was called, no answer yet.
    SynSent = 2,
    /// A handshake is being completed.
    SynRecv = 3,
    /// We closed first; our FIN is not acknowledged yet.
    FinWait1 = 4,
    /// Our FIN is acknowledged; the peer has not closed.
    FinWait2 = 5,
    /// Both FINs are through; the kernel guards the address pair for 60 seconds.
    TimeWait = 6,
    /// No connection.
    Close = 7,
    /// The peer closed; our process has not.
    CloseWait = 8,
    /// The peer closed first, then we did; our FIN is not acknowledged yet.
    LastAck = 9,
    /// Waiting for connections.
    Listen = 10,
    /// Both sides closed at once; our FIN is not acknowledged yet.
    Closing = 11,
    /// A request that is no socket yet (`request_sock`).
    NewSynRecv = 12,
}

/// Text that names no TCP state.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "'{0}' is no TCP state; the states are: established syn_sent syn_recv fin_wait1 fin_wait2 time_wait close close_wait last_ack listen closing new_syn_recv"
)]
pub struct UnknownState(pub String);

/// What a state change means for the socket's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The first change a connection or listener can show.
    Birth,
    /// A step within a life.
    Step,
    /// The end of a life.
    Death,
    /// Old and new are the same: `close()` came after the socket had moved on.
    Marker,
    /// Linux does not make this change: events were missed or the kernel is stranger than we know.
    Illegal,
}

impl TcpState {
    /// Every state, in the kernel's order.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
    ];

    /// The state with the kernel's number `number`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The kernel's number, 1 to 12; also the index into per-state arrays of 13.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Lower-case name, as in metrics and the API (`close_wait`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::SynSent => "syn_sent",
            Self::SynRecv => "syn_recv",
            Self::FinWait1 => "fin_wait1",
            Self::FinWait2 => "fin_wait2",
            Self::TimeWait => "time_wait",
            Self::Close => "close",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::Listen => "listen",
            Self::Closing => "closing",
            Self::NewSynRecv => "new_syn_recv",
        }
    }

    /// Upper-case name, as the kernel and `tcpstates` print it (`CLOSE_WAIT`).
    #[must_use]
    pub const fn kernel_name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW_SYN_RECV",
        }
    }

    /// What the change from `self` to `new` is.
    ///
    /// The table is Linux's own, not RFC 9293's: `TIME_WAIT` and `NEW_SYN_RECV` are kinds of
    /// mini-socket and never appear in a state change, a child is born LISTEN to `SYN_RECV`, and
    /// any state may drop to CLOSE.
    #[must_use]
    pub fn transition(self, new: Self) -> Transition {
        use TcpState as S;
        match (self, new) {
            (S::TimeWait | S::NewSynRecv, _) | (_, S::TimeWait | S::NewSynRecv) => {
                Transition::Illegal
            }
            (S::Close, S::SynSent | S::Listen) | (S::Listen, S::SynRecv) => Transition::Birth,
            // tcp_close_state() stores the state again when close() changes nothing.
            (S::FinWait1, S::FinWait1)
            | (S::FinWait2, S::FinWait2)
            | (S::LastAck, S::LastAck)
            | (S::Closing, S::Closing)
            | (S::Close, S::Close) => Transition::Marker,
            (_, S::Close) => Transition::Death,
            (S::SynSent, S::SynRecv | S::Established)
            | (S::SynRecv, S::Established | S::FinWait1 | S::CloseWait)
            | (S::Established, S::FinWait1 | S::CloseWait)
            | (S::FinWait1, S::FinWait2 | S::Closing)
            | (S::CloseWait, S::LastAck) => Transition::Step,
            _ => Transition::Illegal,
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.kernel_name())
    }
}

impl FromStr for TcpState {
    type Err = UnknownState;

    /// Takes either spelling, and `ss`'s dashes (`close-wait`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim().to_ascii_lowercase().replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_there_and_back() {
        for state in TcpState::ALL {
            assert_eq!(TcpState::from_number(state as u8), Some(state));
        }
        for number in [0, 13, 255] {
            assert_eq!(TcpState::from_number(number), None);
        }
    }

    #[test]
    fn every_spelling_is_understood() {
        for state in TcpState::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(state.kernel_name().parse(), Ok(state));
            assert_eq!(state.name().replace('_', "-").parse(), Ok(state));
        }
        assert!("close wait".parse::<TcpState>().is_err());
    }

    #[test]
    fn the_legal_changes_are_linux_s() {
        use TcpState as S;
        let legal = |old: S, new: S| old.transition(new) != Transition::Illegal;
        let steps: [(S, &[S]); 10] = [
            (S::Close, &[S::SynSent, S::Listen, S::Close]),
            (S::Listen, &[S::SynRecv, S::Close]),
            (S::SynSent, &[S::SynRecv, S::Established, S::Close]),
            (S::SynRecv, &[S::Established, S::FinWait1, S::CloseWait, S::Close]),
            (S::Established, &[S::FinWait1, S::CloseWait, S::Close]),
            (S::FinWait1, &[S::FinWait1, S::FinWait2, S::Closing, S::Close]),
            (S::FinWait2, &[S::FinWait2, S::Close]),
            (S::Closing, &[S::Closing, S::Close]),
            (S::CloseWait, &[S::LastAck, S::Close]),
            (S::LastAck, &[S::LastAck, S::Close]),
        ];
        for old in S::ALL {
            let allowed = steps.iter().find(|(from, _)| *from == old).map_or(&[][..], |(_, to)| to);
            for new in S::ALL {
                assert_eq!(legal(old, new), allowed.contains(&new), "{old} -> {new}");
            }
        }
    }
}
