//! Local ports: how many connections from one address to one destination can be had at a time, and
//! how many of those `TIME_WAIT` keeps.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Casebook, Thresholds,
    casebook::RouteCourse,
    close_wait::left,
    evidence::NetnsFacts,
    finding::{Advice, Confidence, Exhaustion, Finding, Growth, Kind, Line, Report, Severity, Who},
    survey::{PortUse, Route, Survey},
    talk,
};
use crate::core::{clock::Ts, coverage::Mib, time_wait::TIME_WAIT_LENGTH};

/// The range that Linux has unless told otherwise: 32768 to 60999.
const USUAL: (u16, u16) = (32_768, 60_999);
/// Routes that are shown in metrics.
const SHOWN: usize = 10;
/// The share from which on a forecast is worth anything.
const FORECAST: f64 = 0.25;
/// How far ahead a forecast looks.
const AHEAD: Duration = Duration::from_mins(5);

/// Ports of a route that `connect()` cannot choose now.
pub(super) fn occupied(route: &Route, ports: &PortUse, facts: Option<&NetnsFacts>) -> u64 {
    if facts.is_some_and(|facts| facts.reuses(route.local.is_loopback())) {
        ports.taken.saturating_sub(ports.time_wait) + ports.fresh
    } else {
        ports.taken
    }
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
        let per_second = growth.map_or(0.0, |growth| growth.per_second);
        let mut left = left(used, budget, per_second);
        // What is born goes after a minute: it may come to rest below the bound.
        if let Some(born) = born
            && ports.time_wait * 2 >= ports.taken
        {
            #[expect(clippy::cast_precision_loss, reason = "there are 65,536 ports")]
            let others = ports.taken.saturating_sub(ports.time_wait) as f64;
            #[expect(clippy::cast_precision_loss, reason = "there are 65,536 ports")]
            let rests = others + born * TIME_WAIT_LENGTH.as_secs_f64() < 0.95 * budget as f64;
            left = left.filter(|_| !rests);
        }
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
        buckets(book, *netns, minis.all, survey.at, thresholds, report);
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
    let mostly_waits = ports.time_wait * 2 >= ports.taken;
    let says = match (mostly_waits, ports.closers.is_empty()) {
        (true, false) => format!("keeps its local ports to {} in TIME_WAIT", route.remote),
        (false, false) => format!("takes most of the local ports to {}", route.remote),
        // Orphans have no process any more.
        (true, true) => format!("those to {} stand in TIME_WAIT", route.remote),
        (false, true) => format!("those to {} are taken", route.remote),
    };
    let mut found = Finding::new(Kind::PortPressure, severity, used, says);
    found.who = ports.closers.iter().max_by_key(|(_, count)| *count).map(|(owner, _)| Who(*owner));
    found.service = Some(route.remote.to_string());
    found.cause = Some(if mostly_waits { "time_wait" } else { "open" });
    found.counts = vec![("time_wait", ports.time_wait), ("taken", ports.taken)];
    found.since = ports.examples.first().map(|(since, _)| *since);
    found.growth = pressed.growth;
    found.exhaustion = Some(Exhaustion { of: "local ports", used, limit: budget, left });
    found.evidence = evidence(pressed, mostly_waits);
    found.advice = advice(pressed, mostly_waits);
    let state = if mostly_waits { " --state time_wait" } else { "" };
    found.see = vec![format!("tcp-trace list{state} --remote {}", route.remote)];
    found.unseen.extend(ports.origins.unseen());
    if !pressed.knows_budget() {
        found.confidence = Confidence::Medium;
        found.unseen.push("ip_local_port_range: Linux' usual one is assumed".to_owned());
    }
    found
}

fn evidence(pressed: &Pressed<'_>, mostly_waits: bool) -> Vec<Line> {
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
    if mostly_waits {
        let mut closers = ports.closers.clone();
        closers.sort_by_key(|(owner, count)| (std::cmp::Reverse(*count), owner.pid));
        let told: Vec<_> = closers
            .iter()
            .map(|(owner, count)| {
                format!("{} on {}", talk::process(owner.comm, owner.pid), talk::number(*count))
            })
            .collect();
        let who = if told.is_empty() { "this host".to_owned() } else { told.join(", ") };
        lines
            .push(Line::new("cause", format!("closed first by {who}; whoever closes first waits")));
    } else {
        let open = talk::number(ports.taken.saturating_sub(ports.time_wait));
        lines.push(Line::new("cause", format!("{open} connections at once that are not over")));
    }
    lines.extend(ports.origins.lines());
    lines
}

fn advice(pressed: &Pressed<'_>, mostly_waits: bool) -> Vec<Advice> {
    let mut advice = if mostly_waits { against_waiting(pressed) } else { Vec::new() };
    if !mostly_waits {
        advice.push(Advice::Do(
            "share connections (a pool with a bound), or multiplex them (HTTP/2)".to_owned(),
        ));
    }
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
    if mostly_waits {
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

/// About as many mini-sockets as there may be.
fn buckets(
    book: &Casebook,
    netns: Option<u32>,
    count: u64,
    now: Ts,
    thresholds: &Thresholds,
    report: &mut Report,
) {
    let limit = facts_of(book, netns).and_then(|facts| facts.tw_buckets);
    let course = netns.and_then(|netns| book.mibs.get(&netns));
    let refused = course
        .and_then(|course| course.since(Mib::TimeWaitOverflow, now, thresholds.window))
        .unwrap_or(0);
    let near = limit.is_some_and(|limit| share(count, limit) >= thresholds.share);
    if refused == 0 && !near {
        return;
    }
    let severity = if refused > 0 { Severity::Serious } else { Severity::Warning };
    let says = "about as many connections wait in TIME_WAIT as may".to_owned();
    let mut found = Finding::new(Kind::TimeWaitBuckets, severity, count, says);
    found.counts = vec![("refused", refused)];
    found.exhaustion =
        limit.map(|limit| Exhaustion { of: "mini-sockets", used: count, limit, left: None });
    let of = limit.map_or_else(String::new, |limit| {
        format!(" of {} (net.ipv4.tcp_max_tw_buckets)", talk::number(limit))
    });
    let window = talk::about(thresholds.window);
    found.evidence.push(Line::new(
        "",
        format!(
            "{}{of} are in use; {} went without TIME_WAIT in the last {window}",
            talk::counted(count, "mini-socket"),
            talk::counted(refused, "connection")
        ),
    ));
    found.advice = vec![
        Advice::Do(
            "raise net.ipv4.tcp_max_tw_buckets (some 250 bytes each), and keep connections alive"
                .to_owned(),
        ),
        Advice::Not(
            "lowering it: connections that skip TIME_WAIT can mistake old segments for their own"
                .to_owned(),
        ),
    ];
    report.findings.push(found);
}
