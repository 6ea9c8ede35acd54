//! Connections that we have closed and that do not end: the peer does not close, or our FIN is not
//! acknowledged.

use std::collections::HashMap;

use super::{
    Thresholds,
    finding::{Advice, Finding, Kind, Line, Report, Severity, Who},
    group::{Group, Pile},
    service::{Key, Service},
    survey::Survey,
    talk,
};
use crate::core::{clock::Ts, table::Table};

/// Mini-sockets in `FIN_WAIT2` that are worth a finding.
const MINIS: u64 = 100;

/// Adds the findings about closing connections.
pub(super) fn find(table: &Table, survey: &Survey, thresholds: &Thresholds, report: &mut Report) {
    let before = report.findings.len();
    for (kind, groups) in
        [(Kind::FinWait2Held, &survey.fin_wait2), (Kind::LastAckStuck, &survey.last_ack)]
    {
        find_among(kind, groups, table, survey.at, thresholds, report);
    }
    if report.findings.len() == before {
        report.calm.push("no connection stuck while closing".to_owned());
    }
}

fn find_among(
    kind: Kind,
    groups: &HashMap<Key, Group>,
    table: &Table,
    now: Ts,
    thresholds: &Thresholds,
    report: &mut Report,
) {
    for (key, group) in groups {
        let [pile, ..] = &group.piles;
        // A mini-socket waits for a minute and is gone: it takes many to be worth a word.
        let minis = pile.minis * 2 > pile.count;
        let least = thresholds.at_least.max(1).max(if minis { MINIS } else { 0 });
        if pile.count < least || is_told(key, pile, table, report) {
            continue;
        }
        let held = kind == Kind::FinWait2Held;
        let says = if held {
            format!("has closed, and its peers have not ({})", key.service)
        } else {
            format!("has closed, and its FIN is not acknowledged ({})", key.service)
        };
        let mut found = Finding::new(kind, Severity::Warning, pile.count, says);
        found.who = group.owner.map(Who);
        found.service = Some(key.service.to_string());
        found.since = pile.oldest;
        found.since_or_earlier = pile.or_earlier;
        let oldest = pile.oldest.map_or_else(String::new, |since| {
            format!(", oldest {}", talk::about(now.since(since)))
        });
        let text = format!(
            "{} older than {}{oldest}",
            talk::counted(pile.count, "socket"),
            talk::about(thresholds.older_than)
        );
        found.evidence.push(Line { label: "", text, connections: pile.ids() });
        found.evidence.push(Line::new("cause", because(held, pile.holders_known).to_owned()));
        found.evidence.extend(pile.origins.lines());
        found.unseen.extend(pile.origins.unseen());
        found.advice = advice(held);
        let state = if held { "fin_wait2" } else { "last_ack,fin_wait1,closing" };
        let pid = group.owner.map_or_else(String::new, |owner| format!(" --pid {}", owner.pid));
        found.see = vec![format!("tcp-trace list --state {state}{pid}")];
        report.findings.push(found);
    }
}

/// Whether the peer is seen from here too, and told of as the one that does not close: a process of
/// this host, or in a capture, which tells of both ends.
fn is_told(key: &Key, pile: &Pile, table: &Table, report: &Report) -> bool {
    let Service::Of(remote) = key.service else { return false };
    let ours = pile.outside > 0 || table.listeners().any_at(key.netns, remote);
    let service = Service::Ours(remote.port()).to_string();
    let told = |found: &Finding| {
        found.kind == Kind::CloseWaitLeak && found.service.as_ref() == Some(&service)
    };
    ours && report.findings.iter().any(told)
}

fn because(held: bool, open: bool) -> &'static str {
    match (held, open) {
        (true, true) => {
            "the process has shut down its side and waits, its descriptor open: nothing ends that \
             but the peer's FIN"
        }
        (true, false) => {
            "the peer has acknowledged our FIN and never sent its own: it stands in CLOSE_WAIT \
             there, or is gone"
        }
        (false, _) => "the FIN is sent again and again: the peer is gone, or its window is closed",
    }
}

fn advice(held: bool) -> Vec<Advice> {
    if held {
        vec![
            Advice::Do(
                "look for the missing close() at the peer; here, close() ends the wait after \
                 net.ipv4.tcp_fin_timeout, where shutdown() waits for ever"
                    .to_owned(),
            ),
            Advice::Not("net.ipv4.tcp_tw_reuse: these are not in TIME_WAIT".to_owned()),
        ]
    } else {
        vec![Advice::Do(
            "look at the way to the peer; net.ipv4.tcp_orphan_retries bounds how often the FIN is \
             sent again, TCP_USER_TIMEOUT how long"
                .to_owned(),
        )]
    }
}
