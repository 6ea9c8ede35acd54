//! Every connection that is open, and the last ones that were; bounded by configuration.

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use super::{
    census::Census,
    clock::Ts,
    close::ClosedBy,
    connection::{Connection, ConnectionId, Rooms},
    deadlines::Deadlines,
    event::{Body, Event, Origin, StateChange},
    half_open::HalfOpens,
    pending::Pending,
    reconcile::{RecentEnds, Round},
    sources::Sources,
    stack::Stacks,
    statistics::Statistics,
    tcp_state::{TcpState, Transition},
    timeline::{Mark, StepKind},
};
use ending::{Fate, Held};
use index::{Index, Key, Names};
use ports::LastPorts;

pub use limits::Limits;

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
    /// Where it stands now. See [`Table::after`].
    place: Place,
    /// State before.
    pub from: TcpState,
    /// State after.
    pub to: TcpState,
    /// Nanoseconds in the state before; `None` where its beginning was not seen.
    pub stood_ns: Option<u64>,
    /// Whether the end of its full socket came with this step, and why is known.
    pub judged: bool,
}

/// Where a connection stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Live(usize),
    Held,
    Closed,
}

/// All connections.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    sources: Sources,
    live: Slab<Connection>,
    index: Index,
    closed: VecDeque<Connection>,
    /// How many closed ones are kept no longer.
    forgotten: u64,
    /// Ended, with the reason still to come.
    held: VecDeque<Held>,
    /// Decided since somebody asked last.
    decided: VecDeque<ConnectionId>,
    deadlines: Deadlines,
    half_open: HalfOpens,
    pending: Pending,
    rounds: HashMap<Option<u32>, Round>,
    seeded: rustc_hash::FxHashSet<Option<u32>>,
    last_round: u64,
    recent: RecentEnds,
    census: Census,
    stacks: Stacks,
    rooms: Rooms,
    last_ports: LastPorts,
    statistics: Statistics,
    last_id: u64,
    loss_epoch: u64,
    lost_at: Ts,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sources: Sources::default(),
            live: Slab::new(),
            index: Index::default(),
            closed: VecDeque::new(),
            forgotten: 0,
            held: VecDeque::new(),
            decided: VecDeque::new(),
            deadlines: Deadlines::default(),
            half_open: HalfOpens::default(),
            pending: Pending::default(),
            rounds: HashMap::new(),
            seeded: rustc_hash::FxHashSet::default(),
            last_round: 0,
            recent: RecentEnds::default(),
            census: Census::default(),
            stacks: Stacks::default(),
            rooms: Rooms::default(),
            last_ports: LastPorts::default(),
            statistics: Statistics::default(),
            last_id: 0,
            loss_epoch: 0,
            lost_at: Ts(0),
        }
    }

    /// Says what reaches the table as events; the rest it infers.
    pub fn set_sources(&mut self, sources: Sources) {
        self.sources = sources;
    }

    /// Takes one event.
    pub fn apply(&mut self, event: &Event) -> Outcome {
        self.decide_overdue(event.at);
        match &event.body {
            Body::Lost { .. } => {
                self.loss_epoch += 1;
                self.lost_at = self.lost_at.max(event.at);
                Outcome::Nothing
            }
            Body::State(change) if change.origin == Origin::Snapshot => {
                self.shown_full(event.at, change)
            }
            Body::State(change) => self.change(event.at, change),
            Body::Life(life) => self.life(event.at, life),
            Body::Segment(segment) => self.segment_passed(event.at, segment),
            Body::Stack(news) => self.stack_told(news),
        }
    }

    fn change(&mut self, at: Ts, change: &StateChange) -> Outcome {
        if change.socket.cookie.is_none() && change.socket.sk == 0 {
            self.statistics.unidentified += 1;
            return Outcome::Nothing;
        }
        let transition = change.transition();
        let located = self.locate_event(change);
        if transition != Transition::Birth && self.was_overtaken(located, at, change) {
            return Outcome::Nothing;
        }
        match located {
            Some(slot) if self.holds(slot, |known| !known.is_full()) => {
                if change.old == TcpState::Close && transition == Transition::Marker {
                    // The descriptor outlived the full socket; now it is closed.
                    return self.after_the_fact(slot, at, change);
                }
                // The descriptor's socket lives again, while the mini-socket of its last life goes on.
                self.first_sight(at, change, transition)
            }
            Some(slot)
                if self.holds(slot, Connection::is_only_found)
                    && transition == Transition::Birth =>
            {
                // The snapshot met it a moment after its birth: the birth knows more.
                self.forget(slot);
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

    fn after_the_fact(&mut self, slot: usize, at: Ts, change: &StateChange) -> Outcome {
        if let Some(connection) = self.live.get_mut(slot) {
            connection.note_marker(at, change);
        }
        Outcome::Nothing
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
        let counted = change.protocol != super::event::Protocol::Mptcp;
        if change.old == TcpState::Close && transition != Transition::Birth {
            // close() of a socket that never was a connection, or whose end we have told.
            if counted {
                self.census.population.applied(change.old, change.new);
            }
            return Outcome::Nothing;
        }
        if self.live.len() >= self.limits.live {
            self.statistics.refused += 1;
            return Outcome::Refused;
        }
        if counted && transition != Transition::Birth && self.births_may_be_missing() {
            self.census.population.applied(TcpState::Close, change.old);
        }
        let mut fresh = None;
        if self.shows_stale_port(change) {
            fresh.insert(change.clone()).flow.local.set_port(0);
        }
        let change = fresh.as_ref().unwrap_or(change);
        let mut connection = Connection::open(self.next_id(), at, change, self.loss_epoch);
        if transition != Transition::Birth {
            connection.found = true;
            connection.gap = true;
            self.statistics.gaps += 1;
            connection.timeline.push(at, StepKind::Mark(Mark::Found(change.old)));
        }
        let owner = self.owner_at_birth(at, change);
        self.census.name(&mut connection, owner);
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
        let names = Names::of(connection);
        let (newborn, counted) = (transition == Transition::Birth, connection.is_counted());
        if connection.is_only_found() && self.loss_epoch == 0 {
            // The snapshot met it a moment after this very change.
            connection.state = change.old;
        }
        if !newborn && connection.state != change.old {
            if counted {
                self.census.population.applied(connection.state, change.old);
            }
            self.statistics.gaps += u64::from(!connection.gap);
            connection.jump(at, change.old);
        }
        if transition == Transition::Illegal {
            self.statistics.illegal_transitions += 1;
            let mark = Mark::Illegal { from: change.old, to: change.new };
            connection.timeline.push(at, StepKind::Mark(mark));
        }
        if counted {
            self.census.population.applied(change.old, change.new);
        }
        let age_known = !newborn && !connection.is_age_a_bound();
        let ended = change.new == TcpState::Close && change.old != TcpState::Close;
        if ended || ClosedBy::first_fin(change.new).is_some() {
            connection.make_room(&mut self.rooms);
        }
        let fate = ended.then(|| ending::fate(connection, at, change, self.sources));
        let stood = match fate {
            Some(Fate::Mini(mini)) => connection.step_to_mini(at, change, self.loss_epoch, mini),
            _ => connection.step(at, change, self.loss_epoch),
        };
        ending::complete_handshake(&mut self.half_open, &mut self.recent, connection, at, change);
        self.statistics.stepped(connection, at, change, age_known.then_some(stood));
        self.census.enter(connection);
        let news = Names::of(connection);
        self.rename(slot, &names, &news);
        if !self.rounds.is_empty() {
            self.note_nameless(slot);
        }
        if fate.is_none() && (newborn || !news.has_ends_of(&names)) {
            self.reuse(slot, at, &news.pair());
        }
        let place = match fate {
            Some(fate) => self.end_full(slot, at, change, fate),
            None => Place::Live(slot),
        };
        Outcome::Stepped(Stepped {
            place,
            from: change.old,
            to: change.new,
            stood_ns: age_known.then(|| u64::try_from(stood.as_nanos()).unwrap_or(u64::MAX)),
            judged: ended && place != Place::Held,
        })
    }

    /// Puts a connection in, counts it, and ends what stood under the same name.
    fn put_in(&mut self, mut connection: Connection, at: Ts) -> usize {
        let names = Names::of(&connection);
        // A mini-socket shares its cookie with the descriptor's next life, and both stay.
        if let Some(stale) = self.index.clash(&names)
            && connection.is_full()
            && self.holds(stale, Connection::is_full)
        {
            self.end_unseen(stale, at, Mark::Reused);
        }
        self.census.welcome(&mut connection);
        let slot = self.live.insert(connection);
        self.index.insert(&names, slot);
        self.claim(slot, &names);
        slot
    }

    /// The connection in `slot` goes by other names from now on.
    fn rename(&mut self, slot: usize, names: &Names, news: &Names) {
        if news == names {
            return;
        }
        self.index.rename(names, news, slot);
        if !news.is_on_wire_of(names) {
            self.claim(slot, news);
        }
    }

    /// Takes a connection out, and its counts with it.
    fn take_out(&mut self, slot: usize) -> Option<Connection> {
        let mut connection = self.live.try_remove(slot)?;
        self.index.remove(&Names::of(&connection), slot);
        self.census.dismiss(&mut connection);
        Some(connection)
    }

    /// Takes out what a snapshot found and an event knows better, as if it had never been there.
    fn forget(&mut self, slot: usize) {
        let Some(known) = self.take_out(slot) else { return };
        if known.made_up {
            self.census.population.applied(known.state, TcpState::Close);
        }
        self.disown(&known);
    }

    /// Changes a connection in place, with its counts and names.
    fn alter<T>(&mut self, slot: usize, change: impl FnOnce(&mut Connection) -> T) -> Option<T> {
        let connection = self.live.get_mut(slot)?;
        let names = Names::of(connection);
        self.census.leave(connection);
        let result = change(connection);
        self.census.enter(connection);
        let news = Names::of(connection);
        self.rename(slot, &names, &news);
        Some(result)
    }

    fn next_id(&mut self) -> ConnectionId {
        self.last_id += 1;
        ConnectionId(self.last_id)
    }
}

#[cfg(test)]
mod accounted;
mod calls;
mod ending;
mod ends;
mod found;
mod index;
mod limits;
#[cfg(test)]
mod lives;
mod locate;
mod mini;
mod ports;
mod read;
mod row;
#[cfg(test)]
pub(crate) mod scene;
mod snapshot;
mod stacks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth;
#[cfg(test)]
mod wired;
mod wires;
