//! One look over the table: what stands still where, and which ports are taken.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    time::Duration,
};

use super::{
    close_wait::Cause,
    evidence::{Descriptor, HostFacts, SocketFacts},
    service::{self, Key},
};
use crate::core::{
    clock::Ts,
    connection::{Connection, ConnectionId},
    owner::Owner,
    table::Table,
    tcp_state::TcpState,
};

mod still;

use still::still_since;

/// Groups of one kind held at most; what is beyond goes together.
pub const GROUPS: usize = 1024;
/// Routes held at most.
const ROUTES: usize = 4096;
/// Connections named as examples.
const EXAMPLES: usize = 8;
/// Holders named as examples.
const HOLDERS: usize = 8;
/// Processes counted beside a route.
const CLOSERS: usize = 8;

/// What the last looks know of a group, so that this one can tell what has come and gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// When the last look was.
    pub looked: Ts,
    /// Sockets there since then are old.
    pub old: Ts,
}

/// Those of one process and service in one state.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The oldest's owner.
    pub owner: Option<Owner>,
    /// All of them.
    pub count: u64,
    /// Those that came since the last look.
    pub arrived: u64,
    /// Those of the last mark that are there still.
    pub marked: u64,
    /// Those that nothing has shown since a loss: they may be gone by now.
    pub doubtful: u64,
    /// Those that have stood still for long, by cause; of states without causes the first.
    pub piles: [Pile; Cause::ALL.len()],
}

/// Sockets that have stood still for long, for one and the same reason.
#[derive(Clone, Debug, Default)]
pub struct Pile {
    /// How many.
    pub count: u64,
    /// Since when the oldest has.
    pub oldest: Option<Ts>,
    /// Whether that is a bound: it may be longer.
    pub or_earlier: bool,
    /// Payload that nobody has read.
    pub unread_bytes: u64,
    /// Those with nothing to read but the peer's FIN.
    pub fin_only: u64,
    /// Bytes written that the peer has not taken.
    pub unsent_bytes: u64,
    /// Bytes that they have received, and sent.
    pub moved: (u64, u64),
    /// Those whose queues no snapshot has shown since they came to this state.
    pub unlooked: u64,
    /// Those that a capture tells of: nobody knows what of them was read.
    pub outside: u64,
    /// The longest for which the kernel itself says that one of them has heard nothing.
    pub silent: Option<Duration>,
    /// Those of which only a mini-socket is left, which ends by itself.
    pub minis: u64,
    /// Those held by more than one descriptor.
    pub shared: u64,
    /// Those whose owner does not hold them, and others do.
    pub elsewhere: u64,
    /// Descriptors.
    pub holders: Vec<Descriptor>,
    /// Whether any were looked for.
    pub holders_known: bool,
    /// The oldest.
    pub examples: Vec<(Ts, ConnectionId)>,
}

/// Where connections go: the unit in which local ports are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The namespace.
    pub netns: Option<u32>,
    /// This host's address.
    pub local: IpAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// The local ports that one route takes.
#[derive(Clone, Debug, Default)]
pub struct PortUse {
    /// All of them.
    pub taken: u64,
    /// Those in `TIME_WAIT`.
    pub time_wait: u64,
    /// Those in `TIME_WAIT` for less than the second after which a port can be used again.
    pub fresh: u64,
    /// Those that came to `TIME_WAIT` since the last look.
    pub born: u64,
    /// Mini-sockets by the process that closed first.
    pub closers: Vec<(Owner, u64)>,
    /// Examples.
    pub examples: Vec<(Ts, ConnectionId)>,
}

/// Mini-sockets of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minis {
    /// In `TIME_WAIT`.
    pub time_wait: u64,
    /// In either of their states.
    pub all: u64,
}

/// All that one look has seen.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// When.
    pub at: Ts,
    /// In `CLOSE_WAIT`.
    pub close_wait: HashMap<Key, Group>,
    /// In `FIN_WAIT2`, mini-sockets among them.
    pub fin_wait2: HashMap<Key, Group>,
    /// In `LAST_ACK`, `FIN_WAIT1` or `CLOSING`: our FIN is out.
    pub last_ack: HashMap<Key, Group>,
    /// Local ports by route.
    pub routes: HashMap<Route, PortUse>,
    /// Mini-sockets by namespace: in `TIME_WAIT`, and all that count against their limit.
    pub minis: HashMap<Option<u32>, Minis>,
    /// Listeners: cookie, number, end and owner.
    pub listeners: Vec<Listening>,
    /// Connections whose group or route was folded into others.
    pub folded: u64,
    /// Connections looked at, listeners apart.
    pub connections: u64,
}

/// A listener.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Its number.
    pub id: ConnectionId,
    /// Its cookie.
    pub cookie: Option<NonZeroU64>,
    /// The namespace.
    pub netns: Option<u32>,
    /// Where.
    pub local: SocketAddr,
    /// Whose.
    pub owner: Option<Owner>,
}

/// What a look goes by.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// Now.
    pub at: Ts,
    /// From when on a socket that stands still is old.
    pub older_than: Duration,
    /// What the host says.
    pub host: &'a HostFacts,
    /// When the last look was.
    pub looked: Ts,
    /// When a loss was last noticed.
    pub lost: Ts,
    /// What is known of each group in `CLOSE_WAIT`.
    pub marks: &'a dyn Fn(&Key) -> Mark,
}

impl std::fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Survey {
    /// Looks over the whole table.
    #[must_use]
    pub fn take(table: &Table, sight: &Sight<'_>) -> Self {
        let mut survey = Self { at: sight.at, ..Self::default() };
        for known in table.live().filter(|known| known.is_counted()) {
            survey.look_at(known, table, sight);
        }
        survey
    }

    fn look_at(&mut self, known: &Connection, table: &Table, sight: &Sight<'_>) {
        let (full, listeners) = (known.is_full(), table.listeners());
        if known.state == TcpState::Listen {
            self.listeners.push(Listening {
                id: known.id,
                cookie: cookie(known),
                netns: known.netns,
                local: known.flow.local,
                owner: known.owner,
            });
            return;
        }
        self.connections += 1;
        if !service::is_inbound(known, listeners) && known.has_both_ends() {
            self.take_port(known, sight);
        }
        if !full {
            let minis = self.minis.entry(known.netns).or_default();
            minis.all += 1;
            minis.time_wait += u64::from(known.state == TcpState::TimeWait);
        }
        let groups = match known.state {
            TcpState::CloseWait if full => &mut self.close_wait,
            TcpState::FinWait2 => &mut self.fin_wait2,
            TcpState::LastAck | TcpState::FinWait1 | TcpState::Closing if full => {
                &mut self.last_ack
            }
            _ => return,
        };
        let key = bounded(groups, Key::of(known, listeners), GROUPS, Key::OTHER, &mut self.folded);
        let group = groups.entry(key).or_default();
        let owner = service::owner_of(known, listeners);
        group.add(known, owner, (sight.marks)(&key), sight);
    }

    fn take_port(&mut self, known: &Connection, sight: &Sight<'_>) {
        let (local, remote) = (known.flow.local.ip(), known.flow.remote);
        let facts = known.netns.and_then(|netns| sight.host.namespaces.get(&netns));
        let range = facts.and_then(|facts| facts.ports);
        // A port beyond was chosen by the program, and is none of those that run out.
        if range.is_some_and(|(first, last)| !(first..=last).contains(&known.flow.local.port())) {
            return;
        }
        let route = Route { netns: known.netns, local, remote };
        if self.routes.len() >= ROUTES && !self.routes.contains_key(&route) {
            self.folded += 1;
            return;
        }
        let ports = self.routes.entry(route).or_default();
        ports.taken += 1;
        if known.state != TcpState::TimeWait {
            return;
        }
        ports.time_wait += 1;
        ports.born += u64::from(known.state_since > sight.looked);
        ports.fresh += u64::from(sight.at.since(known.state_since) < Duration::from_secs(1));
        keep_oldest(&mut ports.examples, (known.state_since, known.id));
        let Some(owner) = known.owner else { return };
        let room = ports.closers.len() < CLOSERS;
        match ports.closers.iter_mut().find(|(closer, _)| closer.pid == owner.pid) {
            Some((_, count)) => *count += 1,
            None if room => ports.closers.push((owner, 1)),
            None => {}
        }
    }
}

/// `key`, or `other` where there is no room for one more.
fn bounded<K: Copy + Eq + Hash, V>(
    map: &HashMap<K, V>,
    key: K,
    limit: usize,
    other: K,
    folded: &mut u64,
) -> K {
    if map.len() < limit || map.contains_key(&key) {
        return key;
    }
    *folded += 1;
    other
}

impl Group {
    fn add(&mut self, known: &Connection, owner: Option<Owner>, mark: Mark, sight: &Sight<'_>) {
        self.count += 1;
        self.arrived += u64::from(known.state_since > mark.looked);
        self.marked += u64::from(known.state_since <= mark.old);
        let facts = cookie(known).and_then(|cookie| sight.host.sockets.get(&cookie));
        let (since, or_earlier) = still_since(known, facts, sight.host.at);
        let oldest = self.piles.iter().filter_map(|pile| pile.oldest).min();
        if self.owner.is_none() || oldest.is_none_or(|oldest| since < oldest) {
            self.owner = owner.or(self.owner);
        }
        let doubtful = known.last_event.max(known.row_at) < sight.lost;
        self.doubtful += u64::from(doubtful);
        if doubtful || sight.at.since(since) < sight.older_than {
            return;
        }
        let cause = match known.state {
            TcpState::CloseWait => Cause::of(known) as usize,
            _ => 0,
        };
        if let Some(pile) = self.piles.get_mut(cause) {
            pile.add(known, facts, since, or_earlier);
        }
    }

    /// Those that have stood still for long, whatever the cause.
    #[must_use]
    pub fn old(&self) -> u64 {
        self.piles.iter().map(|pile| pile.count).sum()
    }

    /// Since when the oldest has.
    #[must_use]
    pub fn oldest(&self) -> Option<Ts> {
        self.piles.iter().filter_map(|pile| pile.oldest).min()
    }
}

impl Pile {
    fn add(
        &mut self,
        known: &Connection,
        facts: Option<&SocketFacts>,
        since: Ts,
        or_earlier: bool,
    ) {
        self.count += 1;
        if self.oldest.is_none_or(|oldest| since < oldest) {
            self.oldest = Some(since);
            self.or_earlier = or_earlier;
        }
        if let Some(transfer) = known.transfer {
            let unread = u64::from(known.unread_bytes().unwrap_or(0));
            self.unread_bytes += unread;
            self.fin_only += u64::from(unread == 0 && transfer.unread_sequence() > 0);
            self.unsent_bytes += u64::from(transfer.unacknowledged());
            self.outside += u64::from(transfer.outside);
            self.moved.0 = self.moved.0.saturating_add(known.bytes_received().unwrap_or(0));
            self.moved.1 = self.moved.1.saturating_add(known.bytes_sent().unwrap_or(0));
        }
        self.unlooked += u64::from(known.row_at < known.state_since);
        self.minis += u64::from(!known.is_full());
        keep_oldest(&mut self.examples, (since, known.id));
        let Some(facts) = facts else { return };
        self.silent = self.silent.max(facts.idle.map(|idle| idle.heard));
        self.holders_known |= facts.holders_count > 0;
        self.shared += u64::from(facts.holders_count > 1);
        let owner = known.owner.map(|owner| owner.pid);
        let others = facts.holders.iter().any(|holder| Some(holder.pid) != owner);
        let own = facts.holders.iter().any(|holder| Some(holder.pid) == owner);
        // Whose it is must be known to say that he is done with it.
        self.elsewhere += u64::from(owner.is_some() && others && !own);
        let room = HOLDERS.saturating_sub(self.holders.len());
        self.holders.extend(facts.holders.iter().take(room).copied());
    }

    /// Examples, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<ConnectionId> {
        self.examples.iter().map(|(_, id)| *id).collect()
    }
}

/// Keeps the few oldest, in order.
fn keep_oldest(examples: &mut Vec<(Ts, ConnectionId)>, example: (Ts, ConnectionId)) {
    if examples.len() >= EXAMPLES && examples.last().is_some_and(|last| *last <= example) {
        return;
    }
    let place = examples.partition_point(|known| *known < example);
    examples.insert(place, example);
    examples.truncate(EXAMPLES);
}

/// The cookie by which the host's own facts name it.
pub(super) fn cookie(known: &Connection) -> Option<NonZeroU64> {
    known.socket.cookie.or(known.row_cookie)
}
