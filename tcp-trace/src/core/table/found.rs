//! Sockets that the table meets in a snapshot for the first time.

use super::{Outcome, Place, Stepped, Table};
use crate::core::{
    clock::Ts,
    connection::Connection,
    event::{LifeEvent, Origin, Protocol, StateChange},
    owner::Owner,
    tcp_state::TcpState,
    time_wait::Mini,
    timeline::{Mark, StepKind},
};

impl Table {
    pub(super) fn found_full(
        &mut self,
        at: Ts,
        change: &StateChange,
        owner: Option<Owner>,
    ) -> Outcome {
        let Some(first) = self.takes_in(at, change.socket, change.netns, change.flow) else {
            return Outcome::Nothing;
        };
        let made_up = !first && change.protocol != Protocol::Mptcp && self.births_may_be_missing();
        self.statistics.reconciled.found += u64::from(!first);
        if made_up {
            self.census.population.applied(TcpState::Close, change.new);
        }
        let mut connection = Connection::open(self.next_id(), at, change, self.loss_epoch);
        connection.learn(change);
        self.census.name(&mut connection, owner);
        connection.made_up = made_up;
        self.take_found(connection, at, change.new)
    }

    pub(super) fn found_mini(
        &mut self,
        at: Ts,
        life: &LifeEvent,
        substate: TcpState,
        ends: Ts,
    ) -> Outcome {
        let Some(first) = self.takes_in(at, life.socket, life.netns, life.flow) else {
            return Outcome::Nothing;
        };
        if !first {
            self.statistics.reconciled.found += 1;
            if self.births_may_be_missing() {
                self.census.population.applied_mini(None, Some(substate));
            }
        }
        let row = StateChange {
            socket: life.socket,
            origin: Origin::Snapshot,
            old: substate,
            new: substate,
            flow: life.flow,
            protocol: life.protocol,
            netns: life.netns,
            error: 0,
            transfer: None,
            flags: None,
            current: None,
        };
        let mut connection = Connection::open(self.next_id(), at, &row, self.loss_epoch);
        let inferred = !self.sources.time_wait;
        let born = Mini::born(at, life.socket.sk, substate);
        connection.set_mini(Mini { pending: false, inferred, ..born });
        // It closed in order, and first: the peer's part is told by the substate.
        let verdict = crate::core::close::Verdict {
            reason: crate::core::close::CloseReason::FinActive,
            by: Some(crate::core::close::ClosedBy::Local),
            error: 0,
        };
        connection.judge(at, verdict);
        let outcome = self.take_found(connection, at, substate);
        if let Outcome::Stepped(Stepped { place: Place::Live(slot), .. }) = outcome {
            self.watch(slot);
            self.prolong(slot, ends);
        }
        outcome
    }

    pub(super) fn take_found(
        &mut self,
        mut connection: Connection,
        at: Ts,
        state: TcpState,
    ) -> Outcome {
        connection.timeline.push(at, StepKind::Mark(Mark::Found(state)));
        connection.round = self.rounds.get(&connection.netns).map_or(0, |round| round.number);
        let place = Place::Live(self.put_in(connection, at));
        Outcome::Stepped(Stepped { place, from: state, to: state, stood_ns: None, judged: false })
    }
}
