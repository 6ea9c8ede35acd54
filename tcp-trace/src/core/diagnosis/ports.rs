//! Local ports: how many connections from one address to one destination can be had at a time, and
//! how many of those `TIME_WAIT` keeps.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Casebook, Thresholds,
    casebook::RouteCourse,
    evidence::NetnsFacts,
    finding::{Advice, Confidence, Exhaustion, Finding, Growth, Kind, Line, Report, Severity, Who},
    survey::{PortUse, Route, Survey},
    talk,
    trend::History,
};
use crate::core::time_wait::TIME_WAIT_LENGTH;

mod buckets;
mod forecast;

pub(super) use forecast::AHEAD;
use forecast::{Coming, Forecast};

/// The range that Linux has unless told otherwise: 32768 to 60999.
const USUAL: (u16, u16) = (32_768, 60_999);
/// Routes that are shown in metrics.
const SHOWN: usize = 10;
/// The share from which on a forecast is worth anything.
const FORECAST: f64 = 0.25;

/// Ports of a route that `connect()` cannot choose now.
pub(super) fn occupied(route: &Route, ports: &PortUse, facts: Option<&NetnsFacts>) -> u64 {
    if facts.is_some_and(|facts| facts.reuses(route.local.is_loopback())) {
        ports.taken.saturating_sub(ports.time_wait) + ports.fresh
    } else {
        ports.taken
    }
}

/// Of `used` ports, those that do not end by themselves.
pub(super) fn held(used: u64, ports: &PortUse) -> u64 {
    used.saturating_sub(ports.leaving.iter().copied().map(u64::from).sum())
}

fn budget(facts: Option<&NetnsFacts>) -> (u64, bool) {
    let known = facts.and_then(NetnsFacts::port_budget);
    (known.unwrap_or(u64::from(USUAL.1 - USUAL.0) + 1), known.is_some())
}

#[expect(clippy::cast_precision_loss, reason = "there are 65,536 ports")]
fn share(used: u64, budget: u64) -> f64 {
    used as f64 / budget.max(1) as f64
}

fn facts_of(book: &Casebook, netns: Option<u32>) -> Option<&NetnsFacts> {
    netns.and_then(|netns| book.host.namespaces.get(&netns))
}

/// Shares of the ports in use, by destination.
pub(super) struct Shares {
    /// The destinations with the largest, as text.
    pub(super) shown: Vec<(String, f64)>,
    /// How many there are beyond.
    pub(super) folded: u64,
    /// The largest share of those.
    pub(super) largest_folded: f64,
}

/// The destinations with the largest share of their ports in use, and the others together.
pub(super) fn shares(book: &Casebook, survey: &Survey) -> Shares {
    let mut by_destination = BTreeMap::<_, f64>::new();
    for (route, ports) in &survey.routes {
        let facts = facts_of(book, route.netns);
        let used = share(occupied(route, ports, facts), budget(facts).0);
        let known = by_destination.entry(route.remote).or_default();
        *known = known.max(used);
    }
    let mut shares: Vec<_> = by_destination.into_iter().collect();
    shares.sort_by(|(a, one), (b, other)| other.total_cmp(one).then(a.cmp(b)));
    let others = shares.split_off(SHOWN.min(shares.len()));
    Shares {
        shown: shares.into_iter().map(|(remote, share)| (remote.to_string(), share)).collect(),
        folded: others.len() as u64,
        largest_folded: others.first().map_or(0.0, |(_, share)| *share),
    }
}

/// A route that may run out.
struct Pressed<'a> {
    route: &'a Route,
    ports: &'a PortUse,
    facts: Option<&'a NetnsFacts>,
    used: u64,
    budget: u64,
    /// Mini-sockets born a second.
    born: Option<f64>,
    growth: Option<Growth>,
    left: Option<Duration>,
}

impl<'a> Pressed<'a> {
    fn new(book: &'a Casebook, route: &'a Route, ports: &'a PortUse) -> Self {
        let facts = facts_of(book, route.netns);
        let (used, budget) = (occupied(route, ports, facts), budget(facts).0);
        let course = book.routes.get(route);
        let growth = course.and_then(|course| course.taken.recent());
        let born = course.and_then(RouteCourse::rate);
        let left =
            course.and_then(|course| forecast(route, ports, facts, used, course).until(budget));
        Self { route, ports, facts, used, budget, born, growth, left }
    }

    fn share(&self) -> f64 {
        share(self.used, self.budget)
    }

    /// Whether the host has told how many ports there are; a file tells nothing of that.
    fn knows_budget(&self) -> bool {
        budget(self.facts).1
    }

    fn calm(&self) -> String {
        let (used, remote) = (talk::number(self.used), self.route.remote);
        if self.knows_budget() {
            let budget = talk::number(self.budget);
            format!("local ports suffice ({used} of {budget} to {remote})")
        } else {
            let ports = talk::counted(self.used, "local port");
            format!("{ports} taken to {remote}, of how many is not known")
        }
    }

    fn is_worth(&self, thresholds: &Thresholds) -> bool {
        let soon = self.left.is_some_and(|left| left <= AHEAD) && self.share() >= FORECAST;
        self.share() >= thresholds.share || soon
    }
}

fn forecast<'a>(
    route: &Route,
    ports: &'a PortUse,
    facts: Option<&NetnsFacts>,
    used: u64,
    course: &RouteCourse,
) -> Forecast<'a> {
    let reuses = facts.is_some_and(|facts| facts.reuses(route.local.is_loopback()));
    let rate = |history: &History| history.slope().unwrap_or(0.0).max(0.0);
    let waiting = if reuses { Duration::from_secs(1) } else { TIME_WAIT_LENGTH };
    let coming = [
        Coming { per_second: rate(&course.born), length: waiting },
        Coming { per_second: rate(&course.stayed), length: kept(ports, facts) },
    ];
    let held = course.held.recent().map_or(0.0, |growth| growth.per_second);
    Forecast { used, leaving: &ports.leaving, held, coming }
}

/// For how long one stays in `FIN_WAIT2` that nobody holds.
fn kept(ports: &PortUse, facts: Option<&NetnsFacts>) -> Duration {
    let setting = facts.and_then(|facts| facts.fin_timeout);
    let setting = setting.map(|seconds| Duration::from_secs(seconds.into()));
    ports.kept.or(setting).unwrap_or(TIME_WAIT_LENGTH)
}

/// What most of a route's ports are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mostly {
    /// They wait for late segments.
    TimeWait,
    /// They wait for the peer's FIN, and nobody for them.
    FinWait2,
    /// A process holds them.
    Open,
}

impl Mostly {
    fn of(ports: &PortUse) -> Self {
        if (ports.time_wait + ports.closing) * 2 < ports.taken {
            Self::Open
        } else if ports.time_wait >= ports.closing {
            Self::TimeWait
        } else {
            Self::FinWait2
        }
    }

    const fn cause(self) -> &'static str {
        match self {
            Self::TimeWait => "time_wait",
            Self::FinWait2 => "fin_wait2",
            Self::Open => "open",
        }
    }
}

/// Adds the findings about ports and mini-sockets.
pub(super) fn find(book: &Casebook, survey: &Survey, thresholds: &Thresholds, report: &mut Report) {
    let pressed = survey.routes.iter().map(|(route, ports)| Pressed::new(book, route, ports));
    let mut most: Option<Pressed<'_>> = None;
    for pressed in pressed {
        if pressed.is_worth(thresholds) {
            report.findings.push(finding(&pressed));
        }
        if most.as_ref().is_none_or(|most| pressed.share() > most.share()) {
            most = Some(pressed);
        }
    }
    if let Some(most) = most.filter(|most| !most.is_worth(thresholds)) {
        report.calm.push(most.calm());
    }
    let before = report.findings.len();
    for (netns, minis) in &survey.minis {
        buckets::find(book, *netns, minis.all, survey.at, thresholds, report);
    }
    if report.findings.len() == before {
        let all: u64 = survey.minis.values().map(|minis| minis.time_wait).sum();
        let known = book.host.namespaces.values().any(|facts| facts.tw_buckets.is_some());
        let below = if known { ", below their limit" } else { "" };
        report.calm.push(format!("{} in TIME_WAIT{below}", talk::number(all)));
    }
}

fn finding(pressed: &Pressed<'_>) -> Finding {
    let Pressed { route, ports, used, budget, left, .. } = *pressed;
    let full = used >= budget || left.is_some_and(|left| left <= AHEAD);
    let severity = if full { Severity::Serious } else { Severity::Warning };
    let (mostly, remote) = (Mostly::of(ports), route.remote);
    let says = match (mostly, ports.closers.is_empty()) {
        (Mostly::TimeWait, false) => format!("keeps its local ports to {remote} in TIME_WAIT"),
        (Mostly::FinWait2, false) => format!("keeps its local ports to {remote} in FIN_WAIT2"),
        (Mostly::Open, false) => format!("takes most of the local ports to {remote}"),
        // Orphans have no process any more.
        (Mostly::TimeWait, true) => format!("those to {remote} stand in TIME_WAIT"),
        (Mostly::FinWait2, true) => format!("those to {remote} stand in FIN_WAIT2"),
        (Mostly::Open, true) => format!("those to {remote} are taken"),
    };
    let mut found = Finding::new(Kind::PortPressure, severity, used, says);
    found.who = ports.closers.iter().max_by_key(|(_, count)| *count).map(|(owner, _)| Who(*owner));
    found.service = Some(route.remote.to_string());
    found.cause = Some(mostly.cause());
    found.counts =
        vec![("time_wait", ports.time_wait), ("fin_wait2", ports.closing), ("taken", ports.taken)];
    found.since = ports.examples.first().map(|(since, _)| *since);
    found.growth = pressed.growth;
    found.exhaustion = Some(Exhaustion { of: "local ports", used, limit: budget, left });
    found.evidence = evidence(pressed, mostly);
    found.advice = advice(pressed, mostly);
    let state = match mostly {
        Mostly::TimeWait => " --state time_wait",
        Mostly::FinWait2 => " --state fin_wait2",
        Mostly::Open => "",
    };
    found.see = vec![format!("tcp-trace list{state} --remote {}", route.remote)];
    found.unseen.extend(ports.origins.unseen());
    if !pressed.knows_budget() {
        found.confidence = Confidence::Medium;
        found.unseen.push("ip_local_port_range: Linux' usual one is assumed".to_owned());
    }
    found
}

fn evidence(pressed: &Pressed<'_>, mostly: Mostly) -> Vec<Line> {
    let Pressed { route, ports, used, budget, .. } = *pressed;
    let assumed = if pressed.knows_budget() { "" } else { " (Linux' usual number)" };
    let mut text = format!(
        "{} of {}{assumed} local ports of {} to {} are taken ({}), {} of them in TIME_WAIT",
        talk::number(used),
        talk::number(budget),
        route.local,
        route.remote,
        talk::percent(pressed.share()),
        talk::number(ports.time_wait)
    );
    if ports.closing > 0 {
        let closing = talk::number(ports.closing);
        text = text + ", " + &closing + " closed and waiting for the peer's FIN";
    }
    if let Some(born) = pressed.born {
        text = text + ", " + &talk::rate(born) + " new, each for 60 s";
    }
    if used >= budget {
        text += "; connect() fails (EADDRNOTAVAIL)";
    } else if let Some(left) = pressed.left {
        let left = talk::about(left);
        text = text + "; connect() starts failing (EADDRNOTAVAIL) in about " + &left;
    }
    let connections = ports.examples.iter().map(|(_, id)| *id).collect();
    let mut lines = vec![Line { label: "", text, connections }];
    lines.push(Line::new("cause", because(pressed, mostly)));
    lines.extend(ports.origins.lines());
    lines
}

fn because(pressed: &Pressed<'_>, mostly: Mostly) -> String {
    let ports = pressed.ports;
    let mut closers = ports.closers.clone();
    closers.sort_by_key(|(owner, count)| (std::cmp::Reverse(*count), owner.pid));
    let told: Vec<_> = closers
        .iter()
        .map(|(owner, count)| {
            format!("{} on {}", talk::process(owner.comm, owner.pid), talk::number(*count))
        })
        .collect();
    let who = if told.is_empty() { "this host".to_owned() } else { told.join(", ") };
    match mostly {
        Mostly::TimeWait => format!("closed first by {who}; whoever closes first waits"),
        Mostly::FinWait2 => format!(
            "closed first by {who}, and not by the peer: its FIN is waited for, {} at most each",
            talk::about(kept(ports, pressed.facts))
        ),
        Mostly::Open => {
            let open = ports.taken.saturating_sub(ports.time_wait + ports.closing);
            format!("{} connections at once that are not over", talk::number(open))
        }
    }
}

fn advice(pressed: &Pressed<'_>, mostly: Mostly) -> Vec<Advice> {
    let mut advice = match mostly {
        Mostly::TimeWait => against_waiting(pressed),
        Mostly::FinWait2 => vec![
            Advice::Do(format!("look for the missing close() at {}", pressed.route.remote)),
            Advice::Do(
                "net.ipv4.tcp_fin_timeout, or TCP_LINGER2, bounds how long that FIN is waited for"
                    .to_owned(),
            ),
        ],
        Mostly::Open => vec![Advice::Do(
            "share connections (a pool with a bound), or multiplex them (HTTP/2)".to_owned(),
        )],
    };
    let usual = u64::from(USUAL.1 - USUAL.0) + 1;
    advice.push(Advice::Do(if pressed.budget < usual {
        format!(
            "widen net.ipv4.ip_local_port_range (it gives {} ports, usual are {})",
            talk::number(pressed.budget),
            talk::number(usual)
        )
    } else {
        "more addresses or ports at either end: the bound is for each pair of them".to_owned()
    }));
    if mostly == Mostly::TimeWait {
        advice.push(Advice::Not(
            "net.ipv4.tcp_fin_timeout: it does not touch TIME_WAIT, which is 60 s always"
                .to_owned(),
        ));
    }
    advice
}

/// What helps where `TIME_WAIT` takes the ports: of the sysctls the one that is not at work yet.
fn against_waiting(pressed: &Pressed<'_>) -> Vec<Advice> {
    let is_nginx = pressed.ports.closers.iter().any(|(owner, _)| talk::is_nginx(owner.comm));
    let how = if is_nginx {
        "nginx: upstream { keepalive 64; } with proxy_http_version 1.1 and an empty Connection header"
    } else {
        "one client or pool for all requests, in place of one for each"
    };
    let keep_alive =
        format!("keep connections alive and reuse them ({how}), or let the peer close first");
    let timestamps = pressed.facts.and_then(|facts| facts.timestamps) != Some(0);
    let loopback = pressed.route.local.is_loopback();
    let reuse = if pressed.facts.is_some_and(|facts| facts.reuses(loopback)) {
        Advice::Not("net.ipv4.tcp_tw_reuse: it is at work here, and not enough".to_owned())
    } else if timestamps {
        Advice::Do(
            "net.ipv4.tcp_tw_reuse=1 helps here: this side connects, and timestamps are on"
                .to_owned(),
        )
    } else {
        Advice::Do(
            "net.ipv4.tcp_timestamps=1, then tcp_tw_reuse=1: without timestamps on both sides \
             nothing is reused"
                .to_owned(),
        )
    };
    vec![Advice::Do(keep_alive), reuse]
}
