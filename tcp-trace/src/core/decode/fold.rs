//! Records of connections that are told at once, back to the events that they stand for.

use std::num::NonZeroU64;

use tcp_trace_common as wire;

use super::{DecodeError, end, length, prefix, protocol, state, transfer};
use crate::core::{
    clock::Ts,
    event::{
        Body, Caller, Comm, Event, Flow, LifeEvent, LifeStep, Origin, Protocol, SockFlags,
        SocketId, StateChange, Task,
    },
    tcp_state::TcpState,
};

/// The folded record at the start of `bytes`; `None` where another kind of record begins there.
///
/// # Errors
/// Where the bytes are too few, or say of themselves what no record is.
#[must_use]
pub fn folded(bytes: &[u8]) -> Option<Result<wire::FoldedRecord, DecodeError>> {
    let kind = u16::from_ne_bytes(*bytes.first_chunk::<2>()?);
    if kind != wire::KIND_FOLDED {
        return None;
    }
    let whole = || {
        let record: wire::FoldedRecord = prefix(bytes)?;
        length(record.state.len, wire::FOLDED_RECORD_LEN)?;
        Ok(record)
    };
    Some(whole())
}

/// The steps of `record` that there are.
#[must_use]
pub fn steps(record: &wire::FoldedRecord) -> &[wire::FoldStep] {
    let count = usize::try_from(record.count).unwrap_or(usize::MAX);
    record.steps.get(..count.min(wire::FOLD_STEPS)).unwrap_or_default()
}

/// Hands over the events that `record` stands for, in order, without the first `told` steps.
///
/// # Errors
/// Where a number in it is none of the kernel's; then nothing of it is handed over.
pub fn unfold(
    record: &wire::FoldedRecord,
    told: usize,
    mut each: impl FnMut(&Event),
) -> Result<(), DecodeError> {
    let steps = steps(record);
    steps.iter().try_for_each(check)?;
    let mut unfolding = Unfolding::of(record);
    let last_change = steps.iter().rposition(is_change);
    for (number, step) in steps.iter().enumerate() {
        if number >= told {
            each(&unfolding.step(step, Some(number) == last_change)?);
        }
        if number == 0 && told == 0 {
            each(&unfolding.remark(step, steps.len()));
        }
        if is_change(step) {
            unfolding.stands = state(step.code & 15)?;
        }
    }
    Ok(())
}

/// Whether a step is one.
fn check(step: &wire::FoldStep) -> Result<(), DecodeError> {
    match step.code {
        wire::FOLD_CONNECT | wire::FOLD_ACCEPT | wire::FOLD_CLOSE => Ok(()),
        code => state(code >> 4).and(state(code & 15)).map(drop),
    }
}

/// Whether a step is a change of state; nothing changes from state 0.
fn is_change(step: &wire::FoldStep) -> bool {
    step.code >> 4 != 0
}

struct Unfolding<'a> {
    record: &'a wire::FoldedRecord,
    socket: SocketId,
    flow: Flow,
    protocol: Protocol,
    netns: Option<u32>,
    /// Where the connection stands.
    stands: TcpState,
}

impl<'a> Unfolding<'a> {
    fn of(record: &'a wire::FoldedRecord) -> Self {
        let last = &record.state;
        let has = |bit| last.valid & bit != 0;
        Self {
            record,
            socket: SocketId {
                cookie: NonZeroU64::new(last.cookie).filter(|_| has(wire::VALID_COOKIE)),
                sk: last.sk,
            },
            flow: Flow {
                local: end(last.local_addr, last.local_port),
                remote: end(last.remote_addr, last.remote_port),
            },
            protocol: protocol(last.protocol),
            netns: has(wire::VALID_NETNS).then_some(last.netns),
            stands: TcpState::Close,
        }
    }

    fn step(&self, step: &wire::FoldStep, is_last: bool) -> Result<Event, DecodeError> {
        let opener = self.caller(wire::FOLD_OPENER);
        let closer = self.caller(wire::FOLD_CLOSER);
        let what = match step.code {
            wire::FOLD_CONNECT => LifeStep::Connect(opener),
            wire::FOLD_ACCEPT => LifeStep::Accept(opener),
            wire::FOLD_CLOSE => LifeStep::Close(closer, self.stands),
            _ => return self.change(step, is_last),
        };
        Ok(self.life(step, what))
    }

    /// What is said of the whole: it comes right after the birth.
    fn remark(&self, birth: &wire::FoldStep, steps: usize) -> Event {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.life(birth, LifeStep::Folded { steps })
    }

    fn life(&self, step: &wire::FoldStep, what: LifeStep) -> Event {
        let Self { socket, flow, protocol, netns, .. } = *self;
        let body = Body::Life(LifeEvent { socket, flow, protocol, netns, what });
        Event { at: Ts(step.time_ns), body }
    }

    fn change(&self, step: &wire::FoldStep, is_last: bool) -> Result<Event, DecodeError> {
        let (old, new) = (state(step.code >> 4)?, state(step.code & 15)?);
        let last = &self.record.state;
        let has = |bit| last.valid & bit != 0;
        // The figures are those of the last change; those before had their own, which are not kept.
        let figures = (is_last && has(wire::VALID_TCP)).then(|| transfer(last));
        let current = if is_last && has(wire::VALID_CURRENT) {
            let comm = Comm(last.comm_bytes());
            Some(Task { pid: last.pid, tid: last.tid, comm })
        } else {
            None
        };
        let caller = match (old, new) {
            (TcpState::Close, _) => self.caller(wire::FOLD_OPENER),
            (_, TcpState::FinWait1 | TcpState::LastAck) => self.caller(wire::FOLD_CLOSER),
            _ => None,
        };
        let change = StateChange {
            socket: self.socket,
            origin: Origin::Live,
            old,
            new,
            flow: self.flow,
            protocol: self.protocol,
            netns: self.netns,
            error: step.error,
            transfer: figures,
            flags: has(wire::VALID_FLAGS).then_some(SockFlags {
                attached: step.sock_flags & wire::SOCK_ATTACHED != 0,
                dead: step.sock_flags & wire::SOCK_FLAG_DEAD != 0,
                fin_received: step.sock_flags & wire::SOCK_FLAG_FIN_RECEIVED != 0,
                shutdown: step.shutdown,
                // Told with the figures of the last change alone.
                subflow: last.sock_flags & wire::SOCK_FLAG_SUBFLOW != 0,
            }),
            current: caller.map(|caller| caller.task).or(current),
            silent: None,
        };
        Ok(Event { at: Ts(step.time_ns), body: Body::State(change) })
    }

    fn caller(&self, which: usize) -> Option<Caller> {
        let caller = self.record.callers.get(which).filter(|caller| caller.pid != 0)?;
        Some(Caller {
            task: Task {
                pid: caller.pid,
                tid: caller.tid,
                comm: Comm(wire::comm_from_words(caller.comm)),
            },
            started_ns: NonZeroU64::new(caller.process_started_ns),
            cgroup: NonZeroU64::new(caller.cgroup),
        })
    }
}
