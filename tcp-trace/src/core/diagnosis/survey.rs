//! One look over the table: what stands still where, and which ports are taken.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    time::Duration,
};

use super::{
    evidence::HostFacts,
    group::{Group, Mark, keep_oldest},
    origins::{self, Origins},
    ports::AHEAD,
    service::{self, Key},
    waiting::{self, Unanswered},
};
use crate::core::{
    clock::Ts,
    connection::{Connection, ConnectionId},
    owner::Owner,
    table::Table,
    tcp_state::TcpState,
    time_wait::TIME_WAIT_LENGTH,
};

/// Groups of one kind held at most; what is beyond goes together.
pub const GROUPS: usize = 1024;
/// Routes held at most.
const ROUTES: usize = 4096;
/// For how long a port in `TIME_WAIT` cannot be used again, where `tcp_tw_reuse` lets it be.
const FRESH: Duration = Duration::from_secs(1);
/// A connection that has been in `FIN_WAIT2` for so long is not about to leave it.
const STAYS: Duration = Duration::from_secs(5);
/// Processes counted beside a route.
const CLOSERS: usize = 8;

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
    /// Those in `FIN_WAIT2` that no process holds: they end by themselves.
    pub closing: u64,
    /// Of those, how many have come to stay since the last look: the peer did not follow at once.
    pub staying: u64,
    /// For how long those are kept, as the kernel itself says.
    pub kept: Option<Duration>,
    /// How many will be free in each of the next seconds, of those that end by themselves.
    pub leaving: Vec<u32>,
    /// Those that end by themselves, by the process that closed first.
    pub closers: Vec<(Owner, u64)>,
    /// Examples.
    pub examples: Vec<(Ts, ConnectionId)>,
    /// Where in the code they come from.
    pub origins: Origins,
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
    /// In `ESTABLISHED`, with an answer long due.
    pub unanswered: HashMap<Key, Unanswered>,
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
        origins::name_all(&mut survey, table.stacks());
        survey
    }

    fn look_at(&mut self, known: &Connection, table: &Table, sight: &Sight<'_>) {
        let (full, listeners) = (known.is_full(), table.listeners());
        if known.state == TcpState::Listen {
            self.listeners.push(Listening {
                id: known.id,
                cookie: cookie(known),
                netns: known.netns,
                local: known.flow().local,
                owner: known.owner(),
            });
            return;
        }
        self.connections += 1;
        if !service::is_inbound(known, listeners) && known.has_both_ends() {
            self.take_port(known, sight);
        }
        if waiting::may_wait(known, listeners)
            && let Some(since) = waiting::due_since(known, sight)
        {
            let (all, key) = (&mut self.unanswered, Key::of(known, listeners));
            let key = bounded(all, key, GROUPS, Key::OTHER, &mut self.folded);
            all.entry(key).or_default().add(since, known.id);
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
        let (local, remote) = (known.flow().local.ip(), known.flow().remote);
        let facts = known.netns.and_then(|netns| sight.host.namespaces.get(&netns));
        let range = facts.and_then(|facts| facts.ports);
        // A port beyond was chosen by the program, and is none of those that run out.
        if range.is_some_and(|(first, last)| !(first..=last).contains(&known.local_port())) {
            return;
        }
        let route = Route { netns: known.netns, local, remote };
        if self.routes.len() >= ROUTES && !self.routes.contains_key(&route) {
            self.folded += 1;
            return;
        }
        let reuses = facts.is_some_and(|facts| facts.reuses(local.is_loopback()));
        let fin_timeout = facts.and_then(|facts| facts.fin_timeout);
        let ports = self.routes.entry(route).or_default();
        ports.taken += 1;
        ports.origins.add(known.stack);
        let ends = match known.state {
            TcpState::TimeWait => ports.wait(known, sight, reuses),
            TcpState::FinWait2 if is_orphan(known) => Some(ports.close(known, sight, fin_timeout)),
            _ => return,
        };
        ports.leave(ends.map(|ends| ends.since(sight.at)));
        keep_oldest(&mut ports.examples, (known.state_since, known.id));
        let Some(owner) = known.owner() else { return };
        let room = ports.closers.len() < CLOSERS;
        match ports.closers.iter_mut().find(|(closer, _)| closer.pid == owner.pid) {
            Some((_, count)) => *count += 1,
            None if room => ports.closers.push((owner, 1)),
            None => {}
        }
    }
}

impl PortUse {
    /// One in `TIME_WAIT`; until when it takes its port, if it does.
    fn wait(&mut self, known: &Connection, sight: &Sight<'_>, reuses: bool) -> Option<Ts> {
        let since = known.state_since;
        let fresh = sight.at.since(since) < FRESH;
        self.time_wait += 1;
        self.born += u64::from(since > sight.looked);
        self.fresh += u64::from(fresh);
        match known.mini().and_then(|mini| mini.expires(since)) {
            _ if reuses => fresh.then_some(since.after(FRESH)),
            told => Some(told.unwrap_or(since.after(TIME_WAIT_LENGTH))),
        }
    }

    /// One in `FIN_WAIT2` that nobody holds; until when, unless the peer closes after all.
    fn close(&mut self, known: &Connection, sight: &Sight<'_>, timeout: Option<u32>) -> Ts {
        let since = known.state_since;
        self.closing += 1;
        let stays = since.after(STAYS);
        self.staying += u64::from(stays > sight.looked && stays <= sight.at);
        let timeout =
            timeout.map_or(TIME_WAIT_LENGTH, |seconds| Duration::from_secs(seconds.into()));
        let Some(mini) = known.mini().filter(|_| !known.is_full()) else {
            // Since when nobody holds it is not known for certain.
            let ends = since.after(timeout);
            return if ends > sight.at { ends } else { sight.at.after(timeout) };
        };
        let told = mini.expires(since);
        if let Some(told) = told.filter(|_| !known.found && !mini.inferred) {
            self.kept = self.kept.max(Some(told.since(since)));
        }
        // Beyond a minute it is a full socket that waits.
        told.unwrap_or_else(|| since.after(timeout.min(TIME_WAIT_LENGTH)))
    }

    /// One leaves after `span`; of one that takes no port any more there is none.
    fn leave(&mut self, span: Option<Duration>) {
        let Some(span) = span.filter(|span| *span < AHEAD) else { return };
        let second = usize::try_from(span.as_secs()).unwrap_or(0);
        if self.leaving.len() <= second {
            self.leaving.resize(second + 1, 0);
        }
        if let Some(leaving) = self.leaving.get_mut(second) {
            *leaving += 1;
        }
    }
}

/// Whether no process holds it any more.
fn is_orphan(known: &Connection) -> bool {
    let left = known.flags.is_some_and(|flags| flags.dead || !flags.attached);
    !known.is_full() || known.close_told || left
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

/// The cookie by which the host's own facts name it.
pub(super) fn cookie(known: &Connection) -> Option<NonZeroU64> {
    known.socket.cookie.or(known.row_cookie)
}
