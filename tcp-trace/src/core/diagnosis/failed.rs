//! What failed of late: connections refused, unanswered, reset, and segments sent again; by
//! destination, within a window of time.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU64,
    time::Duration,
};

use super::{
    Casebook, Thresholds,
    finding::{Advice, Finding, Kind, Line, Report, Severity, Who},
    service::{self, Service},
    survey::Survey,
    talk,
};
use crate::core::{
    clock::Ts,
    close::CloseReason,
    connection::Connection,
    errno,
    event::{LifeEvent, LifeStep},
    listeners::Listeners,
    table::Table,
    tcp_state::TcpState,
};

/// Destinations followed at most.
const LIMIT: usize = 2048;
/// What a process that gives a connection up has waited for at least; less is a change of mind.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long those that are past are not looked for again, where there is no room.
const REST: Duration = Duration::from_secs(1);

mod count;
mod full;
mod key;

use count::{Count, SPAN};
use full::Full;
use key::Key;
pub(super) use key::What;

/// All that failed of late.
#[derive(Debug, Default)]
pub(super) struct Failures {
    counts: HashMap<Key, Count>,
    /// Those for which there was no room.
    folded: u64,
    /// When those that are past were last looked for.
    cleared: Ts,
}

impl Failures {
    /// A connection's full socket has ended, from `from`.
    pub(super) fn ended(
        &mut self,
        known: &Connection,
        from: TcpState,
        listeners: &Listeners,
        at: Ts,
    ) {
        let Some(judged) = known.judged().filter(|_| known.is_counted() && !known.is_listener())
        else {
            return;
        };
        let waited = at.since(known.opened_at) >= PATIENCE;
        let what = match (from, judged.verdict.error, judged.verdict.reason) {
            (TcpState::SynSent, errno::ECONNREFUSED, _) => What::Refused,
            (TcpState::SynSent, errno::EADDRNOTAVAIL, _) => What::NoPort,
            (TcpState::SynSent, errno::ETIMEDOUT, _) => What::Unanswered,
            (TcpState::SynSent, 0, _) if waited => What::Unanswered,
            (TcpState::SynSent, 0 | errno::ECONNABORTED, _) => return,
            (TcpState::SynSent, ..) => What::Unreachable,
            (
                _,
                _,
                reason @ (CloseReason::RstReceived
                | CloseReason::RstSent
                | CloseReason::AbortUnreadData
                | CloseReason::AbortLinger
                | CloseReason::ListenerClosed
                | CloseReason::ResetAfterFin),
            ) => What::Reset(reason),
            _ => return,
        };
        let service = if from == TcpState::SynSent {
            Service::Of(known.flow().remote)
        } else {
            Service::of(known, listeners)
        };
        let pid = known.owner().map_or(0, |owner| owner.pid);
        let key = Key { what, pid, netns: known.netns, service };
        if let Some(count) = self.count(key, at) {
            count.owned(known.owner());
            count.example(known.id);
            count.from = Some(known.flow().local.ip());
        }
    }

    /// A SYN or a FIN is sent again.
    pub(super) fn life(&mut self, life: &LifeEvent, table: &Table, at: Ts) {
        let what = match life.what {
            LifeStep::Retransmit(TcpState::SynSent) => What::Syn,
            LifeStep::Retransmit(TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing) => {
                What::Fin
            }
            _ => return,
        };
        let known = table.of_socket(life.socket);
        let (local, remote) = (life.flow.local, life.flow.remote);
        let service = match known {
            _ if what == What::Syn => Service::Of(remote),
            Some(known) => Service::of(known, table.listeners()),
            // Of which side the service is, is not known: its port is the lower one.
            None if remote.port() < local.port() => Service::Of(remote),
            None => Service::Ours(local.port()),
        };
        // The way there loses them, whoever sends: those of all processes go together.
        let key = Key { what, pid: 0, netns: life.netns, service };
        let Some(count) = self.count(key, at) else { return };
        count.from = Some(local.ip());
        count.owned(known.and_then(|known| service::owner_of(known, table.listeners())));
        if let Some(known) = known {
            count.example(known.id);
        }
    }

    fn count(&mut self, key: Key, at: Ts) -> Option<&mut Count> {
        if self.counts.len() >= LIMIT && !self.counts.contains_key(&key) {
            // Room comes from those that are past; a scan makes many, and they pass.
            if at.since(self.cleared) >= REST {
                self.cleared = at;
                self.counts.retain(|_, count| at.since(count.last) < SPAN);
            }
            if self.counts.len() >= LIMIT {
                self.folded += 1;
                return None;
            }
        }
        let count = self.counts.entry(key).or_insert_with(|| Count::new(at));
        count.add(at);
        Some(count)
    }

    /// Processes that found no port, with their start: are they still there?
    pub(super) fn suspects(&self, now: Ts) -> BTreeMap<u32, Option<NonZeroU64>> {
        let failing = self.counts.iter().filter(|(key, count)| {
            key.what == What::NoPort && key.pid != 0 && now.since(count.last) < SPAN
        });
        failing
            .map(|(key, count)| (key.pid, count.owner.and_then(|owner| owner.started_ns)))
            .collect()
    }

    /// How what is counted there stands.
    fn standing(&self, key: Key, count: &Count, book: &Casebook, look: Look<'_>) -> Standing {
        if key.what != What::NoPort {
            // Nothing of these is worse than a warning.
            return Standing::GoesOn;
        }
        let (now, window) = (look.at, look.thresholds.window);
        let ended = book.host.ended.contains(&key.pid);
        // Each of many short-lived processes may have ended, and the next finds no port either.
        let followed = || {
            let same = |other: &Key| Key { pid: other.pid, ..key } == *other;
            let mut others = self.counts.iter().filter(|(other, _)| same(other));
            others.any(|(_, other)| other.last > count.last)
        };
        match count.goes_on(now, window) && (!ended || followed()) {
            true => Standing::GoesOn,
            false if ended => Standing::Ended,
            false => Standing::Over,
        }
    }

    /// Adds the findings about what failed.
    pub(super) fn find(
        &self,
        book: &Casebook,
        table: &Table,
        survey: &Survey,
        thresholds: &Thresholds,
        report: &mut Report,
    ) {
        let before = report.findings.len();
        for (key, count) in &self.counts {
            let recent = count.within(survey.at, thresholds.window);
            if recent >= least(key.what, thresholds) {
                let look = Look { at: survey.at, thresholds };
                let standing = self.standing(*key, count, book, look);
                let mut found = finding(book, *key, count, (recent, standing), look);
                if let (What::Unanswered | What::Syn, Service::Of(remote)) = (key.what, key.service)
                    && let Some(full) = Full::at(book, table, survey, key.netns, remote, count.from)
                {
                    full.explain(&mut found);
                }
                report.findings.push(found);
            }
        }
        let of = |kinds: &[Kind]| {
            report.findings.iter().skip(before).any(|found| kinds.contains(&found.kind))
        };
        let connects = of(&[Kind::ConnectRefused, Kind::ConnectTimeout, Kind::NoPortLeft]);
        let others =
            [(Kind::ResetStorm, "no reset storm"), (Kind::Retransmits, "no lost SYNs or FINs")];
        let calm: Vec<_> =
            others.into_iter().filter(|(kind, _)| !of(&[*kind])).map(|(_, text)| text).collect();
        let calm_connects = (!connects).then_some("no connect failures");
        report.calm.extend(calm_connects.into_iter().chain(calm).map(str::to_owned));
        if self.folded > 0 {
            let folded = talk::counted(self.folded, "failure");
            report.unseen.push(format!("{folded} to destinations beyond the {LIMIT} followed"));
        }
    }
}

/// How many of these make a finding.
fn least(what: What, thresholds: &Thresholds) -> u64 {
    match what {
        What::NoPort => 1,
        What::Refused | What::Unanswered | What::Unreachable => thresholds.failures.max(1),
        What::Syn | What::Fin => thresholds.failures.max(1) * 2,
        // Health checks and impatient clients reset all day.
        What::Reset(_) => thresholds.failures.max(1) * 10,
    }
}

fn kind(what: What) -> Kind {
    match what {
        What::Refused => Kind::ConnectRefused,
        What::Unanswered | What::Unreachable => Kind::ConnectTimeout,
        What::NoPort => Kind::NoPortLeft,
        What::Reset(_) => Kind::ResetStorm,
        What::Syn | What::Fin => Kind::Retransmits,
    }
}

/// What a report is made by.
#[derive(Clone, Copy)]
struct Look<'a> {
    at: Ts,
    thresholds: &'a Thresholds,
}

/// How something stands that failed within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It fails still.
    GoesOn,
    /// It has not failed for a while.
    Over,
    /// Nor has its process, which has ended.
    Ended,
}

fn finding(
    book: &Casebook,
    key: Key,
    count: &Count,
    (recent, standing): (u64, Standing),
    Look { at, thresholds }: Look<'_>,
) -> Finding {
    let serious = key.what == What::NoPort && standing == Standing::GoesOn;
    let severity = if serious { Severity::Serious } else { Severity::Warning };
    let ago = talk::about(at.since(count.last));
    let says = match standing {
        Standing::GoesOn => says(key),
        Standing::Over => format!("{}, last {ago} ago", says(key)),
        Standing::Ended => format!("has ended; it {}, last {ago} ago", says(key)),
    };
    let mut found = Finding::new(kind(key.what), severity, recent, says);
    found.who = count.owner.filter(|_| !count.shared).map(Who);
    found.service = Some(key.service.to_string());
    found.cause = match key.what {
        What::Reset(reason) => Some(reason.name()),
        What::Unreachable => Some("unreachable"),
        What::Syn => Some("syn"),
        What::Fin => Some("fin"),
        _ => None,
    };
    found.counts = vec![("total", count.total)];
    found.since = Some(count.first);
    let window = talk::about(thresholds.window);
    let text = format!(
        "{} in the last {window}, {} since tracing began",
        talk::number(recent),
        talk::number(count.total)
    );
    found.evidence.push(Line { label: "", text, connections: count.examples.clone() });
    found.evidence.push(Line::new("cause", because(key.what).to_owned()));
    let open = key.service.is_outbound().then(|| routes_of(book, key)).flatten();
    found.evidence.extend(open);
    found.advice = advice(key.what);
    found.see = vec![match key.service {
        Service::Of(remote) => format!("tcp-trace list --closed --remote {remote}"),
        Service::Ours(port) => format!("tcp-trace list --closed --port {port}"),
        Service::Other => "tcp-trace list --closed".to_owned(),
    }];
    found
}

/// The ports that the route takes, where that explains a lack of them.
fn routes_of(book: &Casebook, key: Key) -> Option<Line> {
    let Service::Of(remote) = key.service else { return None };
    if key.what != What::NoPort {
        return None;
    }
    let of = |route: &&super::survey::Route| route.remote == remote && route.netns == key.netns;
    let route = book.routes.keys().find(of)?;
    let (_, taken) = book.routes.get(route)?.taken.last()?;
    Some(Line::new(
        "where",
        format!("at the last look {} ports of {} were taken", talk::number(taken), route.local),
    ))
}

fn says(key: Key) -> String {
    let service = key.service;
    match key.what {
        What::Refused => format!("is refused by {service}"),
        What::Unanswered => format!("gets no answer from {service}"),
        What::Unreachable => format!("cannot reach {service}"),
        What::NoPort => format!("found no local port left to connect to {service}"),
        What::Reset(reason) => match service {
            Service::Ours(port) => format!("on port {port}: {}", reset(reason)),
            other => format!("to {other}: {}", reset(reason)),
        },
        What::Syn => format!("SYNs to {service} are sent again"),
        What::Fin => format!("FINs of connections with {service} are sent again"),
    }
}

fn reset(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::RstReceived => "the peers reset open connections",
        CloseReason::RstSent => "this host resets open connections",
        CloseReason::AbortUnreadData => "closes with data unread, which resets the connection",
        CloseReason::AbortLinger => "aborts connections (SO_LINGER 0)",
        CloseReason::ListenerClosed => "the listener went away with connections in its queue",
        _ => "connections are reset after one side's FIN",
    }
}

fn because(what: What) -> &'static str {
    match what {
        What::Refused => "a RST answered the SYN: nobody listens there, or a firewall says no",
        What::Unanswered => {
            "no SYN-ACK came before the time-out, the system's or the program's own"
        }
        What::Unreachable => "a router or this host's own routes say that there is no way",
        What::NoPort => "EADDRNOTAVAIL: every local port to this destination was taken then",
        What::Reset(CloseReason::RstReceived) => {
            "the peer's process ended, closed with data unread, or something between gave up"
        }
        What::Reset(CloseReason::AbortUnreadData) => {
            "what the peer had sent was not read to its end before close()"
        }
        What::Reset(CloseReason::AbortLinger) => "the program asks for it, and data may be lost",
        What::Reset(_) => "see the timelines of the connections",
        What::Syn => "the SYN or its answer was lost, or the peer's queue is full",
        What::Fin => "the FIN or its ACK was lost, or the peer is gone",
    }
}

fn advice(what: What) -> Vec<Advice> {
    let text = match what {
        What::Refused => "see whether the service runs there and listens on this address",
        What::Unanswered => "see whether the host is up, and whether a firewall drops the SYNs",
        What::Unreachable => "see the routes to that network (ip route get)",
        What::NoPort => {
            "keep connections alive; net.ipv4.tcp_tw_reuse=1 where TIME_WAIT takes the ports; more \
             addresses; see the finding about local ports"
        }
        What::Reset(CloseReason::AbortUnreadData) => {
            "read the request or the answer to its end before closing"
        }
        What::Reset(_) => "look at one of them: who reset it, and in which state",
        What::Syn => "look for drops between the hosts, and for a full accept queue at the other",
        What::Fin => "look for drops between the hosts; peers that vanish leave these behind",
    };
    vec![Advice::Do(text.to_owned())]
}
