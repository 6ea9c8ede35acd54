//! Mini-sockets of a namespace: beyond a bound, connections go without `TIME_WAIT`.

use super::{facts_of, share};
use crate::core::{
    clock::Ts,
    coverage::Mib,
    diagnosis::{
        Casebook, Thresholds,
        finding::{Advice, Exhaustion, Finding, Kind, Line, Report, Severity},
        talk,
    },
};

/// Adds the finding that there are about as many mini-sockets as there may be.
pub(super) fn find(
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
