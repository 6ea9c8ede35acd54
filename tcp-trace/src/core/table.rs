//! Every connection that is open, and the last ones that were; bounded by configuration.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use slab::Slab;

use super::{
    census::Census,
    clock::Ts,
    close::{self, CloseReason, Verdict},
    connection::{Connection, ConnectionId},
    direction::Direction,
    event::{Body, Event, Origin, SocketId, StateChange},
    owner::{Owner, OwnerSource},
    statistics::Statistics,
    tcp_state::{TcpState, Transition},
    timeline::{Mark, StepKind},
};

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections and listeners held at most.
    pub live: usize,
    /// Closed connections kept for questions.
    pub closed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { live: 1_000_000, closed: 10_000 }
    }
}

/// What one event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing a connection's timeline would show.
    Nothing,
    /// The table was full; the connection is counted and not kept.
    Refused,
    /// A connection took a step.
    Stepped(Stepped),
}

/// A step that a connection took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// Where it stands now; `None` where this was its end. See [`Table::after`].
    slot: Option<usize>,
    /// State before.
    pub from: TcpState,
    /// State after.
    pub to: TcpState,
    /// Nanoseconds in the state before; `None` where its beginning was not seen.
    pub stood_ns: Option<u64>,
}

/// How a socket is found: by cookie, or by address while it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Cookie(u64),
    Address(u64),
}

/// All connections.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    live: Slab<Connection>,
    // Keys are the kernel's numbers, which nobody chooses: no need for a hash that resists attack.
    slots: FxHashMap<Key, usize>,
    closed: VecDeque<Connection>,
    census: Census,
    statistics: Statistics,
    last_id: u64,
    loss_epoch: u64,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            live: Slab::new(),
            slots: FxHashMap::default(),
            closed: VecDeque::new(),
            census: Census::default(),
            statistics: Statistics::default(),
            last_id: 0,
            loss_epoch: 0,
        }
    }

    /// Takes one event.
    pub fn apply(&mut self, event: &Event) -> Outcome {
        match &event.body {
            Body::Lost { .. } => {
                self.loss_epoch += 1;
                Outcome::Nothing
            }
            Body::State(change) if change.origin == Origin::Snapshot => {
                self.found(event.at, change)
            }
            Body::State(change) => self.change(event.at, change),
            Body::Life(_) => Outcome::Nothing,
        }
    }

    fn change(&mut self, at: Ts, change: &StateChange) -> Outcome {
        if change.socket.cookie.is_none() && change.socket.sk == 0 {
            self.statistics.unidentified += 1;
            return Outcome::Nothing;
        }
        let transition = change.old.transition(change.new);
        match self.locate(change.socket) {
            Some(slot)
                if self.holds(slot, Connection::is_only_found)
                    && transition == Transition::Birth =>
            {
                // The snapshot met it a moment after its birth: the birth knows more.
                self.take_out(slot);
                self.first_sight(at, change, transition)
            }
            Some(slot) if self.is_another_life(slot, change, transition) => {
                self.end_unseen(slot, at, Mark::Reused);
                self.first_sight(at, change, transition)
            }
            Some(slot) => self.advance(slot, at, change, transition),
            None => self.first_sight(at, change, transition),
        }
    }

    /// Where the table holds this socket. A child is born without a cookie of its own, so its
    /// first event with one is found by address.
    fn locate(&mut self, socket: SocketId) -> Option<usize> {
        let slot_of = |slots: &FxHashMap<Key, usize>, key| slots.get(&key).copied();
        let by_cookie =
            socket.cookie.and_then(|cookie| slot_of(&self.slots, Key::Cookie(cookie.get())));
        // An entry without a cookie of its own stays under its address.
        if by_cookie.is_some_and(|slot| !self.holds(slot, Connection::is_only_found)) {
            return by_cookie;
        }
        let by_address =
            (socket.sk != 0).then(|| slot_of(&self.slots, Key::Address(socket.sk))).flatten();
        if let (Some(double), Some(_)) = (by_cookie, by_address) {
            // The snapshot met a newborn child by cookie while the child's own birth, which carries
            // none, was still on its way: the one that saw the birth stays.
            self.take_out(double);
        }
        by_address.or(by_cookie)
    }

    fn holds(&self, slot: usize, what: impl Fn(&Connection) -> bool) -> bool {
        self.live.get(slot).is_some_and(what)
    }

    /// Whether the socket in `slot` must have ended before `change`: it is born again, or was a
    /// listener, which never becomes anything else.
    fn is_another_life(&self, slot: usize, change: &StateChange, transition: Transition) -> bool {
        transition == Transition::Birth
            || change.old != TcpState::Listen
                && self.holds(slot, |known| known.state == TcpState::Listen)
    }

    /// A change of a socket that the table does not hold.
    fn first_sight(&mut self, at: Ts, change: &StateChange, transition: Transition) -> Outcome {
        if change.old == TcpState::Close && transition != Transition::Birth {
            // close() of a socket that never was a connection, or whose end we have told.
            self.census.population.applied(change.old, change.new);
            return Outcome::Nothing;
        }
        if self.live.len() >= self.limits.live {
            self.statistics.refused += 1;
            return Outcome::Refused;
        }
        if transition != Transition::Birth && self.births_may_be_missing() {
            self.census.population.applied(TcpState::Close, change.old);
        }
        let mut connection = Connection::open(self.next_id(), at, change, self.loss_epoch);
        if transition != Transition::Birth {
            connection.found = true;
            connection.gap = true;
            self.statistics.gaps += 1;
            connection.timeline.push(at, StepKind::Mark(Mark::Found(change.old)));
        }
        connection.owner = self.owner_at_birth(change);
        let slot = self.put_in(connection, at);
        self.advance(slot, at, change, transition)
    }

    /// A change of a socket that the table holds.
    fn advance(
        &mut self,
        slot: usize,
        at: Ts,
        change: &StateChange,
        transition: Transition,
    ) -> Outcome {
        let Some(connection) = self.live.get_mut(slot) else { return Outcome::Nothing };
        self.census.leave(connection);
        let key = Key::of(connection.socket);
        let newborn = transition == Transition::Birth;
        if connection.is_only_found() && self.loss_epoch == 0 {
            // The snapshot met it a moment after this very change.
            connection.state = change.old;
        }
        if !newborn && connection.state != change.old {
            self.census.population.applied(connection.state, change.old);
            self.statistics.gaps += u64::from(!connection.gap);
            connection.jump(at, change.old);
        }
        if transition == Transition::Illegal {
            self.statistics.illegal_transitions += 1;
            let mark = Mark::Illegal { from: change.old, to: change.new };
            connection.timeline.push(at, StepKind::Mark(mark));
        }
        self.census.population.applied(change.old, change.new);
        let age_known =
            !(newborn || connection.found && connection.state_since == connection.opened_at);
        let stood = connection.step(at, change, self.loss_epoch);
        self.statistics.stepped(connection, at, change, age_known.then_some(stood));
        self.census.enter(connection);
        let renamed = Key::of(connection.socket);
        if renamed != key {
            self.slots.remove(&key);
            self.slots.insert(renamed, slot);
        }
        let ended = change.new == TcpState::Close && change.old != TcpState::Close;
        if ended {
            let first_fin = connection.first_fin.map(|(by, _)| by);
            let inbound = connection.direction != Direction::Outbound;
            let verdict = close::verdict(change, first_fin, inbound);
            self.bury(slot, at, change.old, verdict);
        }
        Outcome::Stepped(Stepped {
            slot: (!ended).then_some(slot),
            from: change.old,
            to: change.new,
            stood_ns: age_known.then(|| u64::try_from(stood.as_nanos()).unwrap_or(u64::MAX)),
        })
    }

    /// A socket that was there already.
    fn found(&mut self, at: Ts, change: &StateChange) -> Outcome {
        if self.locate(change.socket).is_some() || change.new == TcpState::Close {
            return Outcome::Nothing;
        }
        if self.live.len() >= self.limits.live {
            self.statistics.refused += 1;
            return Outcome::Refused;
        }
        let mut connection = Connection::open(self.next_id(), at, change, self.loss_epoch);
        connection.learn(change);
        connection.timeline.push(at, StepKind::Mark(Mark::Found(change.new)));
        connection.owner = change.current.map(|task| Owner {
            pid: task.pid,
            comm: task.comm,
            source: OwnerSource::Descriptor,
        });
        let slot = Some(self.put_in(connection, at));
        Outcome::Stepped(Stepped { slot, from: change.old, to: change.new, stood_ns: None })
    }

    fn owner_at_birth(&self, change: &StateChange) -> Option<Owner> {
        let current =
            |source| change.current.map(|task| Owner { pid: task.pid, comm: task.comm, source });
        match (change.old, change.new) {
            (TcpState::Close, TcpState::SynSent) => current(OwnerSource::Connect),
            (TcpState::Close, TcpState::Listen) => current(OwnerSource::Listen),
            (TcpState::Listen, TcpState::SynRecv) => {
                self.census.listeners.owner_of(change.netns, change.flow.local)
            }
            _ => None,
        }
    }

    /// Ends a life whose end was not seen.
    fn end_unseen(&mut self, slot: usize, at: Ts, mark: Mark) {
        let Some(connection) = self.live.get_mut(slot) else { return };
        self.census.population.applied(connection.state, TcpState::Close);
        self.statistics.ended_unseen += 1;
        connection.gap = true;
        connection.timeline.push(at, StepKind::Mark(mark));
        let by = connection.first_fin.map(|(by, _)| by);
        let (state, reason) = (connection.state, CloseReason::Unknown);
        self.bury(slot, at, state, Verdict { reason, by, error: 0 });
    }

    /// Moves a connection, which ended from `from`, among the closed ones.
    fn bury(&mut self, slot: usize, at: Ts, from: TcpState, verdict: Verdict) {
        let Some(mut connection) = self.take_out(slot) else { return };
        connection.finish(at, verdict);
        self.statistics.ended(&connection, from);
        if self.closed.len() >= self.limits.closed {
            self.closed.pop_front();
        }
        if self.limits.closed > 0 {
            self.closed.push_back(connection);
        }
    }

    /// Puts a connection in, counts it, and ends what stood under the same name.
    fn put_in(&mut self, mut connection: Connection, at: Ts) -> usize {
        let key = Key::of(connection.socket);
        if let Some(stale) = self.slots.get(&key).copied() {
            self.end_unseen(stale, at, Mark::Reused);
        }
        self.census.welcome(&mut connection);
        let slot = self.live.insert(connection);
        self.slots.insert(key, slot);
        slot
    }

    /// Takes a connection out, and its counts with it.
    fn take_out(&mut self, slot: usize) -> Option<Connection> {
        let mut connection = self.live.try_remove(slot)?;
        self.slots.remove(&Key::of(connection.socket));
        self.census.dismiss(&mut connection);
        Some(connection)
    }

    fn next_id(&mut self) -> ConnectionId {
        self.last_id += 1;
        ConnectionId(self.last_id)
    }

    fn births_may_be_missing(&self) -> bool {
        self.loss_epoch > 0 || self.statistics.refused > 0
    }
}

impl Key {
    fn of(socket: SocketId) -> Self {
        socket.cookie.map_or(Self::Address(socket.sk), |cookie| Self::Cookie(cookie.get()))
    }
}

mod read;
#[cfg(test)]
mod tests;
