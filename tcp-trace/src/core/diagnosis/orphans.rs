//! Sockets that no process holds any more, and the memory of all: beyond a bound the kernel resets.

use super::{
    Casebook, Thresholds,
    evidence::NetnsFacts,
    finding::{Advice, Exhaustion, Finding, Kind, Line, Report, Severity},
    talk,
};

/// Adds the findings about orphans and memory.
pub(super) fn find(book: &Casebook, thresholds: &Thresholds, report: &mut Report) {
    // All of these are the host's, whichever namespace they were read in; the namespaces are read
    // one after the other.
    let all = || book.host.namespaces.values();
    let orphans = all().filter_map(|facts| facts.orphans).max().unwrap_or(0);
    let limit = all().find_map(|facts| facts.max_orphans);
    let near = |used: u64, limit: u64| {
        #[expect(clippy::cast_precision_loss, reason = "sockets and pages: far below 2^53")]
        let share = used as f64 / limit.max(1) as f64;
        share >= thresholds.share
    };
    if let Some(limit) = limit.filter(|limit| near(orphans, *limit)) {
        report.findings.push(finding(
            orphans,
            limit,
            "orphans",
            "about as many sockets without a process as there may be",
            "beyond net.ipv4.tcp_max_orphans the kernel resets connections that still have data \
             to send; look which peers do not take theirs, before raising it (up to 64 kB each)",
        ));
    }
    let memory = |facts: &NetnsFacts| Some((facts.memory_pages?, facts.memory_limit?));
    if let Some((used, limit)) = all().find_map(memory).filter(|(used, limit)| near(*used, *limit))
    {
        report.findings.push(finding(
            used,
            limit,
            "pages of TCP memory",
            "TCP uses about as much memory as it may",
            "look for sockets with much unread or unsent (tcp-trace diagnose names those stuck in \
             CLOSE_WAIT) before raising net.ipv4.tcp_mem",
        ));
    }
}

fn finding(used: u64, limit: u64, of: &'static str, says: &str, todo: &str) -> Finding {
    let mut found = Finding::new(Kind::Orphans, Severity::Serious, used, says.to_owned());
    let exhaustion = Exhaustion { of, used, limit, left: None };
    found.evidence.push(Line::new("", talk::exhaustion(&exhaustion)));
    found.exhaustion = Some(exhaustion);
    found.advice = vec![Advice::Do(todo.to_owned())];
    found
}
