//! What comes in faster than it is taken: handshakes that are begun and not completed, and
//! connections that nobody accepts.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use super::{
    Casebook, Thresholds,
    finding::{Advice, Exhaustion, Finding, Kind, Line, Report, Severity, Who},
    survey::{Listening, Survey},
    talk,
};
use crate::core::{coverage::Mib, table::Table};

/// Requests of one listener that are a flood, where nothing else is known: half of Linux' least
/// `tcp_max_syn_backlog`.
const FLOOD: u64 = 64;
/// SYN-ACKs sent again after which a request is not just on its way.
const AGAIN: u32 = 1;

/// Adds the findings about listeners.
pub(super) fn find(
    book: &Casebook,
    table: &Table,
    survey: &Survey,
    thresholds: &Thresholds,
    report: &mut Report,
) {
    let before = report.findings.len();
    half_open(book, table, survey, thresholds, report);
    let floods = report.findings.len() - before;
    if floods == 0 {
        let open = talk::number(table.half_open().open);
        report.calm.push(format!("no half-open flood ({open})"));
    }
    let before = report.findings.len();
    accept_queues(book, survey, thresholds, report);
    // Without the kernel's own figures nobody knows.
    if report.findings.len() == before && !book.mibs.is_empty() {
        report.calm.push("no accept queue overflows".to_owned());
    }
}

fn half_open(
    book: &Casebook,
    table: &Table,
    survey: &Survey,
    thresholds: &Thresholds,
    report: &mut Report,
) {
    // By port alone: a listener on any address has requests of many.
    let mut by_port = HashMap::<(Option<u32>, u16), (u64, u64)>::new();
    for ((netns, flow), request) in table.requests() {
        let (all, again) = by_port.entry((netns, flow.local.port())).or_default();
        *all += 1;
        *again += u64::from(request.retransmits >= AGAIN);
    }
    for ((netns, port), (all, again)) in by_port {
        let facts = netns.and_then(|netns| book.host.namespaces.get(&netns));
        let room = room(book, survey, netns, port);
        let cookies = mib(book, netns, Mib::SyncookiesSent, survey, thresholds);
        // A few that are on their way fill a short queue, too.
        let stuck = room >= FLOOD * 2 || again * 2 >= all || cookies > 0;
        #[expect(clippy::cast_precision_loss, reason = "requests: far below 2^53")]
        let full = stuck && all as f64 >= thresholds.share * room as f64;
        if !full && again < FLOOD {
            continue;
        }
        let says = format!("does not get the last ACK of handshakes on port {port}");
        let severity = if full { Severity::Serious } else { Severity::Warning };
        let mut found = Finding::new(Kind::SynRecvFlood, severity, all, says);
        let listener = of_port(survey, netns, port);
        found.who = listener.and_then(|listener| listener.owner).map(Who);
        found.service = Some(format!("port {port}"));
        found.counts = vec![("again", again), ("syncookies", cookies)];
        found.exhaustion =
            Some(Exhaustion { of: "half-open connections", used: all, limit: room, left: None });
        let text = format!(
            "{} half-open, {} of them have had the SYN-ACK again; {} SYN cookies in the last {}",
            talk::number(all),
            talk::number(again),
            talk::number(cookies),
            talk::about(thresholds.window)
        );
        let connections = listener.map(|listener| listener.id).into_iter().collect();
        found.evidence.push(Line { label: "", text, connections });
        found.evidence.push(Line::new(
            "cause",
            "SYNs from forged addresses (a flood), or SYN-ACKs that do not reach the peers"
                .to_owned(),
        ));
        found.advice = vec![
            Advice::Do(match facts.and_then(|facts| facts.syncookies) {
                Some(0) => "net.ipv4.tcp_syncookies=1: it is off here".to_owned(),
                _ => "leave net.ipv4.tcp_syncookies on, which keeps the service reachable; look \
                      where the SYNs come from"
                    .to_owned(),
            }),
            Advice::Not("a larger tcp_max_syn_backlog: a flood fills any".to_owned()),
        ];
        found.see = vec!["tcp-trace list --state new_syn_recv".to_owned()];
        report.findings.push(found);
    }
}

/// How many requests there is room for on a port: as many as its listeners' backlogs say; where
/// nothing else defends against a flood, no more than three quarters of `tcp_max_syn_backlog` each.
fn room(book: &Casebook, survey: &Survey, netns: Option<u32>, port: u16) -> u64 {
    let facts = netns.and_then(|netns| book.host.namespaces.get(&netns));
    let shared = facts.and_then(|facts| facts.syn_backlog).map(u64::from);
    let undefended = facts.and_then(|facts| facts.syncookies) == Some(0);
    let of_all = shared.filter(|_| undefended).map_or(u64::MAX, |shared| shared - shared / 4);
    let here = |known: &&Listening| known.netns == netns && known.local.port() == port;
    let queues = survey.listeners.iter().filter(here);
    let rooms = queues.filter_map(|listener| book.host.listeners.get(&listener.cookie?));
    match rooms.map(|queue| u64::from(queue.room).clamp(1, of_all.max(1))).sum() {
        0 => shared.unwrap_or(FLOOD * 2),
        known => known,
    }
}

/// What has come to a figure of a namespace of late.
fn mib(
    book: &Casebook,
    netns: Option<u32>,
    mib: Mib,
    survey: &Survey,
    thresholds: &Thresholds,
) -> u64 {
    let course = netns.and_then(|netns| book.mibs.get(&netns));
    course.and_then(|course| course.since(mib, survey.at, thresholds.window)).unwrap_or(0)
}

fn of_port(survey: &Survey, netns: Option<u32>, port: u16) -> Option<&Listening> {
    let here = |known: &&Listening| known.netns == netns && known.local.port() == port;
    survey.listeners.iter().find(here)
}

fn accept_queues(book: &Casebook, survey: &Survey, thresholds: &Thresholds, report: &mut Report) {
    let mut told = BTreeMap::<Option<u32>, bool>::new();
    for listener in &survey.listeners {
        let queue = listener.cookie.and_then(|cookie| book.host.listeners.get(&cookie));
        let Some(queue) = queue.filter(|queue| queue.waiting > 0) else { continue };
        // The kernel lets in one more than it was asked for.
        if f64::from(queue.waiting) >= thresholds.share * f64::from(queue.room.max(1)) {
            let overflows = mib(book, listener.netns, Mib::ListenOverflows, survey, thresholds);
            told.insert(listener.netns, true);
            let queue = Some((queue.waiting, queue.room));
            report.findings.push(accept_queue(Some(listener), queue, overflows, thresholds));
        }
    }
    for netns in book.mibs.keys().copied().map(Some) {
        let overflows = mib(book, netns, Mib::ListenOverflows, survey, thresholds);
        if overflows > 0 && !told.contains_key(&netns) {
            report.findings.push(accept_queue(None, None, overflows, thresholds));
        }
    }
}

fn accept_queue(
    listener: Option<&Listening>,
    queue: Option<(u32, u32)>,
    overflows: u64,
    thresholds: &Thresholds,
) -> Finding {
    let local = listener.map(|listener| listener.local);
    let says = match local.map(|local: SocketAddr| local.port()) {
        Some(port) => format!("does not accept as fast as connections come in on port {port}"),
        None => "a listener did not accept as fast as connections came in".to_owned(),
    };
    let (waiting, room) = queue.unwrap_or_default();
    let full = overflows > 0 || queue.is_some_and(|(waiting, room)| waiting > room);
    let severity = if full { Severity::Serious } else { Severity::Warning };
    let mut found = Finding::new(Kind::AcceptQueue, severity, waiting.into(), says);
    found.who = listener.and_then(|listener| listener.owner).map(Who);
    found.service = local.map(|local| format!("port {}", local.port()));
    found.counts = vec![("overflows", overflows)];
    let window = talk::about(thresholds.window);
    let dropped = format!("{} turned away in the last {window}", talk::number(overflows));
    let text = if queue.is_some() {
        format!("{waiting} of {room} places in the accept queue are taken, {dropped}")
    } else {
        format!("{dropped}; by now no queue is full")
    };
    found.exhaustion = queue.map(|(waiting, room)| Exhaustion {
        of: "places in the accept queue",
        used: waiting.into(),
        limit: room.into(),
        left: None,
    });
    let connections = listener.map(|listener| listener.id).into_iter().collect();
    found.evidence.push(Line { label: "", text, connections });
    found.evidence.push(Line::new(
        "cause",
        "the threads that accept() are busy or stuck, or the queue is too short for a burst"
            .to_owned(),
    ));
    found.advice = vec![
        Advice::Do(
            "look what the accepting threads wait for; for bursts raise the listen() backlog, \
             which net.core.somaxconn caps"
                .to_owned(),
        ),
        Advice::Not(
            "a longer queue for a server that is stuck: clients only wait longer".to_owned(),
        ),
    ];
    found.see = vec!["tcp-trace list --state listen".to_owned(), "ss -ltn".to_owned()];
    found
}
