//! Connections that are over while their descriptor is still open: a leak that no list of sockets
//! shows, since a socket in CLOSE is in none.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::{
    Casebook, Thresholds, close_wait,
    finding::{Advice, Finding, Growth, Kind, Line, Report, Severity, Who},
    origins::Origins,
    survey::Survey,
    talk,
    trend::History,
};
use crate::core::{
    clock::Ts,
    close::{CloseReason, Verdict},
    connection::{Closed, Connection, ConnectionId},
    errno,
    event::{LifeEvent, LifeStep, SocketId, StateChange},
    owner::Owner,
    stack::{StackId, Stacks},
    tcp_state::TcpState,
};

/// Sockets remembered at most.
const LIMIT: usize = 1 << 16;
/// Processes whose counts are remembered.
const PROCESSES: usize = 1024;
/// Connections named as examples.
const EXAMPLES: usize = 8;

/// A socket whose connection is over.
#[derive(Clone, Copy, Debug)]
struct Left {
    id: ConnectionId,
    owner: Option<Owner>,
    netns: Option<u32>,
    since: Ts,
    from: TcpState,
    stack: Option<StackId>,
}

/// A socket's name: its cookie, else its address.
type Name = (u64, u64);

fn name(socket: SocketId) -> Name {
    socket.cookie.map_or((0, socket.sk), |cookie| (cookie.get(), 0))
}

/// Sockets whose connection is over, and whose descriptor nobody has been seen to close.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    // The kernel's own numbers, which nobody chooses.
    left: FxHashMap<Name, Left>,
    /// How many there have been of each process.
    courses: HashMap<u32, History>,
    /// Those for which there was no room.
    folded: u64,
}

impl Lingering {
    /// A connection's full socket has come to CLOSE, from `from`.
    pub(super) fn ended(&mut self, known: &Connection, from: TcpState, at: Ts) {
        let open = known.flags.is_some_and(|flags| flags.attached);
        if !open || known.is_listener() || !known.is_counted() || ended_by_close(known) {
            return;
        }
        if self.left.len() >= LIMIT {
            self.folded += 1;
            return;
        }
        let (id, owner, netns) = (known.id, known.owner(), known.netns);
        let left = Left { id, owner, netns, since: at, from, stack: known.stack };
        self.left.insert(name(known.socket), left);
    }

    /// A socket changes its state: one that does so from CLOSE is closed, or lives again.
    pub(super) fn state(&mut self, change: &StateChange) {
        if change.old == TcpState::Close {
            self.forget(change.socket);
        }
    }

    /// Something else happens to a socket.
    pub(super) fn life(&mut self, life: &LifeEvent) {
        match life.what {
            LifeStep::Destroyed | LifeStep::Close(..) => self.forget(life.socket),
            LifeStep::NetnsGone => self.left.retain(|_, left| left.netns != life.netns),
            _ => {}
        }
    }

    /// The stack of a socket is known, which may have ended meanwhile.
    pub(super) fn stack(&mut self, socket: SocketId, stack: StackId) {
        if let Some(left) = self.left.get_mut(&name(socket)) {
            left.stack = Some(stack);
        }
    }

    fn forget(&mut self, socket: SocketId) {
        if self.left.is_empty() {
            return;
        }
        self.left.remove(&name(socket));
        if socket.cookie.is_some() && socket.sk != 0 {
            self.left.remove(&(0, socket.sk));
        }
    }

    /// Looks how many there are.
    pub(super) fn look(&mut self, now: Ts) {
        let mut counts = HashMap::<u32, u64>::new();
        for owner in self.left.values().filter_map(|left| left.owner) {
            *counts.entry(owner.pid).or_default() += 1;
        }
        self.courses.retain(|pid, _| counts.contains_key(pid));
        for (pid, count) in counts {
            if self.courses.len() < PROCESSES || self.courses.contains_key(&pid) {
                self.courses.entry(pid).or_default().push(now, count);
            }
        }
    }

    /// By how many a second the descriptors of process `pid` become more.
    pub(super) fn per_second(&self, book: &Casebook, pid: u32, thresholds: &Thresholds) -> f64 {
        // Its descriptors have the last word: there may be none.
        let facts = book.host.processes.get(&pid);
        let some = facts.is_some_and(|facts| facts.unlisted_count >= Some(thresholds.at_least));
        let growth = self.growth(pid, thresholds).filter(|_| some);
        growth.map_or(0.0, |growth| growth.per_second)
    }

    fn growth(&self, pid: u32, thresholds: &Thresholds) -> Option<Growth> {
        self.courses.get(&pid)?.growth_over(thresholds.older_than / 3)
    }

    /// Processes that have kept such sockets for `early`.
    pub(super) fn suspects(&self, now: Ts, early: Duration) -> BTreeSet<u32> {
        let old = self.left.values().filter(|left| now.since(left.since) >= early);
        old.filter_map(|left| left.owner).map(|owner| owner.pid).collect()
    }

    /// Adds the findings about such sockets.
    pub(super) fn find(
        &self,
        book: &Casebook,
        stacks: &Stacks,
        survey: &Survey,
        thresholds: &Thresholds,
        report: &mut Report,
    ) {
        let now = survey.at;
        let mut by_process = BTreeMap::<u32, Vec<&Left>>::new();
        for left in self.left.values() {
            if now.since(left.since) >= thresholds.older_than
                && let Some(owner) = left.owner
            {
                by_process.entry(owner.pid).or_default().push(left);
            }
        }
        if by_process.is_empty() {
            return;
        }
        let others = close_wait::leaks(book, survey, thresholds);
        for (pid, mut left) in by_process {
            left.sort_by_key(|left| (left.since, left.id));
            if let Some(mut found) = finding(book, pid, &left, thresholds) {
                // One process has one time left, whatever it leaks.
                let shared = others.iter().find(|leak| leak.pid() == pid);
                found.exhaustion = shared.map_or_else(
                    || close_wait::exhaustion(book, pid, self.per_second(book, pid, thresholds)),
                    |leak| leak.exhaustion,
                );
                found.growth = self.growth(pid, thresholds);
                found.evidence.insert(0, summary(&found, &left, now));
                let mut origins = Origins::default();
                for left in &left {
                    origins.add(left.stack);
                }
                origins.name(stacks);
                found.evidence.extend(origins.lines());
                found.unseen.extend(origins.unseen());
                report.findings.push(found);
            }
        }
    }
}

/// Whether `close()` itself has ended it, or its descriptor's end would not be told: the kernel
/// forgets the ends of one that it aborts, or that found no port.
fn ended_by_close(known: &Connection) -> bool {
    let aborted = |judged: Closed| {
        let Verdict { reason, error, .. } = judged.verdict;
        let aborts = [CloseReason::AbortLinger, CloseReason::AbortUnreadData, CloseReason::Unknown];
        aborts.contains(&reason) && [0, errno::EADDRNOTAVAIL].contains(&error)
    };
    known.close_told || known.judged().is_none_or(aborted)
}

fn finding(book: &Casebook, pid: u32, all: &[&Left], thresholds: &Thresholds) -> Option<Finding> {
    // Its descriptors have the last word: that a socket was closed may not have been told.
    let facts = book.host.processes.get(&pid)?;
    let count = facts.unlisted_count?.min(all.len() as u64);
    let first = all.first()?;
    if count < thresholds.at_least.max(1) {
        return None;
    }
    let says = "keeps descriptors of connections that are over".to_owned();
    let mut found = Finding::new(Kind::ClosedDescriptors, Severity::Warning, count, says);
    found.who = first.owner.map(Who);
    found.since = Some(first.since);
    found.evidence.push(Line::new("cause", because(all)));
    if !facts.unlisted.is_empty() {
        let more = facts.unlisted_count > Some(facts.unlisted.len() as u64);
        let fds = talk::numbers(facts.unlisted.iter().copied(), more);
        found.evidence.push(Line::new("held as", format!("fd {fds}: sockets that no list shows")));
    }
    found.advice = vec![
        Advice::Do(
            "close() the socket after every error and after shutdown(), which does not close it"
                .to_owned(),
        ),
        Advice::Not("ss or netstat: a socket in CLOSE is in no list of theirs".to_owned()),
    ];
    found.see =
        vec![format!("tcp-trace list --closed --pid {pid}"), format!("ls -l /proc/{pid}/fd")];
    Some(found)
}

/// The first line, of a finding whose figures are there.
fn summary(found: &Finding, all: &[&Left], now: Ts) -> Line {
    let oldest = all.first().map_or(now, |first| first.since);
    let mut text = format!(
        "{} closed by the network and not by the process, for up to {}",
        talk::counted(found.count, "socket"),
        talk::about(now.since(oldest))
    );
    if let Some(growth) = &found.growth {
        text = text + ", " + &talk::growth(growth);
    }
    if let Some(exhaustion) = &found.exhaustion {
        text = text + "; " + &talk::exhaustion(exhaustion);
    }
    let connections = all.iter().take(EXAMPLES).map(|left| left.id).collect();
    Line { label: "", text, connections }
}

fn because(all: &[&Left]) -> String {
    let connects = all.iter().filter(|left| left.from == TcpState::SynSent).count() as u64;
    let waits = [TcpState::FinWait2, TcpState::Closing, TcpState::LastAck];
    let orderly = all.iter().filter(|left| waits.contains(&left.from)).count() as u64;
    let resets = (all.len() as u64).saturating_sub(connects + orderly);
    let parts = [
        (resets, "reset or timed out"),
        (connects, "never came about (connect() failed)"),
        (orderly, "ended in order after shutdown()"),
    ];
    let told = parts.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<_> = told.map(|(count, how)| format!("{} {how}", talk::number(count))).collect();
    format!("{}; close() was never called", told.join(", "))
}
