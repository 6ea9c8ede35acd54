//! Mini-sockets: what the kernel keeps of a connection once its full socket is gone.
//!
//! A mini-socket stands in substate `FIN_WAIT2` while the peer's FIN is still to come, and in
//! `TIME_WAIT` after. It is born just before the full socket's change to CLOSE.

use std::time::Duration;

use tcp_trace_common as wire;

use super::{
    clock::Ts,
    event::{StateChange, TimeWaitEnd},
    tcp_state::TcpState,
};

/// How long the kernel keeps a mini-socket (`TCP_TIMEWAIT_LEN`, and `tcp_fin_timeout` unless set).
pub const TIME_WAIT_LENGTH: Duration = Duration::from_mins(1);
/// How long one whose end should be seen is kept when it is not: late segments prolong it, so this
/// is generous.
pub const UNSEEN_END: Duration = Duration::from_mins(10);

/// A connection's mini-socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mini {
    /// Its address; 0 where unknown.
    pub sk: u64,
    /// `FIN_WAIT2` or `TIME_WAIT`.
    pub substate: TcpState,
    /// When it was born, or inferred.
    pub born_at: Ts,
    /// Whether no event told of it, only the rules of the protocol.
    pub inferred: bool,
    /// Whether the full socket is still to go: its change to CLOSE comes a moment later.
    pub pending: bool,
    /// Its end, where that came before the full socket's.
    pub over: Option<Option<TimeWaitEnd>>,
    /// When it counts as ended where nothing else has told.
    pub ends: Ts,
}

impl Mini {
    /// One whose full socket is about to go.
    #[must_use]
    pub fn born(at: Ts, sk: u64, substate: TcpState) -> Self {
        let ends = at.after(UNSEEN_END);
        Self { sk, substate, born_at: at, inferred: false, pending: true, over: None, ends }
    }

    /// One that must be there by the rules.
    #[must_use]
    pub fn inferred(at: Ts, substate: TcpState) -> Self {
        let ends = at.after(TIME_WAIT_LENGTH);
        Self { sk: 0, substate, born_at: at, inferred: true, pending: false, over: None, ends }
    }

    /// When the kernel ends it, where that is known: it was asked since `since`, when the mini-socket
    /// came to its substate.
    #[must_use]
    pub fn expires(&self, since: Ts) -> Option<Ts> {
        // Whose end should be seen is kept for longer than that.
        let told = self.ends.back(UNSEEN_END);
        if told > since {
            return Some(told);
        }
        // It comes to its substate a moment after its birth.
        (self.ends.since(since) < UNSEEN_END / 2).then_some(self.ends)
    }
}

/// The substate of the mini-socket that must follow this orderly change to CLOSE; `None` where none
/// follows.
#[must_use]
pub fn inferred_substate(change: &StateChange) -> Option<TcpState> {
    if change.error != 0 || change.new != TcpState::Close {
        return None;
    }
    match change.old {
        TcpState::FinWait2 if change.flags.is_some_and(|flags| !flags.fin_received) => {
            Some(TcpState::FinWait2)
        }
        TcpState::FinWait2 | TcpState::Closing => Some(TcpState::TimeWait),
        _ => None,
    }
}

/// The kernel's own count of mini-sockets, exact whatever the buffers lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeWaitCounters {
    /// Births in `FIN_WAIT2`.
    pub born_fin_wait2: u64,
    /// Births in `TIME_WAIT`.
    pub born_time_wait: u64,
    /// Changes from `FIN_WAIT2` to `TIME_WAIT`.
    pub substate: u64,
    /// Mini-sockets that could not be had.
    pub refused: u64,
    /// Ends in `FIN_WAIT2`, in the order of [`TimeWaitEnd::ALL`].
    pub ended_fin_wait2: [u64; wire::TIME_WAIT_END_COUNT],
    /// Ends in `TIME_WAIT`, in the order of [`TimeWaitEnd::ALL`].
    pub ended_time_wait: [u64; wire::TIME_WAIT_END_COUNT],
}

impl TimeWaitCounters {
    /// From the counter block.
    #[must_use]
    pub fn from_counters(counters: &[u64]) -> Self {
        let slot = |slot: usize| counters.get(slot).copied().unwrap_or(0);
        let ends = |first: usize| std::array::from_fn(|way| slot(first + way));
        Self {
            born_fin_wait2: slot(wire::COUNTER_TIME_WAIT_BORN_FIN_WAIT2),
            born_time_wait: slot(wire::COUNTER_TIME_WAIT_BORN),
            substate: slot(wire::COUNTER_TIME_WAIT_SUBSTATE),
            refused: slot(wire::COUNTER_TIME_WAIT_REFUSED),
            ended_fin_wait2: ends(wire::COUNTER_TIME_WAIT_ENDED_FIN_WAIT2),
            ended_time_wait: ends(wire::COUNTER_TIME_WAIT_ENDED),
        }
    }

    /// How many more came into `substate` than left it.
    #[must_use]
    pub fn net(&self, substate: TcpState) -> i64 {
        let (came, left) = match substate {
            TcpState::FinWait2 => {
                (self.born_fin_wait2, self.substate.saturating_add(sum(self.ended_fin_wait2)))
            }
            TcpState::TimeWait => {
                (self.born_time_wait.saturating_add(self.substate), sum(self.ended_time_wait))
            }
            _ => (0, 0),
        };
        i64::try_from(i128::from(came) - i128::from(left)).unwrap_or(0)
    }

    /// Born in either substate.
    #[must_use]
    pub fn born(&self) -> u64 {
        self.born_fin_wait2.saturating_add(self.born_time_wait)
    }

    /// Ended in this way, in either substate.
    #[must_use]
    pub fn ended(&self, way: TimeWaitEnd) -> u64 {
        let of = |ends: &[u64]| ends.get(way as usize).copied().unwrap_or(0);
        of(&self.ended_fin_wait2).saturating_add(of(&self.ended_time_wait))
    }
}

fn sum(counts: [u64; wire::TIME_WAIT_END_COUNT]) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_mini_socket_expires_is_known_once_the_kernel_was_asked() {
        let (at, ends) = (Ts(5_000_000_000), Ts(25_000_000_000));
        let born = Mini::born(at, 1, TcpState::FinWait2);
        assert_eq!(born.expires(at), None);
        assert_eq!(born.expires(at.after(Duration::from_micros(3))), None);
        assert_eq!(Mini { ends: ends.after(UNSEEN_END), ..born }.expires(at), Some(ends));
        assert_eq!(Mini { ends, ..born }.expires(at), Some(ends), "its end is not seen");
        let inferred = Mini::inferred(at, TcpState::TimeWait);
        assert_eq!(inferred.expires(at), Some(at.after(TIME_WAIT_LENGTH)));
    }

    #[test]
    fn the_block_is_read_where_it_lies() {
        let mut block = vec![0; wire::COUNTER_SLOTS];
        block[wire::COUNTER_TIME_WAIT_BORN_FIN_WAIT2] = 10;
        block[wire::COUNTER_TIME_WAIT_BORN] = 5;
        block[wire::COUNTER_TIME_WAIT_SUBSTATE] = 4;
        block[wire::COUNTER_TIME_WAIT_ENDED_FIN_WAIT2 + 3] = 2;
        block[wire::COUNTER_TIME_WAIT_ENDED + 1] = 1;
        let counters = TimeWaitCounters::from_counters(&block);
        assert_eq!(counters.net(TcpState::FinWait2), 4);
        assert_eq!(counters.net(TcpState::TimeWait), 8);
        assert_eq!((counters.born(), counters.ended(TimeWaitEnd::Reset)), (15, 2));
        assert_eq!(counters.ended(TimeWaitEnd::Reused), 1);
        assert_eq!(TimeWaitCounters::from_counters(&[]), TimeWaitCounters::default());
    }
}
