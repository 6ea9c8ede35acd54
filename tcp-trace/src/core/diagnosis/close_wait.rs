//! `CLOSE_WAIT`: the peer has closed, and the process has not. A leak, a pool, or nothing yet.

use std::{collections::HashMap, time::Duration};

use super::{
    Casebook, Thresholds,
    casebook::Course,
    finding::{Advice, Confidence, Exhaustion, Finding, Growth, Kind, Line, Report, Severity, Who},
    service::{Key, Service},
    survey::{Group, Pile, Survey},
    talk,
};
use crate::core::{
    clock::Ts, connection::Connection, owner::Owner, sentence::bytes_text, tcp_state::TcpState,
};

/// Why a socket stays in `CLOSE_WAIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The end of file was read, and `close()` not called.
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

    /// That of a socket in `CLOSE_WAIT`, by its queues: `Recv-Q` 0 is an end of file that was read,
    /// 1 a FIN that was not, more unread data before it.
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
/// What the kernel holds for a full socket, in bytes (`struct tcp_sock` and what belongs to it).
const SOCKET_BYTES: u64 = 2_304;
/// Of the descriptors, the share in use at which something fails soon.
const NEARLY_ALL: f64 = 0.8;

/// What a group in `CLOSE_WAIT` is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nature {
    /// It grows, and nobody comes back for the old ones.
    Leak(Growth),
    /// It does not grow, and the old ones stay.
    Stuck,
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
    course: Option<&'a Course>,
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
        let growth = match nature(book, survey.at, key, group, thresholds) {
            Nature::Leak(growth) => Some(growth),
            Nature::Stuck => None,
            Nature::Pool | Nature::Idle | Nature::TooEarly | Nature::Few => continue,
        };
        *growing.entry(key.pid).or_default() += growth.map_or(0.0, |growth| growth.per_second);
        let (owner, course) = (group.owner, book.close_wait.get(key));
        leaks.push(Leak { key: *key, group, owner, exhaustion: None, growth, course });
    }
    for leak in &mut leaks {
        let per_second = growing.get(&leak.key.pid).copied().unwrap_or(0.0);
        leak.exhaustion = exhaustion(book, leak.key.pid, per_second);
    }
    leaks
}

fn exhaustion(book: &Casebook, pid: u32, per_second: f64) -> Option<Exhaustion> {
    let facts = book.host.processes.get(&pid)?;
    let (used, limit) = (facts.descriptors, facts.limit?);
    Some(Exhaustion { of: "file descriptors", used, limit, left: left(used, limit, per_second) })
}

/// Until `limit` is reached.
#[expect(clippy::cast_precision_loss, reason = "descriptors and ports: far below 2^53")]
pub(super) fn left(used: u64, limit: u64, per_second: f64) -> Option<Duration> {
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
    if let Some(course) = course
        && let Some(growth) = course.history.growth_over(least)
    {
        // Where old ones leave as fast as they grow old, traffic grows, and no leak.
        let keeps = course.keeps(now, thresholds.older_than, thresholds.at_least);
        return if old_left < old || keeps { Nature::Leak(growth) } else { Nature::Pool };
    }
    if old_left.saturating_mul(2) >= old {
        return Nature::Pool;
    }
    if is_idle_pool(book, key, group) {
        return Nature::Idle;
    }
    let watched = course.map_or(Duration::ZERO, |course| course.watched(now));
    let silent = group.piles.iter().filter_map(|pile| pile.silent).max();
    let long_silent = silent >= Some(thresholds.older_than * LONG_SILENT);
    // Of those that were there before nobody knows yet which are old: where any leave, wait.
    let leaving = course.is_some_and(|course| course.left.saturating_mul(2) >= old);
    let enough = thresholds.older_than * if leaving { 2 } else { 1 };
    if watched >= enough || long_silent { Nature::Stuck } else { Nature::TooEarly }
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
    let mut young = 0;
    for (key, group) in &survey.close_wait {
        match nature(book, survey.at, key, group, thresholds) {
            Nature::Pool => report.notes.push(pool(key, group)),
            Nature::Idle => report.notes.push(idle(key, group)),
            Nature::TooEarly => report.notes.push(format!(
                "{} in CLOSE_WAIT for more than {}: not watched for long enough to tell a leak \
                 from a pool",
                talk::counted(group.old(), &format!("socket of {}", name(group, key))),
                talk::about(thresholds.older_than),
            )),
            Nature::Few => young += group.count,
            Nature::Leak(_) | Nature::Stuck => {}
        }
    }
    let none = report.findings.iter().all(|finding| finding.kind != Kind::CloseWaitLeak);
    if none {
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

fn name(group: &Group, key: &Key) -> String {
    let owner = group.owner.map_or_else(
        || "an unknown process".to_owned(),
        |owner| talk::process(owner.comm, owner.pid),
    );
    match key.service {
        Service::Of(remote) => format!("{owner} to {remote}"),
        Service::Ours(port) => format!("{owner} on port {port}"),
        Service::Other => format!("{owner} to others"),
    }
}

fn pool(key: &Key, group: &Group) -> String {
    format!(
        "{}: {} in CLOSE_WAIT is a pool at its plateau, whose old ones are replaced",
        name(group, key),
        talk::number(group.count)
    )
}

fn idle(key: &Key, group: &Group) -> String {
    format!(
        "{}: {} whose peer has closed and that nobody has used since: a pool, it seems; the next \
         use of each fails once",
        name(group, key),
        talk::counted(group.old(), "idle connection")
    )
}

fn finding(leak: &Leak<'_>, now: Ts, thresholds: &Thresholds) -> Finding {
    let (cause, pile) = main(leak.group);
    let old = leak.group.old();
    let elsewhere = pile.elsewhere * 2 >= pile.count && pile.elsewhere > 0;
    let kind = if elsewhere { Kind::HeldAfterFork } else { Kind::CloseWaitLeak };
    let mut found = Finding::new(kind, severity(leak, cause), old, says(cause, pile, elsewhere));
    found.who = leak.owner.map(Who);
    found.service = Some(leak.key.service.to_string());
    found.cause = Some(cause.name());
    found.counts = counts(leak.group);
    found.since = leak.group.oldest();
    found.since_or_earlier = pile.or_earlier;
    found.growth = leak.growth;
    found.exhaustion = leak.exhaustion;
    found.evidence = evidence(leak, cause, pile, now, thresholds);
    found.advice = advice(leak, cause, pile, elsewhere);
    found.see = see(leak, pile);
    found.confidence = confidence(leak, pile);
    found.unseen = unseen(leak, pile);
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

fn says(cause: Cause, pile: &Pile, elsewhere: bool) -> String {
    match cause {
        _ if elsewhere => "is done with sockets that another process still holds",
        Cause::NotClosed => "does not close sockets whose peer has closed",
        Cause::NotRead if pile.unread_bytes == 0 => "takes no notice that its peers have closed",
        Cause::NotRead => "does not read what its peers sent before they closed",
        Cause::NotAccepted => "does not accept connections, and those who wait have given up",
        Cause::SendBlocked => "waits to send to peers that have closed their side",
    }
    .to_owned()
}

fn evidence(
    leak: &Leak<'_>,
    cause: Cause,
    pile: &Pile,
    now: Ts,
    thresholds: &Thresholds,
) -> Vec<Line> {
    let mut lines = vec![
        Line { connections: pile.ids(), ..Line::new("", summary(leak, now, thresholds)) },
        Line { connections: pile.ids(), ..Line::new("cause", because(cause, pile, leak.group)) },
        Line::new("where", whereabouts(leak.key.service)),
    ];
    if !pile.holders.is_empty() {
        lines.push(Line::new("held by", held_by(pile)));
    }
    lines.push(Line::new("moved", moved(leak.group, pile)));
    if let Some(course) = leak.course {
        lines.push(Line::new("not", no_pool(course, now)));
    }
    lines
}

/// The figures of the first line.
fn summary(leak: &Leak<'_>, now: Ts, thresholds: &Thresholds) -> String {
    let mut parts = vec![format!(
        "{} older than {}",
        talk::counted(leak.group.old(), "socket"),
        talk::about(thresholds.older_than)
    )];
    if let Some(since) = leak.group.oldest() {
        let bound = if main(leak.group).1.or_earlier { "at least " } else { "" };
        parts.push(format!("oldest {bound}{}", talk::about(now.since(since))));
    }
    if let Some(growth) = &leak.growth {
        parts.push(talk::growth(growth));
    } else if leak.course.is_some_and(|course| course.history.tells()) {
        parts.push("not growing".to_owned());
    }
    let mut text = parts.join(", ");
    if let Some(exhaustion) = &leak.exhaustion {
        text += "; ";
        text += &talk::exhaustion(exhaustion);
    }
    text
}

fn because(cause: Cause, pile: &Pile, group: &Group) -> String {
    let (old, of_them) = (group.old(), talk::share(pile.count, group.old()));
    let others = Cause::ALL.into_iter().zip(&group.piles);
    let others: Vec<_> = others
        .filter(|(other, pile)| *other != cause && pile.count > 0)
        .map(|(other, pile)| format!("{} {}", talk::number(pile.count), other.name()))
        .collect();
    let others =
        if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    let says = match cause {
        Cause::NotClosed => {
            format!("the end of file was read on {of_them}, close() was never called")
        }
        Cause::NotRead if pile.unread_bytes == 0 => {
            format!("on {of_them} nobody has read the end of file")
        }
        Cause::NotRead => {
            format!("{} lie unread on {of_them}", bytes_text(pile.unread_bytes))
        }
        Cause::NotAccepted => {
            format!("{of_them} {} in the accept queue: nobody calls accept()", stands(old))
        }
        Cause::SendBlocked => format!(
            "{} on {of_them} are written and not acknowledged: the peer's window is closed, or the \
             peer is gone",
            bytes_text(pile.unsent_bytes)
        ),
    };
    format!("{}: {says}{others}", cause.name())
}

fn stands(count: u64) -> &'static str {
    if count == 1 { "stands" } else { "stand" }
}

fn whereabouts(service: Service) -> String {
    match service {
        Service::Of(remote) => format!("outbound to {remote}"),
        Service::Ours(port) => format!("accepted on port {port}"),
        Service::Other => "many services, too many to be told apart".to_owned(),
    }
}

fn held_by(pile: &Pile) -> String {
    let mut by_process: Vec<(u32, String, Vec<i32>)> = Vec::new();
    for holder in &pile.holders {
        if let Some((.., fds)) = by_process.iter_mut().find(|(pid, ..)| *pid == holder.pid) {
            fds.push(holder.fd);
        } else {
            let name = talk::process(holder.comm, holder.pid);
            by_process.push((holder.pid, name, vec![holder.fd]));
        }
    }
    let more = pile.count > pile.holders.len() as u64;
    let text: Vec<_> = by_process
        .into_iter()
        .map(|(_, name, fds)| format!("{name} as fd {}", talk::numbers(fds, more)))
        .collect();
    let shared = match pile.shared {
        0 => String::new(),
        shared => format!("; {} by several descriptors", talk::number(shared)),
    };
    text.join("; ") + &shared
}

fn moved(group: &Group, pile: &Pile) -> String {
    let (received, sent) = pile.moved;
    let kernel = group.count.saturating_mul(SOCKET_BYTES).saturating_add(pile.unread_bytes);
    let silent = pile.silent.map_or_else(String::new, |silent| {
        format!("; the peer was last heard {} ago", talk::about(silent))
    });
    format!(
        "{} received, {} sent; they hold about {} of kernel memory{silent}",
        bytes_text(received),
        bytes_text(sent),
        bytes_text(kernel)
    )
}

fn no_pool(course: &Course, now: Ts) -> String {
    let watched = talk::about(course.watched(now));
    match course.old_left {
        0 => format!("a connection pool: none of the old ones was closed or reused in {watched}"),
        left => format!(
            "a pool at its plateau: only {} of the old ones were closed in {watched}",
            talk::number(left)
        ),
    }
}

fn advice(leak: &Leak<'_>, cause: Cause, pile: &Pile, elsewhere: bool) -> Vec<Advice> {
    let outbound = leak.key.service.is_outbound();
    let mut advice = vec![Advice::Do(
        match (cause, outbound) {
            _ if elsewhere => {
                "close the socket in every process that inherited it: open sockets with \
                 SOCK_CLOEXEC, and close them in the child after fork(); until the last \
                 descriptor is closed no FIN is sent"
            }
            (Cause::NotClosed, true) => {
                "close the response or the connection on every path, errors too \
                 (try-with-resources, with, defer)"
            }
            (Cause::NotClosed, false) => {
                "close each accepted socket once a read returns 0, on every path, errors too; with \
                 half-open sockets allowed (allowHalfOpen), end() is the program's own to call"
            }
            (Cause::NotRead, true) if pile.unread_bytes == 0 => {
                "let the client drop idle connections before the server does (an idle time below \
                 the server's keep-alive time), and limit the pool"
            }
            (Cause::NotRead, true) => {
                "read each response to its end or close it: an answer that nobody reads keeps its \
                 connection for ever"
            }
            (Cause::NotRead, false) => {
                "look what the threads that should read are waiting for (a lock, a backend, a full \
                 pool); and give up a request whose client is gone"
            }
            (Cause::NotAccepted, _) => {
                "look what the thread that should accept() is waiting for; all workers may be busy, \
                 or the process stopped"
            }
            (Cause::SendBlocked, _) => {
                "give up sending after a time: TCP_USER_TIMEOUT or SO_SNDTIMEO, then close()"
            }
        }
        .to_owned(),
    )];
    if let Some(left) = leak.exhaustion.and_then(|exhaustion| exhaustion.left) {
        let left = talk::about(left);
        advice.push(Advice::Do(format!("until then restart it: it has about {left} left")));
    }
    advice.push(Advice::Not(
        match cause {
            Cause::NotAccepted => {
                "a larger backlog: it makes the queue longer, and nobody is served"
            }
            _ => {
                "net.ipv4.tcp_fin_timeout: it is for FIN_WAIT2; no sysctl ends CLOSE_WAIT, only \
                 the process does"
            }
        }
        .to_owned(),
    ));
    advice
}

fn see(leak: &Leak<'_>, pile: &Pile) -> Vec<String> {
    let pid = leak.owner.map_or_else(String::new, |owner| format!(" --pid {}", owner.pid));
    let list = format!("tcp-trace list --state close_wait{pid}");
    let show = pile.examples.first().map(|(_, id)| format!("tcp-trace show {id}"));
    std::iter::once(list).chain(show).collect()
}

fn confidence(leak: &Leak<'_>, pile: &Pile) -> Confidence {
    let told = leak.course.is_some_and(|course| course.history.tells());
    match (leak.growth, told) {
        _ if pile.unlooked * 2 > pile.count => Confidence::Low,
        (Some(_), _) => Confidence::High,
        (None, true) => Confidence::Medium,
        (None, false) => Confidence::Low,
    }
}

fn unseen(leak: &Leak<'_>, pile: &Pile) -> Vec<String> {
    let mut unseen = Vec::new();
    if !leak.course.is_some_and(|course| course.history.tells()) {
        unseen.push("whether it grows: that takes time (--for 30s, or the daemon)".to_owned());
    }
    if leak.exhaustion.is_none() {
        unseen.push("descriptors in use and their limit".to_owned());
    }
    if !pile.holders_known && main(leak.group).0 != Cause::NotAccepted {
        unseen.push("which descriptors refer to them".to_owned());
    }
    if leak.owner.is_none() {
        unseen.push("whose they are".to_owned());
    }
    if pile.or_earlier {
        unseen.push("when the oldest was closed by its peer: it was there before".to_owned());
    }
    unseen
}
