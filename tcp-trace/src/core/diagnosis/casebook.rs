//! What is remembered between two looks: the course of each group, what failed of late, what the
//! host last said. All of it is bounded.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    hash::Hash,
    time::Duration,
};

use super::{
    Report, Thresholds, backlog, close_wait,
    closed_descriptors::Lingering,
    closing,
    evidence::{Descriptor, HostFacts, Suspects},
    failed::Failures,
    group::{Group, Mark},
    orphans, ports,
    service::Key,
    survey::{GROUPS, PortUse, Route, Sight, Survey},
    waiting,
};
use crate::core::{
    clock::Ts,
    connection::Connection,
    coverage::{Mib, Mibs},
    event::{LifeEvent, StateChange},
    stack::StackEvent,
    table::Table,
    tcp_state::TcpState,
};

mod course;
mod leaks;

pub use course::{Course, RouteCourse};
pub use leaks::Leaks;

/// A course without members is remembered this long.
const REMEMBERED: Duration = Duration::from_mins(10);
/// Sockets looked into at once.
const SUSPECTS: usize = 1 << 17;
/// How soon before it is old a socket is looked into.
const EARLY: u32 = 2;
/// Between two snapshots that are taken because of sockets that none has shown.
const UNLOOKED_REST: Duration = Duration::from_secs(5);
/// Everything that findings rest on.
#[derive(Debug)]
pub struct Casebook {
    thresholds: Thresholds,
    pub(super) close_wait: HashMap<Key, Course>,
    pub(super) routes: HashMap<Route, RouteCourse>,
    pub(super) failures: Failures,
    pub(super) lingering: Lingering,
    pub(super) host: HostFacts,
    pub(super) mibs: BTreeMap<u32, MibCourse>,
    looked: Ts,
    /// When a loss was last noticed that the table is yet to be told of.
    lost: Ts,
    leaks: Leaks,
    /// Process names whose leaks are counted apart.
    leak_names: usize,
}

/// A namespace's figures, over the window.
#[derive(Clone, Debug, Default)]
pub struct MibCourse {
    readings: std::collections::VecDeque<(Ts, Mibs)>,
}

impl MibCourse {
    /// What has come to a figure within `window` before `now`.
    #[must_use]
    pub fn since(&self, mib: Mib, now: Ts, window: Duration) -> Option<u64> {
        let (_, last) = self.readings.back()?;
        let within = |(at, _): &&(Ts, Mibs)| now.since(*at) <= window;
        let (_, first) = self.readings.iter().find(within)?;
        Some(last.get(mib)?.saturating_sub(first.get(mib).unwrap_or(0)))
    }
}

impl Casebook {
    /// An empty one, which looks by `thresholds`.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            close_wait: HashMap::new(),
            routes: HashMap::new(),
            failures: Failures::default(),
            lingering: Lingering::default(),
            host: HostFacts::default(),
            mibs: BTreeMap::new(),
            looked: Ts(0),
            lost: Ts(0),
            leaks: Leaks::default(),
            leak_names: leaks::NAMES,
        }
    }

    /// Counts the leaks of so many process names apart, in metrics.
    #[must_use]
    pub fn with_leak_names(self, names: usize) -> Self {
        Self { leak_names: names, ..self }
    }

    /// What it looks by, where nobody asks for anything else.
    #[must_use]
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// When it last looked.
    #[must_use]
    pub fn looked(&self) -> Ts {
        self.looked
    }

    /// What the metrics say.
    #[must_use]
    pub fn leaks(&self) -> &Leaks {
        &self.leaks
    }

    /// A socket changes its state.
    pub fn state(&mut self, change: &StateChange) {
        self.lingering.state(change);
    }

    /// A connection's full socket has ended.
    pub fn ended(&mut self, known: &Connection, from: TcpState, table: &Table, at: Ts) {
        self.lingering.ended(known, from, at);
        self.failures.ended(known, from, table.listeners(), at);
    }

    /// Something else has happened to a connection.
    pub fn life(&mut self, life: &LifeEvent, table: &Table, at: Ts) {
        self.failures.life(life, table, at);
        self.lingering.life(life);
    }

    /// Events were lost, the last of them before `until`.
    pub fn lost(&mut self, until: Ts) {
        self.lost = self.lost.max(until);
    }

    /// Where in its program a connection was opened is known.
    pub fn stack(&mut self, news: &StackEvent, table: &Table) {
        if let Some(id) = table.stacks().number(&news.stack) {
            self.lingering.stack(news.socket, id);
        }
    }

    /// Takes what the host says.
    pub fn take_host(&mut self, facts: HostFacts) {
        self.host = facts;
    }

    /// Who has its socket open, a few of many, as the host said last: it is asked of what stands still.
    #[must_use]
    pub fn holders(&self, known: &Connection) -> &[Descriptor] {
        let facts = super::survey::cookie(known).and_then(|cookie| self.host.sockets.get(&cookie));
        facts.map_or(&[], |facts| &facts.holders)
    }

    /// Takes what the kernel counts in each namespace.
    pub fn take_mibs(&mut self, readings: &[(u32, Mibs)], at: Ts) {
        self.mibs.retain(|netns, _| readings.iter().any(|(known, _)| known == netns));
        for (netns, mibs) in readings {
            let course = self.mibs.entry(*netns).or_default();
            if course.readings.back().is_some_and(|(_, last)| mibs.is_before(last)) {
                course.readings.clear();
            }
            course.readings.push_back((at, *mibs));
            while course.readings.len() > 64 {
                course.readings.pop_front();
            }
        }
    }

    /// Looks over the table by these thresholds; nothing is remembered of it.
    #[must_use]
    pub fn survey(&self, table: &Table, now: Ts, older_than: Duration) -> Survey {
        let marks = |key: &Key| self.close_wait.get(key).map_or_else(Mark::default, |c| c.mark);
        let (looked, lost) = (self.looked, self.lost_at(table));
        let sight = Sight { at: now, older_than, host: &self.host, looked, lost, marks: &marks };
        Survey::take(table, &sight)
    }

    /// When a loss was last noticed, whether or not the table knows yet.
    fn lost_at(&self, table: &Table) -> Ts {
        table.lost_at().max(self.lost)
    }

    /// Looks over the table, and remembers. To be called every few seconds.
    pub fn look(&mut self, table: &Table, now: Ts) {
        let survey = self.survey(table, now, self.thresholds.older_than);
        self.remember_groups(&survey, self.lost_at(table));
        self.remember_routes(&survey);
        self.lingering.look(now);
        self.looked = now;
        self.tally(table, &survey);
    }

    fn remember_groups(&mut self, survey: &Survey, lost: Ts) {
        let (now, older_than) = (survey.at, self.thresholds.older_than);
        // How one goes of which some may be gone is seen once that is known.
        let known = |(_, group): &(&Key, &Group)| group.doubtful == 0;
        for (key, group) in survey.close_wait.iter().filter(known) {
            if let Some(course) = place(&mut self.close_wait, *key, GROUPS) {
                course.follow(now, lost, older_than, group.count, group.arrived, group.marked);
            }
        }
        self.close_wait.retain(|key, course| {
            if !survey.close_wait.contains_key(key) {
                course.follow(now, lost, older_than, 0, 0, 0);
            }
            now.since(course.seen) < REMEMBERED
        });
    }

    fn remember_routes(&mut self, survey: &Survey) {
        let now = survey.at;
        // One that takes a port or two is no danger, and there may be very many.
        let worth = |ports: &PortUse| ports.taken >= 16;
        for (route, ports) in survey.routes.iter().filter(|(_, ports)| worth(ports)) {
            if let Some(course) = place(&mut self.routes, *route, GROUPS) {
                let facts = route.netns.and_then(|netns| self.host.namespaces.get(&netns));
                course.follow(now, ports::occupied(route, ports, facts), ports);
            }
        }
        self.routes.retain(|_, course| now.since(course.seen) < REMEMBERED);
    }

    /// Which sockets and processes are to be looked into.
    #[must_use]
    pub fn suspects(&self, table: &Table, now: Ts) -> Suspects {
        let mut suspects = Suspects::default();
        let mut serving = BTreeSet::new();
        for known in self.waiting(table, now) {
            if let Some(owner) = known.owner() {
                suspects.processes.insert(owner.pid);
                if known.state == TcpState::CloseWait {
                    serving.insert(owner.pid);
                }
            }
            if suspects.sockets.len() < SUSPECTS
                && let Some(cookie) = super::survey::cookie(known)
            {
                suspects.sockets.insert(cookie);
            }
        }
        suspects.waiting = waiting::suspects(&serving, table, SUSPECTS);
        suspects.closed = self.lingering.suspects(now, self.early());
        suspects.failing = self.failures.suspects(now);
        suspects
    }

    /// When what stands still is looked into.
    fn early(&self) -> Duration {
        self.thresholds.older_than / EARLY
    }

    /// Those that will soon have stood still for long.
    fn waiting<'a>(&self, table: &'a Table, now: Ts) -> impl Iterator<Item = &'a Connection> {
        let early = self.early();
        table.live().filter(move |known| {
            let waits = matches!(
                known.state,
                TcpState::CloseWait | TcpState::LastAck | TcpState::FinWait1 | TcpState::FinWait2
            );
            // Of those that were there before, the kernel may know that they are old.
            let soon = || known.found || now.since(known.state_since) >= early;
            waits && known.is_full() && known.is_counted() && soon()
        })
    }

    /// Whether a process is suspected that nobody has looked into yet.
    #[must_use]
    pub fn has_new_suspects(&self, table: &Table, now: Ts) -> bool {
        // One that is gone by now will never be looked into: the host was asked after it came.
        let known = |pid: &u32| self.host.processes.contains_key(pid);
        let owners = self.waiting(table, now).filter_map(Connection::owner);
        owners.map(|owner| owner.pid).any(|pid| !known(&pid))
            || self.lingering.suspects(now, self.early()).iter().any(|pid| !known(pid))
            || self.is_any_unlooked(table, now)
    }

    /// Whether one is old, and no snapshot has shown why.
    fn is_any_unlooked(&self, table: &Table, now: Ts) -> bool {
        let rested = now.since(self.host.at) >= UNLOOKED_REST;
        rested
            && table.live().any(|known| {
                known.state == TcpState::CloseWait
                    && known.is_full()
                    && known.row_at < known.state_since
                    && now.since(known.state_since) >= self.thresholds.older_than
            })
    }

    /// Every finding, by these thresholds.
    #[must_use]
    pub fn diagnose(&self, table: &Table, now: Ts, thresholds: &Thresholds) -> Report {
        let survey = self.survey(table, now, thresholds.older_than);
        self.report(table, &survey, thresholds)
    }

    fn report(&self, table: &Table, survey: &Survey, thresholds: &Thresholds) -> Report {
        let mut report = Report { at: survey.at, ..Report::default() };
        close_wait::find(self, survey, thresholds, &mut report);
        ports::find(self, survey, thresholds, &mut report);
        self.failures.find(self, table, survey, thresholds, &mut report);
        self.lingering.find(self, table.stacks(), survey, thresholds, &mut report);
        closing::find(table, survey, thresholds, &mut report);
        orphans::find(self, thresholds, &mut report);
        backlog::find(self, table, survey, thresholds, &mut report);
        report.sort();
        report
    }
}

/// The entry of `key`, where it is known or there is room.
fn place<K: Copy + Eq + Hash, V: Default>(
    map: &mut HashMap<K, V>,
    key: K,
    limit: usize,
) -> Option<&mut V> {
    let room = map.len() < limit;
    match map.entry(key) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(free) if room => Some(free.insert(V::default())),
        Entry::Vacant(_) => None,
    }
}
