//! `CLOSE_WAIT`: the peer has closed, and the process has not. A leak, a pool, or nothing yet.

use std::{collections::HashMap, time::Duration};

use super::{
    Casebook, Thresholds,
    casebook::Course,
    finding::{Confidence, Exhaustion, Finding, Grown, Growth, Kind, Report, Severity, Who},
    group::{Group, Pile},
    service::Key,
    survey::Survey,
    talk,
    waiting::{self, Waits},
};
use crate::core::{clock::Ts, connection::Connection, owner::Owner, tcp_state::TcpState};

mod wording;

/// Why a socket stays in `CLOSE_WAIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nothing is left to read, and `close()` was not called.
    NotClosed,
    /// Data or the FIN wait to be read.
    NotRead,
    /// It waits in the accept queue.
    NotAccepted,
    /// Data wait to be sent, and the peer does not take them.
    SendBlocked,
}

impl Cause {
    /// Each.
    pub const ALL: [Self; 4] =
        [Self::NotClosed, Self::NotRead, Self::NotAccepted, Self::SendBlocked];

    /// Name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotClosed => "not_closed",
            Self::NotRead => "not_read",
            Self::NotAccepted => "not_accepted",
            Self::SendBlocked => "send_blocked",
        }
    }

    /// That of a socket in `CLOSE_WAIT`, by its queues: `Recv-Q` 0 is nothing left to read, 1 a FIN,
    /// more unread data before it. The read that takes the last data takes a FIN behind it along
    /// (`tcp_recvmsg()`), so the process need not have been told the end of file.
    #[must_use]
    pub fn of(known: &Connection) -> Self {
        debug_assert_eq!(known.state, TcpState::CloseWait, "of this state only");
        if known.flags.is_some_and(|flags| !flags.attached) {
            return Self::NotAccepted;
        }
        match known.transfer {
            Some(transfer) if transfer.unacknowledged() > 0 => Self::SendBlocked,
            Some(transfer) if transfer.unread_sequence() > 0 => Self::NotRead,
            _ => Self::NotClosed,
        }
    }
}

/// A pool of this many idle connections, or more, is one no longer.
const POOL: u64 = 100;
/// The share of a process's descriptors that a pool may take.
const POOL_SHARE: u64 = 20;
/// Times as old as old: a socket that has heard nothing for so long is not about to be reused.
const LONG_SILENT: u32 = 5;
/// One in so many that leave are some.
const SOME: u64 = 8;
/// Times as old as old, for which a group is watched that some leave: whether old ones do shows late.
const LEAVING: u32 = 3;
/// Times as old as old, for which a group is watched whose old ones are replaced one by one.
const COMING_ROUND: u32 = 5;
/// Of the descriptors, the share in use at which something fails soon.
const NEARLY_ALL: f64 = 0.8;

/// What a group in `CLOSE_WAIT` is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nature {
    /// It grows, and nobody comes back for the old ones.
    Leak(Growth),
    /// It does not grow, or no longer, and the old ones stay.
    Stuck(Option<Grown>),
    /// It does not grow, and the old ones are replaced.
    Pool,
    /// Idle connections of ours, few, whose end the process will notice when it needs one.
    Idle,
    /// Not looked at for long enough.
    TooEarly,
    /// Too few that are old.
    Few,
}

/// A group that is leaked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leak<'a> {
    /// Which.
    key: Key,
    /// Its sockets.
    pub(super) group: &'a Group,
    /// Whose.
    pub(super) owner: Option<Owner>,
    /// What it uses up.
    pub(super) exhaustion: Option<Exhaustion>,
    growth: Option<Growth>,
    grown: Option<Grown>,
    course: Option<&'a Course>,
    /// What the process waits for, where it serves.
    waits: Option<Waits<'a>>,
}

/// Every group that is leaked.
pub(super) fn leaks<'a>(
    book: &'a Casebook,
    survey: &'a Survey,
    thresholds: &Thresholds,
) -> Vec<Leak<'a>> {
    let mut leaks = Vec::new();
    let mut growing = HashMap::<u32, f64>::new();
    for (key, group) in &survey.close_wait {
        let (growth, grown) = match nature(book, survey.at, key, group, thresholds) {
            Nature::Leak(growth) => (Some(growth), None),
            Nature::Stuck(grown) => (None, grown),
            Nature::Pool | Nature::Idle | Nature::TooEarly | Nature::Few => continue,
        };
        let (owner, course) = (group.owner, book.close_wait.get(key));
        let serves = !key.service.is_outbound();
        let waits = serves.then(|| waiting::of(book, survey, key, group.old())).flatten();
        // Each that waits takes a descriptor more, of its own towards whom it waits for.
        let each = waits.map_or(1.0, |waits| 1.0 + waits.share(group.old()));
        let per_second = growth.map_or(0.0, |growth| growth.per_second);
        *growing.entry(key.pid).or_default() += each * per_second;
        let key = *key;
        leaks.push(Leak { key, group, owner, exhaustion: None, growth, grown, course, waits });
    }
    for leak in &mut leaks {
        let pid = leak.key.pid;
        let others = book.lingering.per_second(book, pid, thresholds);
        let per_second = growing.get(&pid).copied().unwrap_or(0.0) + others;
        leak.exhaustion = exhaustion(book, pid, per_second);
    }
    leaks
}

impl Leak<'_> {
    /// Whose descriptors it takes.
    pub(super) fn pid(&self) -> u32 {
        self.key.pid
    }
}

/// What process `pid` uses up, whose descriptors become so many more in a second.
pub(super) fn exhaustion(book: &Casebook, pid: u32, per_second: f64) -> Option<Exhaustion> {
    let facts = book.host.processes.get(&pid)?;
    let (used, limit) = (facts.descriptors, facts.limit?);
    Some(Exhaustion { of: "file descriptors", used, limit, left: left(used, limit, per_second) })
}

/// Until `limit` is reached.
#[expect(clippy::cast_precision_loss, reason = "descriptors and ports: far below 2^53")]
fn left(used: u64, limit: u64, per_second: f64) -> Option<Duration> {
    if per_second <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(limit.saturating_sub(used) as f64 / per_second).ok()
}

fn nature(book: &Casebook, now: Ts, key: &Key, group: &Group, thresholds: &Thresholds) -> Nature {
    let old = group.old();
    if old < thresholds.at_least.max(1) {
        return Nature::Few;
    }
    let course = book.close_wait.get(key);
    let old_left = course.map_or(0, |course| course.old_left);
    // What comes and goes within the time that makes a socket old is no growth of old ones, unless
    // none has ever left.
    let least = thresholds.older_than / if old_left == 0 { 3 } else { 1 };
    // Where old ones leave as fast as they grow old, traffic grows, and no leak.
    let stay = |course: &Course| {
        old_left < old || course.keeps(now, thresholds.older_than, thresholds.at_least)
    };
    if let Some(course) = course
        && let Some(growth) = course.history.growth_over(least)
    {
        return if stay(course) { Nature::Leak(growth) } else { Nature::Pool };
    }
    let grown = course.and_then(|course| course.history.grown_over(least));
    if old_left.saturating_mul(2) >= old {
        return Nature::Pool;
    }
    if is_idle_pool(book, key, group) {
        return Nature::Idle;
    }
    if grown.is_some() && course.is_some_and(stay) {
        // What has been a leak is one still, though it waits for more.
        return Nature::Stuck(grown);
    }
    let watched = course.map_or(Duration::ZERO, |course| course.watched(now));
    let silent = group.piles.iter().filter_map(|pile| pile.silent).max();
    let long_silent = silent >= Some(thresholds.older_than * LONG_SILENT);
    // Of those that were there before nobody knows yet which are old: where any leave, wait. Where
    // old ones do, it may be a pool that has not come round yet.
    let some = |left: u64| left.saturating_mul(SOME) >= old;
    let replaced = some(old_left);
    let leaving = course.is_some_and(|course| some(course.left));
    let times = match (replaced, leaving) {
        (true, _) => COMING_ROUND,
        (false, true) => LEAVING,
        (false, false) => 1,
    };
    let enough = watched >= thresholds.older_than * times;
    if enough || long_silent && !replaced { Nature::Stuck(None) } else { Nature::TooEarly }
}

/// Connections of ours that wait for their next use and have not noticed the peer's FIN: what pools
/// of many HTTP clients consist of. None of them has anything to read but that FIN.
fn is_idle_pool(book: &Casebook, key: &Key, group: &Group) -> bool {
    let [_, not_read, ..] = &group.piles;
    let limit = book.host.processes.get(&key.pid).and_then(|facts| facts.limit);
    key.service.is_outbound()
        && not_read.fin_only == group.old()
        && not_read.unlooked == 0
        && group.old() < limit.map_or(POOL, |limit| POOL.min(limit / POOL_SHARE).max(2))
}

/// Adds the findings about `CLOSE_WAIT`.
pub(super) fn find(book: &Casebook, survey: &Survey, thresholds: &Thresholds, report: &mut Report) {
    for leak in leaks(book, survey, thresholds) {
        report.findings.push(finding(&leak, survey.at, thresholds));
    }
    let (mut young, mut early) = (0, 0);
    for (key, group) in &survey.close_wait {
        match nature(book, survey.at, key, group, thresholds) {
            Nature::Pool => report.notes.push(wording::pool(key, group)),
            Nature::Idle => report.notes.push(wording::idle(key, group)),
            Nature::TooEarly => {
                early += 1;
                report.notes.push(wording::too_early(key, group, thresholds));
            }
            Nature::Few => young += group.count,
            Nature::Leak(_) | Nature::Stuck(_) => {}
        }
    }
    let none = report.findings.iter().all(|finding| finding.kind != Kind::CloseWaitLeak);
    // What may be a leak is noted, and nothing to be calm about.
    if none && early == 0 {
        let age = talk::about(thresholds.older_than);
        let oldest = survey.close_wait.values().filter_map(Group::oldest).min();
        let oldest = oldest.map_or_else(String::new, |since| {
            format!(", the oldest for {}", talk::about(survey.at.since(since)))
        });
        report.calm.push(match young {
            0 => format!("nothing stuck in CLOSE_WAIT for {age}"),
            young => format!("no CLOSE_WAIT leak ({} in CLOSE_WAIT{oldest})", talk::number(young)),
        });
    }
}

fn finding(leak: &Leak<'_>, now: Ts, thresholds: &Thresholds) -> Finding {
    let (cause, pile) = main(leak.group);
    let old = leak.group.old();
    let elsewhere = pile.elsewhere * 2 >= pile.count && pile.elsewhere > 0;
    let kind = if elsewhere { Kind::HeldAfterFork } else { Kind::CloseWaitLeak };
    let mut found =
        Finding::new(kind, severity(leak, cause), old, wording::says(cause, pile, elsewhere));
    found.who = leak.owner.map(Who);
    found.service = Some(leak.key.service.to_string());
    found.cause = Some(cause.name());
    found.counts = counts(leak.group);
    found.since = leak.group.oldest();
    found.since_or_earlier = pile.or_earlier;
    (found.growth, found.grown) = (leak.growth, leak.grown);
    found.exhaustion = leak.exhaustion;
    found.evidence = wording::evidence(leak, cause, pile, now, thresholds);
    found.advice = wording::advice(leak, cause, pile, elsewhere);
    found.see = see(leak, pile);
    found.confidence = confidence(leak, pile);
    found.unseen = wording::unseen(leak, pile);
    found
}

/// The cause of most of them.
fn main(group: &Group) -> (Cause, &Pile) {
    let causes = Cause::ALL.into_iter().zip(&group.piles);
    let [first, ..] = &group.piles;
    // What no snapshot has shown yet is a guess.
    causes
        .max_by_key(|(_, pile)| (pile.count.saturating_sub(pile.unlooked), pile.count))
        .unwrap_or((Cause::NotClosed, first))
}

fn counts(group: &Group) -> Vec<(&'static str, u64)> {
    let mut counts = vec![("close_wait", group.count)];
    let causes = Cause::ALL.into_iter().zip(&group.piles);
    counts.extend(causes.map(|(cause, pile)| (cause.name(), pile.count)));
    counts
}

fn severity(leak: &Leak<'_>, cause: Cause) -> Severity {
    #[expect(clippy::cast_precision_loss, reason = "descriptors: far below 2^53")]
    let nearly_all = leak
        .exhaustion
        .is_some_and(|exhaustion| exhaustion.used as f64 >= NEARLY_ALL * exhaustion.limit as f64);
    let bad = leak.growth.is_some() || nearly_all || cause == Cause::NotAccepted;
    if bad { Severity::Serious } else { Severity::Warning }
}

fn see(leak: &Leak<'_>, pile: &Pile) -> Vec<String> {
    let pid = leak.owner.map_or_else(String::new, |owner| format!(" --pid {}", owner.pid));
    let list = format!("tcp-trace list --state close_wait{pid}");
    let waits = leak.waits.map(|waits| {
        let remote = waits.service;
        format!("tcp-trace list --state established --remote {remote}{pid}")
    });
    let show = pile.examples.first().map(|(_, id)| format!("tcp-trace show {id}"));
    std::iter::once(list).chain(waits).chain(show).collect()
}

fn confidence(leak: &Leak<'_>, pile: &Pile) -> Confidence {
    let told = leak.course.is_some_and(|course| course.history.tells());
    match (leak.growth, told) {
        _ if pile.unlooked * 2 > pile.count => Confidence::Low,
        (Some(_), _) if pile.outside == 0 => Confidence::High,
        (Some(_), _) | (None, true) => Confidence::Medium,
        (None, false) => Confidence::Low,
    }
}
