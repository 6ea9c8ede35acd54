//! The steps of one connection's life, bounded.

use super::{
    clock::Ts,
    event::{Task, TimeWaitEnd},
    exchange::{Exchange, Passed},
    tcp_state::TcpState,
};
use packed::Packed;

mod packed;
mod zigzag;

pub use packed::Steps;

/// Steps kept per connection; what comes after is counted.
///
/// An ordinary life has at most a dozen; only repeated segments and calls can make more.
pub const STEP_LIMIT: usize = 48;

/// What happened to a connection, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    steps: Packed,
    omitted: u32,
    /// Bounded apart from the steps, and in an order of its own: see [`super::story`].
    exchange: Option<Box<Exchange>>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Ts,
    /// What.
    pub kind: StepKind,
}

/// What a step can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The state changed.
    State {
        /// Before.
        from: TcpState,
        /// After.
        to: TcpState,
        /// What was read off the socket at that moment.
        detail: Detail,
    },
    /// The process called into the socket.
    Call {
        /// Which call.
        call: Call,
        /// The caller: these changes run in process context.
        by: Option<Task>,
        /// Where the connection stood.
        state: TcpState,
    },
    /// Segments that say something of the connection, one or several of a kind in a row.
    Segment {
        /// What they were.
        segment: Segment,
        /// How many.
        count: u32,
        /// When the last of them passed.
        last: Ts,
    },
    /// A mini-socket took the connection over, and the full socket's state became CLOSE.
    MiniBorn {
        /// State of the full socket.
        from: TcpState,
        /// `FIN_WAIT2` or `TIME_WAIT`.
        substate: TcpState,
        /// Whether it is inferred.
        inferred: bool,
        /// What was read off the full socket at that moment.
        detail: Detail,
    },
    /// The mini-socket ended, and with it the connection.
    MiniEnded {
        /// Its substate.
        substate: TcpState,
        /// Why, where that was told.
        why: Option<TimeWaitEnd>,
    },
    /// Something about the timeline itself.
    Mark(Mark),
}

/// What was read off the socket when its state changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// `sk_err`.
    pub error: i32,
    /// Payload bytes received and not read.
    pub unread_bytes: Option<u32>,
    /// `sk_shutdown`, where known.
    pub shutdown: Option<u8>,
    /// Whether a descriptor referred to the socket, where known.
    pub attached: Option<bool>,
    /// Whether the peer's FIN had arrived, where known.
    pub fin_received: Option<bool>,
    /// The current task, for the changes that run in the caller's context.
    pub caller: Option<Task>,
}

/// Calls into the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `connect()` had both ends chosen and was about to send the SYN.
    Connect,
    /// `accept()` handed the socket out.
    Accept,
    /// The last descriptor was closed.
    Close,
}

impl Call {
    /// Name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Close => "close",
        }
    }
}

/// Segments worth a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The peer's SYN came to a listener.
    SynReceived,
    /// The SYN-ACK was sent again.
    SynAckAgain,
    /// A SYN or FIN was sent again, in this state.
    Retransmit(TcpState),
    /// A RST was sent, with the number of `enum sk_rst_reason` where the kernel says.
    ResetSent(Option<u32>),
}

/// Remarks about the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The socket existed before tracing began; what came earlier is unknown.
    Found(TcpState),
    /// Steps between these two states were not seen.
    Missed {
        /// Where the connection stood for us.
        known: TcpState,
        /// Where it stood in fact.
        actual: TcpState,
    },
    /// A change that Linux does not make.
    Illegal {
        /// Before.
        from: TcpState,
        /// After.
        to: TcpState,
    },
    /// The end was not seen: the socket's identity went on to another connection.
    Reused,
    /// The end was not seen: the socket was gone when the kernel was asked.
    Reconciled,
    /// It stood elsewhere when the kernel was asked.
    Corrected {
        /// Where the connection stood for us.
        known: TcpState,
        /// Where it stood in fact.
        actual: TcpState,
    },
    /// The end was not seen: its network namespace is gone.
    NetnsGone,
    /// The end was not seen within any reasonable time.
    Overdue,
    /// No mini-socket could be had.
    TimeWaitRefused,
    /// This many steps, calls among them, were told in one record.
    Folded(u32),
}

impl Timeline {
    /// Adds a step, or counts it once [`STEP_LIMIT`] is reached.
    pub fn push(&mut self, at: Ts, kind: StepKind) {
        if self.steps.len() < STEP_LIMIT {
            self.steps.push(&Step { at, kind });
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    /// Adds a segment, folded into the step before where that is one of its kind.
    pub fn push_segment(&mut self, at: Ts, segment: Segment, count: u32) {
        if self.steps.ends_with_segments()
            && let Some(StepKind::Segment { segment: before, count: sum, .. }) =
                self.steps().last().map(|step| step.kind)
            && before == segment
        {
            self.fold(sum.saturating_add(count), at);
        } else {
            self.push(at, StepKind::Segment { segment, count, last: at });
        }
    }

    /// The last step, which is of segments, is of `sum` until `now`.
    fn fold(&mut self, sum: u32, now: Ts) {
        let mut steps = Packed::default();
        let mut left = self.steps.len();
        for mut step in self.steps.iter() {
            left = left.saturating_sub(1);
            if let StepKind::Segment { count, last, .. } = &mut step.kind
                && left == 0
            {
                (*count, *last) = (sum, now);
            }
            steps.push(&step);
        }
        self.steps = steps;
    }

    /// Puts steps before all others; they are part of the beginning and always kept.
    pub fn prepend(&mut self, steps: impl IntoIterator<Item = Step>) {
        let room = (STEP_LIMIT + 2).saturating_sub(self.steps.len());
        let mut all = Packed::default();
        for step in steps.into_iter().take(room).chain(self.steps.iter()) {
            all.push(&step);
        }
        self.steps = all;
    }

    /// The steps kept, oldest first.
    #[must_use]
    pub fn steps(&self) -> Steps<'_> {
        self.steps.iter()
    }

    /// Whether the first step led to `state`, or found it there: looked up, and no step is unpacked.
    #[must_use]
    pub fn begins_in(&self, state: TcpState) -> bool {
        self.steps.first_state() == Some(state)
    }

    /// Adds a segment that packet hooks saw.
    pub fn segment_passed(&mut self, segment: Passed) {
        self.exchange.get_or_insert_default().push(segment);
    }

    /// The segments that packet hooks saw, where they saw any.
    #[must_use]
    pub fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_deref()
    }

    /// Steps that found no room.
    #[must_use]
    pub fn omitted(&self) -> u32 {
        self.omitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_begins_is_told_by_its_first_step() {
        use TcpState as S;
        let of = |kinds: &[StepKind]| {
            let mut timeline = Timeline::default();
            for (at, kind) in (5..).zip(kinds) {
                timeline.push(Ts(at), *kind);
            }
            S::ALL.into_iter().filter(|state| timeline.begins_in(*state)).collect::<Vec<_>>()
        };
        let to = |from, to| StepKind::State { from, to, detail: Detail::default() };
        let found = StepKind::Mark(Mark::Found(S::Listen));
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[to(S::Close, S::Listen), to(S::Listen, S::Close)]), [S::Listen]);
        assert_eq!(of(&[found, to(S::Listen, S::Close)]), [S::Listen]);
        assert_eq!(of(&[to(S::Close, S::SynSent), to(S::Listen, S::Listen)]), [S::SynSent]);
        assert_eq!(of(&[StepKind::Mark(Mark::Reused), found]), []);
        let accept = StepKind::Call { call: Call::Accept, by: None, state: S::Listen };
        assert_eq!(of(&[accept, found]), []);
        let mini = |inferred| {
            let (from, detail) = (S::Established, Detail::default());
            StepKind::MiniBorn { from, substate: S::TimeWait, inferred, detail }
        };
        assert_eq!((of(&[mini(true)]), of(&[mini(false)])), (vec![], vec![]));
    }

    #[test]
    fn a_timeline_is_bounded_and_says_so() {
        let mut timeline = Timeline::default();
        for n in 0..1000 {
            let state = TcpState::FinWait1;
            timeline.push(Ts(n), StepKind::Call { call: Call::Close, by: None, state });
        }
        assert_eq!(timeline.steps().len(), STEP_LIMIT);
        assert_eq!(timeline.omitted(), 1000 - u32::try_from(STEP_LIMIT).unwrap());
    }

    #[test]
    fn segments_of_a_kind_are_one_step() {
        let mut timeline = Timeline::default();
        for at in 1..=3 {
            timeline.push_segment(Ts(at), Segment::Retransmit(TcpState::SynSent), 1);
        }
        timeline.push_segment(Ts(4), Segment::ResetSent(None), 1);
        timeline.prepend([Step { at: Ts(0), kind: StepKind::Mark(Mark::Reused) }]);
        let steps: Vec<_> = timeline.steps().collect();
        let [_, folded, _] = &*steps else { panic!("{timeline:?}") };
        let segment = Segment::Retransmit(TcpState::SynSent);
        assert_eq!(folded.kind, StepKind::Segment { segment, count: 3, last: Ts(3) });
    }
}
