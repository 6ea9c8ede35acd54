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
            silent: None,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{
        clock::Ts,
        event::{Body, LifeStep, SocketId, Transfer},
        owner::OwnerSource,
        query::Query,
        table::scene::Scene,
    };

    const HOUR: Duration = Duration::from_hours(1);

    /// A row of a socket in this state whose peer has been silent for so long.
    fn found(state: TcpState, silent: Option<Duration>) -> Scene {
        let mut scene = Scene::server();
        let row = StateChange { origin: Origin::Snapshot, silent, ..scene.change(state, state) };
        let socket = SocketId { cookie: std::num::NonZeroU64::new(9), sk: 0 };
        scene.put(NOW, Body::State(StateChange { socket, ..row }));
        scene
    }

    /// Of the clock, in microseconds: ten hours after the start.
    const NOW: u64 = 36_000_000_000;

    #[test]
    fn whoever_was_there_before_is_at_least_as_old_as_its_peer_is_silent() {
        use TcpState as S;
        for (state, silent, hours) in [
            (S::CloseWait, Some(3 * HOUR), 3),
            (S::Established, Some(2 * HOUR), 2),
            (S::FinWait2, Some(HOUR), 1),
            (S::CloseWait, None, 0),
            // Our own FIN may have gone out at any time since.
            (S::LastAck, Some(3 * HOUR), 0),
            (S::FinWait1, Some(3 * HOUR), 0),
            // Before the clock began nothing was.
            (S::CloseWait, Some(30 * HOUR), 10),
        ] {
            let scene = found(state, silent);
            let (known, now) = (scene.connection(), Ts(NOW * 1_000));
            assert_eq!(now.since(known.state_since), hours * HOUR, "{state} {silent:?}");
            assert!(known.is_age_a_bound(), "{state}");
            // It was first seen now, however old it is.
            assert_eq!(known.opened_at, now);
            let older = Query { older_than: Some(HOUR), ..Query::default() };
            assert_eq!(older.matches(known, &[], now), hours >= 1, "{state} {silent:?}");
        }
    }

    #[test]
    fn what_nobody_has_accepted_is_its_listener_s_in_whatever_order_they_are_found() {
        for listener_first in [true, false] {
            let mut scene = Scene::server();
            let row = |scene: &Scene, cookie, state, owned: bool| {
                let socket = SocketId { cookie: std::num::NonZeroU64::new(cookie), sk: 0 };
                let change = scene.change(state, state);
                let current = change.current.filter(|_| owned);
                let origin = Origin::Snapshot;
                Body::State(StateChange { socket, origin, current, ..change })
            };
            let listener = row(&scene, 1, TcpState::Listen, true);
            let child = row(&scene, 2, TcpState::CloseWait, false);
            let rows = if listener_first { [listener, child] } else { [child, listener] };
            scene.life(NOW, LifeStep::SnapshotBegun { since: Ts(NOW * 1_000) });
            for row in rows {
                scene.put(NOW, row);
            }
            scene.life(NOW, LifeStep::SnapshotEnded { whole: true });
            let found = scene.table.live().find(|known| !known.is_listener()).unwrap();
            let owner = found.owner().map(|owner| (owner.pid, owner.source));
            assert_eq!(owner, Some((2207, OwnerSource::Listener)), "{listener_first}");
            let by_pid = Query { pid: Some(2207), ..Query::default() };
            assert!(by_pid.matches(found, &[], Ts(NOW * 1_000)));
            let process = scene.table.processes().iter().next().unwrap();
            assert_eq!(process.close_wait.len(), 1, "the figures know, too");
        }
    }

    #[test]
    fn a_figure_of_nothing_is_none_until_something_looks() {
        use TcpState as S;
        let transfer = |bytes| {
            Some(Transfer { bytes_acked: bytes, bytes_received: bytes, ..Transfer::default() })
        };
        let mut scene = Scene::server();
        scene.state(10, S::Listen, S::SynRecv);
        let change = scene.change(S::SynRecv, S::Established);
        scene.put(20, Body::State(StateChange { transfer: transfer(0), ..change }));
        let unseen = |scene: &Scene, at: u64| {
            let (known, at) = (scene.connection(), Ts(at * 1_000));
            (known.may_send_unseen(at), known.may_receive_unseen(at))
        };
        assert_eq!(unseen(&scene, 20), (false, false), "as of the change itself it is so");
        assert_eq!(unseen(&scene, 30), (true, true));
        // The host is looked at.
        let row = scene.change(S::Established, S::Established);
        scene.life(2_000_000, LifeStep::SnapshotBegun { since: Ts(2_000_000_000) });
        let (origin, socket) = (Origin::Snapshot, scene.row());
        let row = StateChange { origin, socket, transfer: transfer(5), ..row };
        scene.put(2_000_000, Body::State(row));
        assert_eq!(unseen(&scene, 2_000_001), (false, false));
        assert_eq!(scene.connection().bytes_sent(), Some(5));
        // The peer closes: no more comes, and an answer may still go.
        let change = scene.change(S::Established, S::CloseWait);
        scene.put(3_000_000, Body::State(StateChange { transfer: transfer(6), ..change }));
        assert_eq!(unseen(&scene, 3_000_001), (true, false));
    }

    #[test]
    fn the_oldest_of_a_process_is_counted_from_there_until_it_goes_on() {
        let mut scene = found(TcpState::CloseWait, Some(3 * HOUR));
        let oldest = |scene: &Scene| {
            let process = scene.table.processes().iter().next()?;
            process.close_wait.first().map(|(since, _)| Ts(NOW * 1_000).since(*since))
        };
        assert_eq!(oldest(&scene), Some(3 * HOUR));
        let change = scene.change(TcpState::CloseWait, TcpState::LastAck);
        let socket = SocketId { cookie: std::num::NonZeroU64::new(9), sk: 1 };
        scene.put(NOW + 1, Body::State(StateChange { socket, ..change }));
        assert_eq!(oldest(&scene), None);
        let known = scene.connection();
        assert!(!known.is_age_a_bound());
        // For how long it stood there is not known.
        let stood = &scene.table.statistics().state_durations;
        assert_eq!(stood[TcpState::CloseWait.index()].count(), 0);
    }
}
