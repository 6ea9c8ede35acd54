//! The steps of one connection's life, bounded.

use super::{clock::Ts, event::Task, tcp_state::TcpState};

/// Steps kept per connection; what comes after is counted.
///
/// An ordinary life has at most eight; only repeated `close()` markers can make more.
pub const STEP_LIMIT: usize = 48;

/// What happened to a connection, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    steps: Vec<Step>,
    omitted: u32,
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

/// Calls that leave a trace in the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `close()` of a socket that had nothing left to change.
    Close,
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
}

impl Timeline {
    /// Adds a step, or counts it once [`STEP_LIMIT`] is reached.
    pub fn push(&mut self, at: Ts, kind: StepKind) {
        if self.steps.capacity() == 0 {
            // An ordinary life, in one allocation.
            self.steps.reserve_exact(6);
        }
        if self.steps.len() < STEP_LIMIT {
            self.steps.push(Step { at, kind });
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    /// The steps kept, oldest first.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
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
    fn a_timeline_is_bounded_and_says_so() {
        let mut timeline = Timeline::default();
        for n in 0..1000 {
            timeline.push(Ts(n), StepKind::Call { call: Call::Close, by: None });
        }
        assert_eq!(timeline.steps().len(), STEP_LIMIT);
        assert_eq!(timeline.omitted(), 1000 - u32::try_from(STEP_LIMIT).unwrap());
    }
}
