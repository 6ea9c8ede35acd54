//! Every connection that is open, and the last ones that were; bounded by configuration.

use std::collections::{HashMap, VecDeque};

use super::{
    clock::Ts,
    close::{self, CloseReason, Verdict},
    connection::{Connection, ConnectionId},
    event::{Body, Event, Origin, SocketId, StateChange},
    listeners::Listeners,
    owner::{Owner, OwnerSource},
    population::Population,
    processes::Processes,
    statistics::{Direction, Statistics},
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
    /// Which connection.
    pub id: ConnectionId,
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
    live: HashMap<Key, Connection>,
    keys: HashMap<ConnectionId, Key>,
    closed: VecDeque<Connection>,
    listeners: Listeners,
    processes: Processes,
    population: Population,
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
            live: HashMap::new(),
            keys: HashMap::new(),
            closed: VecDeque::new(),
            listeners: Listeners::default(),
            processes: Processes::default(),
            population: Population::default(),
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
        }
    }

    fn change(&mut self, at: Ts, change: &StateChange) -> Outcome {
        if change.socket.cookie.is_none() && change.socket.sk == 0 {
            self.statistics.unidentified += 1;
            return Outcome::Nothing;
        }
        let transition = change.old.transition(change.new);
        self.forget_double(change.socket);
        match self.locate(change.socket) {
            Some(key) if transition == Transition::Birth && self.is_only_found(key) => {
                // The snapshot met it a moment after its birth: the birth knows more.
                self.forget(key);
                self.first_sight(at, change, transition)
            }
            Some(key) if self.is_another_life(key, change, transition) => {
                self.end_unseen(key, at, Mark::Reused);
                self.first_sight(at, change, transition)
            }
            Some(key) => self.advance(key, at, change, transition),
            None => self.first_sight(at, change, transition),
        }
    }

    /// A snapshot may have met a newborn child by cookie while the child's own birth, which carries
    /// none, was still on its way: the one that saw the birth stays.
    fn forget_double(&mut self, socket: SocketId) {
        let Some(cookie) = socket.cookie.filter(|_| socket.sk != 0) else { return };
        let (by_cookie, by_address) = (Key::Cookie(cookie.get()), Key::Address(socket.sk));
        if self.is_only_found(by_cookie) && self.live.contains_key(&by_address) {
            self.forget(by_cookie);
        }
    }

    /// Whether all that is known under `key` comes from a snapshot.
    fn is_only_found(&self, key: Key) -> bool {
        self.live.get(&key).is_some_and(Connection::is_only_found)
    }

    /// Takes an entry out as if it had never been.
    fn forget(&mut self, key: Key) {
        if let Some(connection) = self.detach(key) {
            self.keys.remove(&connection.id);
        }
    }

    /// Whether the socket held under `key` must have ended before `change`: it is born again, or
    /// was a listener, which never becomes anything else.
    fn is_another_life(&self, key: Key, change: &StateChange, transition: Transition) -> bool {
        let known = self.live.get(&key).map(|connection| connection.state);
        transition == Transition::Birth
            || (known == Some(TcpState::Listen) && change.old != TcpState::Listen)
    }

    /// A change of a socket that the table does not hold.
    fn first_sight(&mut self, at: Ts, change: &StateChange, transition: Transition) -> Outcome {
        if change.old == TcpState::Close && transition != Transition::Birth {
            // close() of a socket that never was a connection, or whose end we have told.
            self.population.applied(change.old, change.new);
            return Outcome::Nothing;
        }
        if self.live.len() >= self.limits.live {
            self.statistics.refused += 1;
            return Outcome::Refused;
        }
        if transition != Transition::Birth && self.births_may_be_missing() {
            self.population.applied(TcpState::Close, change.old);
        }
        let mut connection = Connection::open(self.next_id(), at, change, self.loss_epoch);
        if transition != Transition::Birth {
            connection.found = true;
            connection.gap = true;
            self.statistics.gaps += 1;
            connection.timeline.push(at, StepKind::Mark(Mark::Found(change.old)));
        }
        connection.owner = self.owner_at_birth(change);
        let key = Self::key_for(change);
        // Two names of one socket: what stands under the other has ended.
        self.end_unseen(key, at, Mark::Reused);
        self.insert(key, connection);
        self.advance(key, at, change, transition)
    }

    /// A change of a socket that the table holds.
    fn advance(
        &mut self,
        key: Key,
        at: Ts,
        change: &StateChange,
        transition: Transition,
    ) -> Outcome {
        let Some(mut connection) = self.detach(key) else { return Outcome::Nothing };
        let newborn = transition == Transition::Birth;
        if connection.is_only_found() && self.loss_epoch == 0 {
            // The snapshot met it a moment after this very change.
            connection.state = change.old;
        }
        if !newborn && connection.state != change.old {
            self.population.applied(connection.state, change.old);
            self.statistics.gaps += u64::from(!connection.gap);
            connection.jump(at, change.old);
        }
        if transition == Transition::Illegal {
            self.statistics.illegal_transitions += 1;
            let mark = Mark::Illegal { from: change.old, to: change.new };
            connection.timeline.push(at, StepKind::Mark(mark));
        }
        self.population.applied(change.old, change.new);
        let age_known =
            !(newborn || connection.found && connection.state_since == connection.opened_at);
        let stood = connection.step(at, change, self.loss_epoch);
        if age_known && change.old != change.new {
            self.statistics.stood(change.old, stood);
        }
        self.note_handshake(&connection, at, change);
        let stepped = Stepped {
            id: connection.id,
            from: change.old,
            to: change.new,
            stood_ns: age_known.then(|| u64::try_from(stood.as_nanos()).unwrap_or(u64::MAX)),
        };
        if change.new == TcpState::Close && change.old != TcpState::Close {
            let first_fin = connection.first_fin.map(|(by, _)| by);
            let inbound = connection.direction != Direction::Outbound;
            let verdict = close::verdict(change, first_fin, inbound);
            self.bury(connection, at, Some((change.old, verdict)));
        } else {
            self.insert(Self::key_of(&connection), connection);
        }
        Outcome::Stepped(stepped)
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
        let stepped =
            Stepped { id: connection.id, from: change.old, to: change.new, stood_ns: None };
        self.insert(Self::key_of(&connection), connection);
        Outcome::Stepped(stepped)
    }

    /// Where the table holds this socket. A child is born without a cookie of its own, so its
    /// first event with one is found by address.
    fn locate(&self, socket: SocketId) -> Option<Key> {
        let by_cookie = socket.cookie.map(|cookie| Key::Cookie(cookie.get()));
        let by_address = Some(Key::Address(socket.sk)).filter(|_| socket.sk != 0);
        by_cookie.into_iter().chain(by_address).find(|key| self.live.contains_key(key))
    }

    fn key_for(change: &StateChange) -> Key {
        match change.socket.cookie {
            // The kernel copies the child's cookie in only after this change.
            Some(cookie) if change.old != TcpState::Listen || change.new == TcpState::Close => {
                Key::Cookie(cookie.get())
            }
            _ => Key::Address(change.socket.sk),
        }
    }

    fn key_of(connection: &Connection) -> Key {
        connection
            .socket
            .cookie
            .map_or(Key::Address(connection.socket.sk), |c| Key::Cookie(c.get()))
    }

    fn owner_at_birth(&self, change: &StateChange) -> Option<Owner> {
        let current =
            |source| change.current.map(|task| Owner { pid: task.pid, comm: task.comm, source });
        match (change.old, change.new) {
            (TcpState::Close, TcpState::SynSent) => current(OwnerSource::Connect),
            (TcpState::Close, TcpState::Listen) => current(OwnerSource::Listen),
            (TcpState::Listen, TcpState::SynRecv) => {
                self.listeners.owner_of(change.netns, change.flow.local)
            }
            _ => None,
        }
    }

    fn note_handshake(&mut self, connection: &Connection, at: Ts, change: &StateChange) {
        if change.old == TcpState::SynSent && change.new == TcpState::Established && !connection.gap
        {
            self.statistics.outbound_handshakes.observe(at.since(connection.opened_at));
        }
    }

    /// Ends a life whose end was not seen.
    fn end_unseen(&mut self, key: Key, at: Ts, mark: Mark) {
        let Some(mut connection) = self.detach(key) else { return };
        self.population.applied(connection.state, TcpState::Close);
        self.statistics.ended_unseen += 1;
        connection.gap = true;
        connection.timeline.push(at, StepKind::Mark(mark));
        self.bury(connection, at, None);
    }

    /// Moves a connection among the closed ones.
    fn bury(&mut self, mut connection: Connection, at: Ts, end: Option<(TcpState, Verdict)>) {
        self.keys.remove(&connection.id);
        let first_fin = connection.first_fin;
        let (from, verdict) = end.unwrap_or_else(|| {
            let by = first_fin.map(|(by, _)| by);
            (connection.state, Verdict { reason: CloseReason::Unknown, by, error: 0 })
        });
        connection.finish(at, verdict);
        if !connection.is_listener() && from != TcpState::Listen {
            self.statistics.ended(from, verdict);
            if let (Some((by, since)), false) = (first_fin, connection.gap) {
                self.statistics.tore_down(by, at.since(since));
            }
        }
        if self.closed.len() >= self.limits.closed {
            self.closed.pop_front();
        }
        if self.limits.closed > 0 {
            self.closed.push_back(connection);
        }
    }

    /// Puts a connection in, and counts it.
    fn insert(&mut self, key: Key, connection: Connection) {
        self.population.enter(connection.state);
        if let Some(owner) = connection.owner {
            let (name, since) = (owner.comm, connection.state_since);
            self.processes.add(name, connection.state, since, connection.id);
            if connection.state == TcpState::Listen {
                self.listeners.add(connection.netns, connection.flow.local, owner);
            }
        }
        self.keys.insert(connection.id, key);
        self.live.insert(key, connection);
    }

    /// Takes a connection out, and its counts with it.
    fn detach(&mut self, key: Key) -> Option<Connection> {
        let connection = self.live.remove(&key)?;
        self.population.leave(connection.state);
        if let Some(owner) = connection.owner {
            let (name, since) = (owner.comm, connection.state_since);
            self.processes.remove(name, connection.state, since, connection.id);
            if connection.state == TcpState::Listen {
                self.listeners.remove(connection.netns, connection.flow.local, owner);
            }
        }
        Some(connection)
    }

    fn next_id(&mut self) -> ConnectionId {
        self.last_id += 1;
        ConnectionId(self.last_id)
    }

    fn births_may_be_missing(&self) -> bool {
        self.loss_epoch > 0 || self.statistics.refused > 0
    }

    /// The connection with this number, open or closed not long ago.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.keys
            .get(&id)
            .and_then(|key| self.live.get(key))
            .or_else(|| self.closed.iter().rev().find(|connection| connection.id == id))
    }

    /// Open connections and listeners, in no order.
    pub fn live(&self) -> impl Iterator<Item = &Connection> {
        self.live.values()
    }

    /// Closed connections, latest first.
    pub fn closed(&self) -> impl Iterator<Item = &Connection> {
        self.closed.iter().rev()
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many times a loss was noticed.
    #[must_use]
    pub fn loss_epoch(&self) -> u64 {
        self.loss_epoch
    }

    /// Sockets by state.
    #[must_use]
    pub fn population(&self) -> &Population {
        &self.population
    }

    /// Connections by process.
    #[must_use]
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Counters and histograms.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}

#[cfg(test)]
mod tests;
