//! Calls, requests and segments: what a state change does not tell.

use super::{Outcome, Table};
use crate::core::{
    clock::Ts,
    connection::{Connection, Pair},
    event::{Caller, LifeEvent, LifeStep, StateChange},
    owner::{Owner, OwnerSource},
    tcp_state::TcpState,
    timeline::{Call, Mark, Segment, StepKind},
};

impl Table {
    /// Who makes this change, where it is a call, or has the listener that it comes from.
    pub(super) fn owner_at_birth(&self, at: Ts, change: &StateChange) -> Option<Owner> {
        let current = |source| change.current.map(|task| Owner::of_task(task, source));
        match (change.old, change.new) {
            (TcpState::Close, TcpState::SynSent) => current(OwnerSource::Connect),
            (TcpState::Close, TcpState::Listen) => current(OwnerSource::Listen),
            (TcpState::Listen, TcpState::SynRecv | TcpState::Established) => {
                self.census.listeners.owner_of(change.netns, change.flow.local, at)
            }
            _ => None,
        }
    }

    pub(super) fn life(&mut self, at: Ts, life: &LifeEvent) -> Outcome {
        match life.what {
            LifeStep::Connect(caller) => self.connect(at, life, caller),
            LifeStep::Accept(caller) => {
                let owner = caller.map(|caller| Owner::of_caller(caller, OwnerSource::Accept));
                let slot = self.call(at, life, Call::Accept, caller, owner);
                // Before the handshake is over (Fast Open), the child has its listener's ends.
                if let Some(slot) =
                    slot.filter(|slot| !self.holds(*slot, Connection::has_both_ends))
                {
                    self.ends_chosen(slot, at, life);
                }
            }
            LifeStep::Close(caller, _) => {
                let owner = caller.map(|caller| Owner::of_caller(caller, OwnerSource::Close));
                if let Some(slot) = self.call(at, life, Call::Close, caller, owner)
                    && let Some(connection) = self.live.get_mut(slot)
                {
                    connection.close_told = true;
                }
            }
            LifeStep::TimeWaitBorn { substate, from } => self.mini_born(at, life, substate, from),
            LifeStep::TimeWaitSubstate => self.mini_substate(at, life),
            LifeStep::TimeWaitEnded { substate, why } => self.mini_ended(at, life, substate, why),
            LifeStep::TimeWaitRefused => self.mini_refused(at, life),
            LifeStep::Request => {
                let request = Pair::of(life.netns, life.flow);
                self.reuse(usize::MAX, at, &request);
                self.half_open.open(request, at);
            }
            LifeStep::SynAckRetransmit(count) => {
                self.statistics.synack_retransmits += 1;
                self.half_open.again(Pair::of(life.netns, life.flow), at, count);
            }
            LifeStep::ResetSent { reason, unasked } => {
                self.statistics.resets_sent += 1;
                if !self.late_reset(life.socket, at, reason, unasked) {
                    self.segment(at, life, Segment::ResetSent(reason));
                }
            }
            LifeStep::Retransmit(state) => {
                self.statistics.retransmits += 1;
                self.segment(at, life, Segment::Retransmit(state));
            }
            LifeStep::Destroyed => self.destroyed(at, life),
            LifeStep::SnapshotBegun { since } => self.begin_round(at, life.netns, since),
            LifeStep::SnapshotGoesOn { since } => self.go_on(at, life.netns, since),
            LifeStep::SnapshotEnded { whole } => self.end_round(at, life.netns, whole),
            LifeStep::FoundTimeWait { substate, left_ms } => {
                return self.shown_mini(at, life, substate, left_ms);
            }
            LifeStep::FoundRequest { retransmits } => self.shown_request(at, life, retransmits),
            LifeStep::NetnsGone => self.netns_gone(at, life.netns),
            LifeStep::Folded { steps } => self.folded(at, life, steps),
        }
        Outcome::Nothing
    }

    /// The connection's own SYN is about to go out: both ends are chosen.
    fn connect(&mut self, at: Ts, life: &LifeEvent, caller: Option<Caller>) {
        let owner = caller.map(|caller| Owner::of_caller(caller, OwnerSource::Connect));
        let Some(slot) = self.call(at, life, Call::Connect, caller, owner) else { return };
        self.ends_chosen(slot, at, life);
    }

    /// A call knows both ends of its connection, where it has both.
    fn ends_chosen(&mut self, slot: usize, at: Ts, life: &LifeEvent) {
        if life.flow.local.port() == 0 || life.flow.remote.port() == 0 {
            return;
        }
        self.alter(slot, |connection| connection.set_flow(life.flow));
        self.reuse(slot, at, &Pair::of(life.netns, life.flow));
    }

    /// A call into a known socket: its step, and what it tells of the owner.
    fn call(
        &mut self,
        at: Ts,
        life: &LifeEvent,
        call: Call,
        caller: Option<Caller>,
        owner: Option<Owner>,
    ) -> Option<usize> {
        let Some(slot) = self.locate(life.socket) else {
            // A socket that never was a connection, or whose end has been told, is closed too.
            self.statistics.of_strangers += u64::from(!matches!(life.what, LifeStep::Close(..)));
            return None;
        };
        if let Some(news) = owner {
            self.owned(slot, news);
        }
        let connection = self.live.get_mut(slot)?;
        // The call knows both ends of a child that has had no event of its own since its birth.
        let state = match life.what {
            LifeStep::Close(_, state) if connection.is_full() => state,
            _ => connection.state,
        };
        let by = caller.map(|caller| caller.task);
        connection.timeline.push(at, StepKind::Call { call, by, state });
        if let Some(flags) = connection.flags.as_mut().filter(|_| call == Call::Accept) {
            flags.attached = true;
        }
        self.touch(slot, at);
        Some(slot)
    }

    /// Takes news of an owner, where they are better than what is known.
    pub(super) fn owned(&mut self, slot: usize, news: Owner) {
        if let Some(connection) = self.live.get_mut(slot) {
            let owner = Owner::with(connection.owner(), news);
            self.census.hand_over(connection, owner);
        }
    }

    fn segment(&mut self, at: Ts, life: &LifeEvent, segment: Segment) {
        // A RST may answer a segment of nobody's: that is no stranger, it has no socket at all.
        let nobody = life.socket.cookie.is_none() && life.socket.sk == 0;
        match self.locate(life.socket) {
            Some(slot) => {
                if let Some(connection) = self.live.get_mut(slot) {
                    connection.timeline.push_segment(at, segment, 1);
                }
                self.touch(slot, at);
            }
            None => self.statistics.of_strangers += u64::from(!nobody),
        }
    }

    /// The connection's steps were told in one record.
    fn folded(&mut self, at: Ts, life: &LifeEvent, steps: u32) {
        self.statistics.folded += 1;
        if let Some(slot) = self.locate(life.socket)
            && let Some(connection) = self.live.get_mut(slot)
        {
            connection.timeline.push(at, StepKind::Mark(Mark::Folded(steps)));
        }
    }

    /// The socket was freed: a full one must have come to CLOSE before.
    fn destroyed(&mut self, at: Ts, life: &LifeEvent) {
        let Some(slot) = self.locate(life.socket) else { return };
        let Some(connection) = self.live.get(slot).filter(|known| known.is_full()) else { return };
        if connection.mini().is_none() {
            let mark = Mark::Missed { known: connection.state, actual: TcpState::Close };
            self.end_unseen(slot, at, mark);
        }
    }
}
