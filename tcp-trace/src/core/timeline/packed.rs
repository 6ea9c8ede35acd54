//! Steps as bytes: a connection's ordinary life takes some sixty of them, and a step as it is used
//! seventy-two.
//!
//! | bytes | hold |
//! |---|---|
//! | 1 | which kind of step; in the upper bits what it has little of |
//! | 1 to 10 | nanoseconds since the step before |
//! | the rest | by kind: states in half a byte each, numbers with seven bits to the byte |
//!
//! A task is written out once and repeated by a mark.

use smallvec::SmallVec;

mod bytes;

use bytes::{byte, number, since, small_number, state, states, written_out};

use super::{
    Call, Detail, Mark, Segment, Step, StepKind,
    zigzag::{unzigzag, zigzag},
};
use crate::core::{
    clock::Ts,
    event::{Task, TimeWaitEnd},
    tcp_state::TcpState,
};

/// Bytes that lie in the connection itself; a longer life has them elsewhere.
const INLINE: usize = 72;

/// Steps, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    bytes: SmallVec<[u8; INLINE]>,
    /// When the last of them was.
    last: Ts,
    /// Where the latest task that is written out begins, and one more; 0: there is none.
    task: u16,
    len: u8,
    /// Whether the last of them is of segments.
    segments: bool,
}

// Kinds, in the lowest three bits of a step's first byte.
const STATE: u8 = 0;
const CALL: u8 = 1;
const SEGMENT: u8 = 2;
const MINI_BORN: u8 = 3;
const MINI_ENDED: u8 = 4;
const MARK: u8 = 5;

// Bits of a detail's byte.
const HAS_ERROR: u8 = 1 << 0;
const HAS_UNREAD: u8 = 1 << 1;
const HAS_SHUTDOWN: u8 = 1 << 2;
const HAS_CALLER: u8 = 1 << 3;
/// Two bits each.
const ATTACHED: u8 = 4;
const FIN_RECEIVED: u8 = 6;

/// [`Mark::Found`] among the marks.
const FOUND: u8 = 0;

/// How a task is written that is the one before.
const SAME: u8 = 0xff;

impl Packed {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn push(&mut self, step: &Step) {
        let (kind, high) = match step.kind {
            StepKind::State { detail, .. } => (STATE, small(detail)),
            StepKind::Call { call, by, .. } => {
                (CALL, call as u8 | if by.is_some() { 4 } else { 0 })
            }
            StepKind::Segment { segment, .. } => (SEGMENT, segment_kind(segment)),
            StepKind::MiniBorn { detail, .. } => (MINI_BORN, small(detail)),
            StepKind::MiniEnded { why, .. } => (MINI_ENDED, why.map_or(0, |why| why as u8 + 1)),
            StepKind::Mark(mark) => (MARK, mark_kind(mark)),
        };
        self.bytes.push(kind | high << 3);
        self.put_since(self.last, step.at);
        self.last = step.at;
        self.len = self.len.saturating_add(1);
        self.segments = kind == SEGMENT;
        match step.kind {
            StepKind::State { from, to, detail } => {
                self.put_states(from, to);
                self.put_detail(&detail, false);
            }
            StepKind::Call { by, state, .. } => {
                self.bytes.push(state as u8);
                self.put_task(by);
            }
            StepKind::Segment { segment, count, last } => {
                match segment {
                    Segment::Retransmit(state) => self.bytes.push(state as u8),
                    Segment::ResetSent(Some(reason)) => self.put(reason.into()),
                    Segment::ResetSent(None) | Segment::SynReceived | Segment::SynAckAgain => {}
                }
                self.put(count.into());
                self.put_since(step.at, last);
            }
            StepKind::MiniBorn { from, substate, inferred, detail } => {
                self.put_states(from, substate);
                self.put_detail(&detail, inferred);
            }
            StepKind::MiniEnded { substate, .. } => self.bytes.push(substate as u8),
            StepKind::Mark(mark) => match mark {
                Mark::Found(state) => self.bytes.push(state as u8),
                Mark::Folded(steps) => self.put(steps.into()),
                Mark::Missed { known: one, actual: other }
                | Mark::Illegal { from: one, to: other }
                | Mark::Corrected { known: one, actual: other } => self.put_states(one, other),
                Mark::Reused
                | Mark::Reconciled
                | Mark::NetnsGone
                | Mark::Overdue
                | Mark::TimeWaitRefused => {}
            },
        }
    }

    /// Whether the last step is of segments.
    pub(super) fn ends_with_segments(&self) -> bool {
        self.segments
    }

    /// The state that the first step led to, or found.
    pub(super) fn first_state(&self) -> Option<TcpState> {
        let mut bytes = self.bytes.as_slice();
        let first = byte(&mut bytes)?;
        number(&mut bytes)?;
        match (first & 7, first >> 3) {
            (STATE, _) => states(&mut bytes).map(|(_, to)| to),
            (MARK, FOUND) => state(byte(&mut bytes)?),
            _ => None,
        }
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> Steps<'_> {
        Steps { left: &self.bytes, at: Ts(0), task: None, count: self.len() }
    }

    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    /// A step may stand behind a later one.
    fn put_since(&mut self, before: Ts, at: Ts) {
        self.put(zigzag(at.0.wrapping_sub(before.0).cast_signed()));
    }

    fn put_states(&mut self, one: TcpState, other: TcpState) {
        self.bytes.push(one as u8 | (other as u8) << 4);
    }

    /// `flag` is one bit that belongs to the step.
    fn put_detail(&mut self, detail: &Detail, flag: bool) {
        let has = |bit, there| if there { bit } else { 0 };
        let unread = detail.unread_bytes.filter(|bytes| *bytes > 0);
        let shutdown = detail.shutdown.filter(|sides| *sides > 3);
        let bits = has(HAS_ERROR, detail.error != 0)
            | has(HAS_UNREAD, unread.is_some())
            | has(HAS_SHUTDOWN, shutdown.is_some() || flag)
            | has(HAS_CALLER, detail.caller.is_some())
            | answer(detail.attached) << ATTACHED
            | answer(detail.fin_received) << FIN_RECEIVED;
        self.bytes.push(bits);
        if detail.error != 0 {
            self.put(zigzag(detail.error.into()));
        }
        if let Some(unread) = unread {
            self.put(unread.into());
        }
        if shutdown.is_some() || flag {
            // The flag comes with the rare shutdown, which is rare itself.
            self.bytes.push(u8::from(flag));
            self.bytes.push(shutdown.unwrap_or(0));
        }
        self.put_task(detail.caller);
    }

    fn put_task(&mut self, task: Option<Task>) {
        let Some(task) = task else { return };
        let before = usize::from(self.task).checked_sub(1).and_then(|at| self.bytes.get(at..));
        if before.and_then(|mut bytes| written_out(&mut bytes)) == Some(task) {
            self.bytes.push(SAME);
            return;
        }
        self.task = u16::try_from(self.bytes.len() + 1).unwrap_or(0);
        let name = task.comm.0;
        let len = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.bytes.push(u8::try_from(len).unwrap_or(0));
        self.bytes.extend_from_slice(name.get(..len).unwrap_or_default());
        self.put(task.pid.into());
        self.put(zigzag(i64::from(task.tid) - i64::from(task.pid)));
    }
}

/// The steps of a timeline, oldest first.
#[derive(Clone, Debug)]
pub struct Steps<'a> {
    left: &'a [u8],
    at: Ts,
    task: Option<Task>,
    count: usize,
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let first = byte(&mut self.left)?;
        let at = since(&mut self.left, self.at)?;
        let (kind, high) = (first & 7, first >> 3);
        let kind = self.kind(at, kind, high)?;
        self.at = at;
        self.count = self.count.saturating_sub(1);
        Some(Step { at, kind })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Steps<'_> {}

impl Steps<'_> {
    fn kind(&mut self, at: Ts, kind: u8, high: u8) -> Option<StepKind> {
        Some(match kind {
            STATE => {
                let (from, to) = states(&mut self.left)?;
                let (detail, _) = self.detail(high)?;
                StepKind::State { from, to, detail }
            }
            CALL => {
                let call =
                    *[Call::Connect, Call::Accept, Call::Close].get(usize::from(high & 3))?;
                let state = state(byte(&mut self.left)?)?;
                let by = if high & 4 == 0 { None } else { Some(self.task()?) };
                StepKind::Call { call, by, state }
            }
            SEGMENT => {
                let segment = match high {
                    0 => Segment::SynReceived,
                    1 => Segment::SynAckAgain,
                    2 => Segment::Retransmit(state(byte(&mut self.left)?)?),
                    3 => Segment::ResetSent(None),
                    _ => Segment::ResetSent(Some(small_number(&mut self.left)?)),
                };
                let count = small_number(&mut self.left)?;
                StepKind::Segment { segment, count, last: since(&mut self.left, at)? }
            }
            MINI_BORN => {
                let (from, substate) = states(&mut self.left)?;
                let (detail, inferred) = self.detail(high)?;
                StepKind::MiniBorn { from, substate, inferred, detail }
            }
            MINI_ENDED => {
                let why = usize::from(high).checked_sub(1);
                let why = why.and_then(|why| TimeWaitEnd::ALL.get(why).copied());
                StepKind::MiniEnded { substate: state(byte(&mut self.left)?)?, why }
            }
            _ => StepKind::Mark(self.mark(high)?),
        })
    }

    fn mark(&mut self, kind: u8) -> Option<Mark> {
        Some(match kind {
            FOUND => Mark::Found(state(byte(&mut self.left)?)?),
            1 => {
                let (known, actual) = states(&mut self.left)?;
                Mark::Missed { known, actual }
            }
            2 => {
                let (from, to) = states(&mut self.left)?;
                Mark::Illegal { from, to }
            }
            3 => Mark::Reused,
            4 => Mark::Reconciled,
            5 => {
                let (known, actual) = states(&mut self.left)?;
                Mark::Corrected { known, actual }
            }
            6 => Mark::NetnsGone,
            7 => Mark::Overdue,
            8 => Mark::TimeWaitRefused,
            _ => Mark::Folded(u32::try_from(number(&mut self.left)?).ok()?),
        })
    }

    /// A detail, and the bit that belongs to the step.
    fn detail(&mut self, high: u8) -> Option<(Detail, bool)> {
        let bits = byte(&mut self.left)?;
        let has = |bit| bits & bit != 0;
        let error = if has(HAS_ERROR) { unzigzag(number(&mut self.left)?) } else { 0 };
        let mut unread_bytes = (high & 1 != 0).then_some(0);
        if has(HAS_UNREAD) {
            unread_bytes = Some(small_number(&mut self.left)?);
        }
        let mut shutdown = (high >> 1).checked_sub(1);
        let mut flag = false;
        if has(HAS_SHUTDOWN) {
            flag = byte(&mut self.left)? != 0;
            let sides = byte(&mut self.left)?;
            shutdown = if sides > 3 { Some(sides) } else { shutdown };
        }
        let caller = if has(HAS_CALLER) { Some(self.task()?) } else { None };
        let detail = Detail {
            error: i32::try_from(error).ok()?,
            unread_bytes,
            shutdown,
            attached: answered(bits >> ATTACHED & 3),
            fin_received: answered(bits >> FIN_RECEIVED & 3),
            caller,
        };
        Some((detail, flag))
    }

    fn task(&mut self) -> Option<Task> {
        if self.left.first() == Some(&SAME) {
            byte(&mut self.left)?;
        } else {
            self.task = Some(written_out(&mut self.left)?);
        }
        self.task
    }
}

/// What of a detail fits into a first byte: whether all is read, and which sides are shut down.
fn small(detail: Detail) -> u8 {
    let shutdown = detail.shutdown.filter(|sides| *sides <= 3).map_or(0, |sides| sides + 1);
    u8::from(detail.unread_bytes == Some(0)) | shutdown << 1
}

fn segment_kind(segment: Segment) -> u8 {
    match segment {
        Segment::SynReceived => 0,
        Segment::SynAckAgain => 1,
        Segment::Retransmit(_) => 2,
        Segment::ResetSent(None) => 3,
        Segment::ResetSent(Some(_)) => 4,
    }
}

fn mark_kind(mark: Mark) -> u8 {
    match mark {
        Mark::Found(_) => FOUND,
        Mark::Missed { .. } => 1,
        Mark::Illegal { .. } => 2,
        Mark::Reused => 3,
        Mark::Reconciled => 4,
        Mark::Corrected { .. } => 5,
        Mark::NetnsGone => 6,
        Mark::Overdue => 7,
        Mark::TimeWaitRefused => 8,
        Mark::Folded(_) => 9,
    }
}

fn answer(known: Option<bool>) -> u8 {
    known.map_or(0, |yes| 1 + u8::from(yes))
}

fn answered(bits: u8) -> Option<bool> {
    (bits > 0).then_some(bits > 1)
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*, sample::select};

    use super::*;
    use crate::core::event::Comm;

    fn any_state() -> impl Strategy<Value = TcpState> {
        select(TcpState::ALL.to_vec())
    }

    fn any_task() -> impl Strategy<Value = Task> {
        let few = (select(vec![7u32, 8]), select(vec![7u32, 9])).prop_map(|(pid, tid)| Task {
            pid,
            tid,
            comm: Comm::from_text("java"),
        });
        let any = (any::<u32>(), any::<u32>(), any::<[u8; 16]>());
        prop_oneof![few, any.prop_map(|(pid, tid, comm)| Task { pid, tid, comm: Comm(comm) })]
    }

    fn any_detail() -> impl Strategy<Value = Detail> {
        let flags = (option::of(any::<bool>()), option::of(any::<bool>()));
        let shutdown = option::of(prop_oneof![0u8..4, any::<u8>()]);
        let unread = option::of(prop_oneof![Just(0u32), any::<u32>()]);
        let error = prop_oneof![Just(0), any::<i32>()];
        (error, unread, shutdown, flags, option::of(any_task())).prop_map(
            |(error, unread_bytes, shutdown, (attached, fin_received), caller)| Detail {
                error,
                unread_bytes,
                shutdown,
                attached,
                fin_received,
                caller,
            },
        )
    }

    fn any_mark() -> impl Strategy<Value = Mark> {
        (0u8..10, any_state(), any_state()).prop_map(|(kind, one, other)| match kind {
            0 => Mark::Found(one),
            1 => Mark::Missed { known: one, actual: other },
            2 => Mark::Illegal { from: one, to: other },
            3 => Mark::Reused,
            4 => Mark::Reconciled,
            5 => Mark::Corrected { known: one, actual: other },
            6 => Mark::NetnsGone,
            7 => Mark::Overdue,
            8 => Mark::TimeWaitRefused,
            _ => Mark::Folded(one as u32 * 1_000_000 + other as u32),
        })
    }

    fn any_kind() -> impl Strategy<Value = StepKind> {
        let segment = prop_oneof![
            Just(Segment::SynReceived),
            Just(Segment::SynAckAgain),
            any_state().prop_map(Segment::Retransmit),
            option::of(any::<u32>()).prop_map(Segment::ResetSent),
        ];
        let call = select(vec![Call::Connect, Call::Accept, Call::Close]);
        let why = option::of(select(TimeWaitEnd::ALL.to_vec()));
        let mini = (any_state(), any_state(), any::<bool>(), any_detail());
        prop_oneof![
            (any_state(), any_state(), any_detail())
                .prop_map(|(from, to, detail)| StepKind::State { from, to, detail }),
            (call, option::of(any_task()), any_state())
                .prop_map(|(call, by, state)| StepKind::Call { call, by, state }),
            (segment, any::<u32>(), any::<u64>()).prop_map(|(segment, count, last)| {
                StepKind::Segment { segment, count, last: Ts(last) }
            }),
            mini.prop_map(|(from, substate, inferred, detail)| StepKind::MiniBorn {
                from,
                substate,
                inferred,
                detail,
            }),
            (any_state(), why).prop_map(|(substate, why)| StepKind::MiniEnded { substate, why }),
            any_mark().prop_map(StepKind::Mark),
        ]
    }

    proptest! {
        /// Whatever goes in comes out.
        #[test]
        fn steps_come_out_as_they_went_in(
            steps in prop::collection::vec((any::<u64>(), any_kind()), 0..60),
        ) {
            let steps: Vec<_> = steps.into_iter().map(|(at, kind)| Step { at: Ts(at), kind }).collect();
            let mut packed = Packed::default();
            for step in &steps {
                packed.push(step);
            }
            prop_assert_eq!(packed.len(), steps.len());
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), steps);
        }

        /// What never was a step ends the steps, and nothing worse.
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let packed = Packed { bytes: SmallVec::from_vec(bytes), ..Packed::default() };
            prop_assert!(packed.iter().count() <= 200);
        }
    }
}
