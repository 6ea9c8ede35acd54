//! `show`: one connection, its verdict and its timeline.

use std::time::Duration;

use super::{
    ladder,
    page::Page,
    stack,
    style::{Paint, Style},
    verdict, words,
};
use crate::{
    api::{Connection, Step},
    core::sentence::{bytes_text, span_text},
};

/// Between the parts of a head line.
const WIDE: &str = "   ";
/// Between facts of one kind.
const DOT: &str = " · ";
/// Before an offset that counts from the line above.
const SINCE_ABOVE: &str = "…";
/// The longest pause between two steps that goes without saying, in microseconds.
pub(super) const PAUSE_US: u64 = 1_000_000;

/// The whole story of a connection.
pub(crate) fn timeline(connection: &Connection, style: &Style) -> String {
    let mut page = Page::new(style);
    page.parts(&head(connection, style), WIDE, 2).newline();
    page.wrap(verdict::paint(connection), &verdict::sentence(connection), 0).newline();
    page.parts(&facts(connection, style), DOT, 0).newline();
    if !connection.complete {
        page.wrap(Paint::Yellow, INCOMPLETE, 0).newline();
    }
    page.newline();
    match connection.timeline.as_deref() {
        Some(steps) if steps.iter().any(|step| step.wire.is_some()) => {
            ladder::draw(&mut page, connection, steps, style);
        }
        Some(steps @ [_, ..]) => story(&mut page, connection, steps, style),
        _ => {
            page.wrap(Paint::Plain, "No step of it was seen yet.", 0).newline();
        }
    }
    if let Some(stack) = &connection.stack {
        page.newline();
        stack::draw(&mut page, stack);
    }
    if let Some(next) = next_command(connection) {
        let next = style.command.next(&next);
        page.newline().put(Paint::Dim, "others like it: ").put(Paint::Plain, &next);
    }
    page.finish()
}

const INCOMPLETE: &str = "Incomplete: some steps were not seen, because the connection is older \
                          than the trace or because events were lost.";

/// Both ends, direction, owner, state.
fn head(connection: &Connection, style: &Style) -> Vec<(Paint, String)> {
    let local = words::endpoint(&connection.local);
    let mut parts = Vec::with_capacity(4);
    if words::is_listener(connection) {
        parts.push((Paint::Bold, local));
        parts.push((Paint::Plain, "listener".to_owned()));
    } else {
        let remote = words::endpoint(&connection.remote);
        parts.push((Paint::Bold, format!("{local} {} {remote}", words::arrow(connection))));
        let direction = match connection.direction.as_str() {
            "unknown" => "direction unknown",
            known => known,
        };
        parts.push((Paint::Plain, direction.to_owned()));
    }
    parts.push((Paint::Plain, whose(connection, style)));
    let age = words::bounded_words(connection.state_age_seconds, connection.age_is_lower_bound);
    let state = words::state(&connection.state);
    parts.push(match &connection.closed_at {
        Some(at) => {
            let at = words::moment(at, "%Y-%m-%d %H:%M:%S", style);
            (Paint::Bold, format!("ended {at}"))
        }
        None => (words::state_paint(&connection.state), format!("{state} for {age}")),
    });
    parts
}

/// The owner with what it belongs to; how it was found is said where that is no proof.
fn whose(connection: &Connection, style: &Style) -> String {
    let Some(owner) = &connection.owner else { return "process unknown".to_owned() };
    let process = words::process(Some(owner), usize::MAX, style);
    let group = owner.unit.as_ref().or(owner.container.as_ref()).or(owner.exe.as_ref());
    let found = (owner.source == "listener").then_some("by its listener");
    let asides: Vec<_> = group.map(String::as_str).into_iter().chain(found).collect();
    if asides.is_empty() { process } else { format!("{process} ({})", asides.join(", ")) }
}

/// Figures that belong to no step.
fn facts(connection: &Connection, style: &Style) -> Vec<(Paint, String)> {
    let mut facts = vec![format!("id {}", connection.id)];
    if let Some(at) = &connection.opened_at {
        let seen = if connection.complete { "opened" } else { "first seen" };
        facts.push(format!("{seen} {}", words::moment(at, "%Y-%m-%d %H:%M:%S%.3f", style)));
    }
    facts.extend(held_elsewhere(connection));
    facts.extend(moved(connection));
    if let Some(rtt @ 1..) = connection.srtt_us {
        facts.push(format!("round trip {}", span_text(Duration::from_micros(rtt.into()))));
    }
    if let Some(retransmits @ 1..) = connection.retransmits {
        facts.push(words::counted(retransmits.into(), "retransmit"));
    }
    if let Some(container) = connection.owner.as_ref().and_then(|owner| owner.container.as_ref()) {
        facts.push(format!("container {container}"));
    }
    if let Some(netns) = connection.netns {
        facts.push(format!("network namespace {netns}"));
    }
    facts.into_iter().map(|fact| (Paint::Dim, fact)).collect()
}

/// Who has it open, where that is not its owner: a descriptor is passed on without a word.
fn held_elsewhere(connection: &Connection) -> Option<String> {
    let owner = connection.owner.as_ref().map(|owner| owner.pid);
    let others: Vec<_> = connection
        .holders
        .iter()
        .filter(|holder| Some(holder.pid) != owner)
        .map(|holder| format!("{} {} as fd {}", holder.comm, holder.pid, holder.fd))
        .collect();
    (!others.is_empty()).then(|| format!("held by {}", others.join(", ")))
}

/// What it has moved, as far as that is known: between two looks at the host no hook tells.
fn moved(connection: &Connection) -> Vec<String> {
    let (sent, received) = (connection.bytes_sent, connection.bytes_received);
    let has_figures = connection.srtt_us.is_some() && connection.closed_at.is_none();
    if sent.is_none() && received.is_none() {
        return has_figures.then(|| "bytes not known yet".to_owned()).into_iter().collect();
    }
    [("sent", sent), ("received", received)]
        .into_iter()
        .filter_map(|(which, bytes)| bytes.map(|bytes| format!("{which} {}", bytes_text(bytes))))
        .collect()
}

/// Columns of a timeline.
struct Columns {
    offset_end: usize,
    state: usize,
    text: usize,
}

fn story(page: &mut Page<'_>, connection: &Connection, steps: &[Step], style: &Style) {
    let offsets = offsets(steps.iter().map(|step| step.offset_us));
    let offset_end = offset_end(&offsets, style);
    let columns = Columns { offset_end, state: offset_end + 2, text: offset_end + 2 + 13 };
    page.right(offset_end, Paint::Bold, "offset").at(columns.state).put(Paint::Bold, "state");
    page.at(columns.text).put(Paint::Bold, "what happened");
    page.put(Paint::Dim, &key(&offsets, "   ")).newline();
    let mut before = None;
    for (step, offset) in steps.iter().zip(&offsets) {
        let pause = step.offset_us.saturating_sub(before.unwrap_or(step.offset_us));
        if pause > PAUSE_US {
            aside(page, Paint::Dim, &span_text(Duration::from_micros(pause)), columns.state);
        }
        line(page, step, offset, &columns);
        before = Some(step.offset_us);
    }
    waiting(page, connection, columns.state);
}

/// What an open connection waits for.
pub(super) fn waiting(page: &mut Page<'_>, connection: &Connection, column: usize) {
    if connection.closed_at.is_none() {
        let age = words::bounded_words(connection.state_age_seconds, connection.age_is_lower_bound);
        let text = format!("{age} and counting{}", verdict::awaited(connection));
        aside(page, Paint::Bold, &text, column);
    }
}

/// Where the column of offsets ends.
pub(super) fn offset_end(offsets: &[String], style: &Style) -> usize {
    offsets.iter().map(|text| style.columns(text)).max().unwrap_or(0).max(8) + 2
}

fn line(page: &mut Page<'_>, step: &Step, offset: &str, columns: &Columns) {
    page.right(columns.offset_end, Paint::Dim, offset).at(columns.state);
    if step.kind == "mark" {
        aside(page, Paint::Yellow, &step.text, columns.state);
        return;
    }
    if let Some(to) = &step.to {
        page.put(words::state_paint(to), &words::state(to));
    }
    page.at(columns.text).wrap(Paint::Plain, &step.text, columns.text).newline();
}

/// A line that is no step, set off from them.
pub(super) fn aside(page: &mut Page<'_>, paint: Paint, text: &str, column: usize) {
    page.at(column).wrap(paint, &format!("··· {text} ···"), column + 4).newline();
}

/// What the offsets with an ellipsis mean, behind `separator`; nothing where there are none.
pub(super) fn key(offsets: &[String], separator: &str) -> String {
    if offsets.iter().any(|text| text.starts_with(SINCE_ABOVE)) {
        format!("{separator}{SINCE_ABOVE} counts from the line above")
    } else {
        String::new()
    }
}

/// Since the first step; where that reads as it did one step before, because hours went by and
/// only microseconds since, the time since that step instead.
pub(super) fn offsets(steps: impl IntoIterator<Item = u64>) -> Vec<String> {
    let since_first = |offset_us: u64| match offset_us {
        0 => "0".to_owned(),
        micros => format!("+{}", span_text(Duration::from_micros(micros))),
    };
    let mut texts = Vec::new();
    let mut before: Option<u64> = None;
    for offset_us in steps {
        let text = since_first(offset_us);
        let blurred = before.filter(|before| *before < offset_us && since_first(*before) == text);
        texts.push(blurred.map_or(text, |before| {
            let since = Duration::from_micros(offset_us - before);
            format!("{SINCE_ABOVE} +{}", span_text(since))
        }));
        before = Some(offset_us);
    }
    texts
}

/// What is said of those that were asked for as well.
pub(crate) fn others(total: u64, newest: bool) -> Option<String> {
    let others = total.checked_sub(1).filter(|others| *others > 0)?;
    let which = if newest { "newest" } else { "oldest" };
    let matched = if others == 1 { "matches" } else { "match" };
    Some(format!("this is the {which}; {} {matched} as well", words::counted(others, "other")))
}

fn next_command(connection: &Connection) -> Option<String> {
    let owner = connection.owner.as_ref().filter(|_| connection.state == "close_wait")?;
    Some(format!("tcp-trace list --state close_wait --pid {}", owner.pid))
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    fn leak() -> Connection {
        let steps = vec![
            step(
                0,
                "listen",
                "syn_recv",
                "the peer's ACK ended the handshake; the listener gave birth to this socket",
            ),
            step(61, "syn_recv", "established", "established; waiting for accept() by java 2207"),
            step(
                8_100,
                "established",
                "close_wait",
                "the peer closed: its FIN came; waiting for java 2207 to close()",
            ),
        ];
        Connection { timeline: Some(steps), ..java() }
    }

    #[test]
    fn a_leak_reads_as_one() {
        let text = "\
127.0.0.1:8080 ← 127.0.0.1:41822   inbound
  java 2207 (tomcat.service, by its listener)   CLOSE_WAIT for 3 h 12 min
The peer has closed, java has not: it has read all there was and never called
close().
id 3f9c · opened 2026-03-01 12:00:01.482 · sent 1.9 kB · received 412 B
round trip 61 µs · network namespace 4026531840

    offset  state        what happened
         0  SYN_RECV     the peer's ACK ended the handshake; the listener gave
                         birth to this socket
    +61 µs  ESTABLISHED  established; waiting for accept() by java 2207
   +8.1 ms  CLOSE_WAIT   the peer closed: its FIN came; waiting for java 2207 to
                         close()
            ··· 3 h 12 min and counting: the next FIN is java's to send ···

others like it: tcp-trace list --state close_wait --pid 2207";
        assert_eq!(timeline(&leak(), &plain(80)), text);
    }

    #[test]
    fn a_story_half_seen_says_so_and_where() {
        let steps = vec![
            mark(0, "found", "found in ESTABLISHED: what came before was not traced"),
            step(
                11_520_000_000,
                "established",
                "fin_wait1",
                "close() by curl 4411: our FIN goes first",
            ),
            Step {
                kind: "call".to_owned(),
                call: Some("close".to_owned()),
                from: None,
                to: None,
                ..step(11_520_000_300, "", "", "close() by curl 4411: nothing is sent")
            },
            step(11_520_000_400, "fin_wait1", "close", "this host reset the connection"),
        ];
        let connection = Connection {
            complete: false,
            error: Some("ECONNRESET".to_owned()),
            timeline: Some(steps),
            ..ended("rst_sent", Some("local"))
        };
        let text = "\
127.0.0.1:41822 -> 127.0.0.1:8080   outbound   curl 4411   ended 2026-03-01 12:00:01
Reset by this host (ECONNRESET).
id 3f9b - first seen 2026-03-01 12:00:01.482 - sent 412 B - received 1.9 kB - round trip 61 us
network namespace 4026531840
Incomplete: some steps were not seen, because the connection is older than the trace or because
events were lost.

       offset  state        what happened   .. counts from the line above
            0  --- found in ESTABLISHED: what came before was not traced ---
               --- 3 h 12 min ---
  +3 h 12 min  FIN_WAIT1    close() by curl 4411: our FIN goes first
   .. +300 us               close() by curl 4411: nothing is sent
   .. +100 us  CLOSE        this host reset the connection";
        assert_eq!(timeline(&connection, &ascii(100)), text);
    }

    #[test]
    fn the_evidence_of_a_leak_is_told_apart() {
        let rows = [
            (
                Some((0, Some(true))),
                "java has not: it has read all there was and never called close().",
            ),
            (
                Some((412, Some(false))),
                "java has not: 412 B and the end of file stood unread when last looked at.",
            ),
            (
                Some((0, Some(false))),
                "java has not: the end of file stood unread when last looked at.",
            ),
            (None, "java has not: whether it has read the end of file is not known."),
        ];
        for (queue, evidence) in rows {
            let mut connection = java();
            connection.recv_queue = queue
                .map(|(unread_bytes, fin_read)| crate::api::RecvQueue { unread_bytes, fin_read });
            let shown = timeline(&connection, &plain(200));
            assert!(shown.contains(&format!("The peer has closed, {evidence}\n")), "{shown}");
        }
    }

    #[test]
    fn what_is_not_known_yet_is_no_nought() {
        let shown = |sent, received| {
            let figures = Connection { bytes_sent: sent, bytes_received: received, ..java() };
            timeline(&figures, &plain(200))
        };
        assert!(shown(None, None).contains(" · bytes not known yet · "), "{}", shown(None, None));
        let part = shown(None, Some(412));
        assert!(part.contains(" · received 412 B · ") && !part.contains("sent"), "{part}");
        assert!(shown(Some(0), Some(412)).contains("sent 0 B · received 412 B"));
    }

    #[test]
    fn who_else_holds_it_is_named() {
        let holder = |pid, comm: &str, fd| crate::api::Holder { pid, comm: comm.to_owned(), fd };
        let mut connection = java();
        connection.holders = vec![holder(2207, "java", 7)];
        assert!(!timeline(&connection, &plain(200)).contains("held by"));
        connection.holders.push(holder(2210, "worker", 6));
        let shown = timeline(&connection, &plain(200));
        assert!(shown.contains(" · held by worker 2210 as fd 6"), "{shown}");
        connection.owner = None;
        let shown = timeline(&connection, &plain(200));
        assert!(shown.contains("held by java 2207 as fd 7, worker 2210 as fd 6"), "{shown}");
    }

    #[test]
    fn a_listener_has_no_peer() {
        let listener = Connection {
            remote: end("0.0.0.0:0"),
            state: "listen".to_owned(),
            age_is_lower_bound: true,
            recv_queue: None,
            owner: Some(owner("\x1b[2Jevil\u{7}", 7)),
            timeline: Some(Vec::new()),
            ..six()
        };
        let text = "\
[2001:db8:85a3::8a2e:370:7334]:443   listener   [2Jevil 7   LISTEN for at least 3 h 12 min
Waiting for connections.
id 40 · opened 2026-03-01 12:00:01.482 · network namespace 4026531840

No step of it was seen yet.";
        assert_eq!(timeline(&listener, &plain(100)), text);
    }

    #[test]
    fn colour_is_on_state_and_verdict() {
        let shown = timeline(&leak(), &colour(120));
        for painted in [
            "\x1b[33mCLOSE_WAIT for 3 h 12 min\x1b[0m",
            "\x1b[33mThe peer has closed,",
            "\x1b[32mESTABLISHED\x1b[0m  established;",
        ] {
            assert!(shown.contains(painted), "{shown:?}");
        }
    }

    #[test]
    fn others_that_match_are_counted() {
        assert_eq!(others(0, false), None);
        assert_eq!(others(1, false), None);
        let text = "this is the oldest; 1 other matches as well";
        assert_eq!(others(2, false).as_deref(), Some(text));
        let text = "this is the newest; 1,203 others match as well";
        assert_eq!(others(1204, true).as_deref(), Some(text));
    }

    #[test]
    fn offsets_that_would_read_alike_are_told_apart() {
        let steps = [0, 0, 61, 61, 90_000_000, 90_000_000, 90_000_007];
        let texts = ["0", "0", "+61 µs", "+61 µs", "+1 min 30 s", "+1 min 30 s", "… +7 µs"];
        assert_eq!(offsets(steps), texts);
    }
}
