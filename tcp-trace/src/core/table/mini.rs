//! Mini-sockets: their births, substates and ends, told or inferred.

use std::time::Duration;

use super::{Key, Place, Table};
use crate::core::{
    clock::Ts,
    connection::Pair,
    event::{LifeEvent, SocketId, TimeWaitEnd},
    tcp_state::TcpState,
    time_wait::{Mini, UNSEEN_END},
    timeline::{Detail, Mark, StepKind},
};

/// How long the full socket's own end may come after its mini-socket's birth.
const PENDING: Duration = Duration::from_secs(1);

impl Table {
    /// A mini-socket takes over; the full socket's change to CLOSE follows.
    pub(super) fn mini_born(&mut self, at: Ts, life: &LifeEvent, substate: TcpState, from: u64) {
        let full = SocketId { sk: from, ..life.socket };
        let known = self.locate(full);
        let Some(slot) = known.filter(|slot| self.holds(*slot, super::Connection::is_full)) else {
            self.stranger(None, Some(substate));
            return;
        };
        self.statistics.time_wait_started += 1;
        let counted = self.holds(slot, super::Connection::is_counted);
        // Of a life at the same address, whose end and whose successor's birth were lost.
        let stale = self.live.get(slot).and_then(super::Connection::mini_substate);
        if let Some(stale) = stale.filter(|_| counted) {
            self.census.population.applied_mini(Some(stale), None);
            self.statistics.time_wait_over(None);
        }
        self.alter(slot, |connection| {
            connection.set_mini(Mini::born(at, life.socket.sk, substate));
            connection.last_event = at;
        });
        if counted {
            self.census.population.applied_mini(None, Some(substate));
        }
        self.watch(slot);
    }

    /// The mini-socket got the peer's FIN.
    pub(super) fn mini_substate(&mut self, at: Ts, life: &LifeEvent) {
        let (before, after) = (TcpState::FinWait2, TcpState::TimeWait);
        let Some(slot) = self.locate_mini(at, life, before) else {
            self.stranger(Some(before), Some(after));
            return;
        };
        self.change_mini(slot, at, after, true);
        self.touch(slot, at);
    }

    /// Moves a mini-socket to another substate; returns whether it stood elsewhere. How long it did is
    /// a figure only where `at` is the very moment, and not when it was noticed.
    pub(super) fn change_mini(
        &mut self,
        slot: usize,
        at: Ts,
        substate: TcpState,
        moment: bool,
    ) -> bool {
        let Some(connection) = self.live.get(slot) else { return false };
        let Some(mini) = connection.mini().filter(|mini| mini.substate != substate).copied() else {
            return false;
        };
        let counted = connection.is_counted() && mini.over.is_none();
        if counted && !mini.pending && moment {
            self.statistics.stood(mini.substate, at.since(connection.state_since));
        }
        self.alter(slot, |connection| {
            let ends = at.after(if mini.inferred {
                crate::core::time_wait::TIME_WAIT_LENGTH
            } else {
                UNSEEN_END
            });
            connection.set_mini(Mini { substate, ends, ..mini });
            if !mini.pending {
                let detail = Detail::default();
                let kind = StepKind::State { from: mini.substate, to: substate, detail };
                connection.timeline.push(at, kind);
                connection.state = substate;
                connection.state_since = at;
            }
        });
        if counted {
            self.census.population.applied_mini(Some(mini.substate), Some(substate));
        }
        true
    }

    /// The mini-socket ends.
    pub(super) fn mini_ended(
        &mut self,
        at: Ts,
        life: &LifeEvent,
        substate: TcpState,
        why: TimeWaitEnd,
    ) {
        let Some(slot) = self.locate_mini(at, life, substate) else {
            self.stranger(Some(substate), None);
            return;
        };
        if self.change_mini(slot, at, substate, false)
            && let Some(connection) = self.live.get_mut(slot)
        {
            // The substate's own event was lost.
            self.statistics.gaps += u64::from(!connection.gap);
            connection.gap = true;
        }
        self.touch(slot, at);
        if self.holds(slot, super::Connection::is_full) {
            // On another CPU, before the full socket's own end.
            self.end_pending(slot, why);
        } else {
            self.end_mini(slot, at, Some(why));
        }
    }

    fn end_pending(&mut self, slot: usize, why: TimeWaitEnd) {
        let counted = self.holds(slot, super::Connection::is_counted);
        let before = self
            .alter(slot, |connection| {
                let before = connection.mini_substate();
                if let Some(mini) = connection.mini_mut() {
                    mini.over = Some(Some(why));
                }
                before
            })
            .flatten();
        if counted && before.is_some() {
            self.census.population.applied_mini(before, None);
            self.statistics.time_wait_over(Some(why));
        }
    }

    /// Ends a connection with its mini-socket.
    pub(super) fn end_mini(&mut self, slot: usize, at: Ts, why: Option<TimeWaitEnd>) {
        let Some(connection) = self.live.get_mut(slot) else { return };
        let Some(mini) = connection.mini().copied() else { return };
        let substate = mini.substate;
        connection.timeline.push(at, StepKind::MiniEnded { substate, why });
        let stood = at.since(connection.state_since);
        if connection.is_counted() {
            self.census.population.applied_mini(Some(substate), None);
            self.statistics.time_wait_over(why);
            // Of an inferred one a RST on the wire is all that tells the moment.
            let told = !mini.inferred || why == Some(TimeWaitEnd::Reset);
            if told && !connection.gap {
                self.statistics.stood(substate, stood);
            }
        }
        self.retire(slot, at);
    }

    /// The full socket has ended and `mini` carries its connection on.
    pub(super) fn after_full(&mut self, slot: usize, at: Ts, mini: Mini) -> Place {
        if let Some(why) = mini.over {
            if let Some(connection) = self.live.get_mut(slot) {
                let substate = mini.substate;
                connection.timeline.push(at, StepKind::MiniEnded { substate, why });
            }
            self.retire(slot, at);
            return Place::Closed;
        }
        if mini.inferred {
            self.statistics.time_wait_started += 1;
            if self.holds(slot, super::Connection::is_counted) {
                self.census.population.applied_mini(None, Some(mini.substate));
            }
            self.watch(slot);
        }
        Place::Live(slot)
    }

    /// No mini-socket could be had.
    pub(super) fn mini_refused(&mut self, at: Ts, life: &LifeEvent) {
        self.statistics.time_wait_refused += 1;
        let Some(slot) = self.locate(life.socket) else {
            self.statistics.of_strangers += 1;
            return;
        };
        if let Some(connection) = self.live.get_mut(slot) {
            connection.timeline.push(at, StepKind::Mark(Mark::TimeWaitRefused));
        }
        self.touch(slot, at);
    }

    /// A new connection has these ends: an inferred mini-socket that had them is over.
    pub(super) fn reuse(&mut self, slot: usize, at: Ts, pair: &Pair) {
        let Some(old) = self.index.by_pair(pair).filter(|old| *old != slot) else {
            return;
        };
        if self.holds(old, |known| known.mini().is_some_and(|mini| mini.inferred)) {
            self.end_mini(old, at, Some(TimeWaitEnd::Reused));
        }
    }

    /// Where the table holds this mini-socket: under its own address, else under its connection's
    /// cookie. Where its birth was lost, or the full socket's end, they are made up for.
    fn locate_mini(&mut self, at: Ts, life: &LifeEvent, substate: TcpState) -> Option<usize> {
        let socket = life.socket;
        let by_address = (socket.sk != 0).then(|| self.index.get(Key::Mini(socket.sk))).flatten();
        let slot = by_address.or_else(|| {
            socket.cookie.and_then(|cookie| self.index.get(Key::Cookie(cookie.get())))
        })?;
        let connection = self.live.get(slot)?;
        let counted = connection.is_counted();
        match connection.mini().copied() {
            Some(mini) if mini.pending && at.since(mini.born_at) > PENDING => {
                self.close_unseen(slot, at, mini);
            }
            Some(_) => {}
            // A listener, or a later life of the same descriptor: not this mini-socket's.
            None if connection.first_fin().is_none() => return None,
            None => {
                if counted {
                    self.census.population.applied_mini(None, Some(substate));
                }
                self.close_unseen(slot, at, Mini::born(at, socket.sk, substate));
                self.watch(slot);
            }
        }
        Some(slot)
    }

    /// What happens to a mini-socket that the table does not hold. Without a loss it was there
    /// before tracing began; after one, the kernel's own count stands for its whole life.
    fn stranger(&mut self, from: Option<TcpState>, to: Option<TcpState>) {
        self.statistics.of_strangers += 1;
        if !self.births_may_be_missing() {
            self.census.population.applied_mini(from, to);
        }
    }

    /// Counts a change of a mini-socket as taken into account that never reaches the table, such as
    /// those of the tracer's own connections.
    pub fn exclude_mini(&mut self, from: Option<TcpState>, to: Option<TcpState>) {
        self.census.population.applied_mini(from, to);
    }

    pub(super) fn touch(&mut self, slot: usize, at: Ts) {
        let epoch = self.loss_epoch;
        if let Some(connection) = self.live.get_mut(slot) {
            connection.last_event = connection.last_event.max(at);
            connection.loss_epoch = epoch;
        }
    }

    /// Sets the deadline of the mini-socket in `slot`.
    pub(super) fn watch(&mut self, slot: usize) {
        if let Some(connection) = self.live.get(slot)
            && let Some(mini) = connection.mini()
        {
            self.deadlines.push(mini.ends, slot, connection.id);
        }
    }
}
