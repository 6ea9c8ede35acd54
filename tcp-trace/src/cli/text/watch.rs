//! `watch`: one line per change of state, one summary per connection that ended.

use super::{
    ending,
    page::Page,
    style::{Paint, Style},
    watch_columns::Layout,
    words,
};
use crate::{
    api::{ClosedEvent, LostEvent, StateEvent},
    core::sentence::bytes_text,
};

/// The line above the others.
pub(crate) fn header(style: &Style) -> String {
    let layout = Layout::of(style);
    let mut page = Page::new(style);
    page.put(Paint::Bold, "TIME").at(layout.process).put(Paint::Bold, "PROCESS");
    page.at(layout.local).put(Paint::Bold, "LOCAL").at(layout.remote).put(Paint::Bold, "REMOTE");
    page.at(layout.state).put(Paint::Bold, "STATE");
    page.right(layout.in_state, Paint::Bold, "IN STATE");
    page.finish()
}

/// A change of state, and what it asks for; `late` where it comes after what happened later.
pub(crate) fn line(event: &StateEvent, late: bool, style: &Style) -> String {
    let layout = Layout::of(style);
    let mut page = Page::new(style);
    layout.ends(&mut page, &event.at, &event.connection, style);
    page.at(layout.state).put(words::state_paint(&event.from), &words::state(&event.from));
    page.put(Paint::Dim, &format!("{0}→{0}", layout.space));
    page.put(words::state_paint(&event.to), &words::state(&event.to));
    page.right(layout.in_state, Paint::Plain, &layout.in_state_text(event.in_state_seconds));
    let remark = match (remark(event), late) {
        (Some((paint, remark)), true) => Some((paint, format!("{remark} ({LATE})"))),
        (None, true) => Some((Paint::Dim, LATE.to_owned())),
        (remark, false) => remark,
    };
    if let Some((paint, remark)) = remark {
        let column = layout.in_state + 2;
        if page.fits(column, &remark) {
            page.at(column).put(paint, &remark);
        } else {
            page.newline().at(layout.process).put(Paint::Dim, "└ ");
            let hang = page.column();
            page.wrap(paint, &remark, hang);
        }
    }
    page.finish()
}

/// Said of a line that stands below younger ones: of a capture a later segment may be what proves it.
const LATE: &str = "before the lines above: only now known";

/// What the operator can do about this change, or has to know.
fn remark(event: &StateEvent) -> Option<(Paint, String)> {
    let connection = &event.connection;
    match event.to.as_str() {
        "close_wait" => {
            let unread = match connection.recv_queue.as_ref().map(|queue| queue.unread_bytes) {
                Some(bytes @ 1..) => format!(", {} unread", bytes_text(bytes)),
                _ => String::new(),
            };
            let who = words::who(connection);
            Some((Paint::Yellow, format!("peer closed{unread}; waiting for {who} to close()")))
        }
        "close" if event.from != "close" => {
            ending::failure(connection).map(|failure| (Paint::Red, failure))
        }
        _ => None,
    }
}

/// A connection that ended: how long it lived, how it ended and what it moved.
pub(crate) fn closed(event: &ClosedEvent, style: &Style) -> String {
    let layout = Layout::of(style);
    let connection = &event.connection;
    let mut page = Page::new(style);
    layout.ends(&mut page, connection.closed_at.as_deref().unwrap_or_default(), connection, style);
    page.at(layout.state).parts(&summary(event), " · ", layout.process + 2);
    page.finish()
}

fn summary(event: &ClosedEvent) -> Vec<(Paint, String)> {
    let connection = &event.connection;
    let lifetime = words::bounded_span(event.lifetime_seconds, !connection.complete);
    if words::is_listener(connection) {
        return vec![(Paint::Bold, format!("stopped listening after {lifetime}"))];
    }
    // A mini-socket that waits for the peer's FIN carries it on.
    let half = connection.mini && connection.peer_closed != Some(true);
    let verb = if half { "closed here" } else { "ended" };
    let mut parts =
        vec![(Paint::Bold, format!("{verb} after {lifetime}")), ending::ending(connection)];
    if connection.bytes_sent.is_some() || connection.bytes_received.is_some() {
        let (sent, received) = (connection.bytes_sent, connection.bytes_received);
        let text = format!("sent {}, received {}", words::bytes(sent), words::bytes(received));
        parts.push((Paint::Plain, text));
    }
    if let Some(retransmits @ 1..) = connection.retransmits {
        parts.push((Paint::Plain, words::counted(retransmits.into(), "retransmit")));
    }
    if !connection.complete {
        parts.push((Paint::Yellow, "incomplete: steps are missing".to_owned()));
    }
    parts.push((Paint::Dim, format!("id {}", connection.id)));
    parts
}

/// Events that are missing from here on back.
pub(crate) fn lost(event: &LostEvent, style: &Style) -> String {
    let layout = Layout::of(style);
    let events = words::counted(event.count, "event");
    let text = if event.stage == "subscriber" {
        format!(
            "··· {events} not shown: this reader fell behind; the tracer has them: filter more \
             narrowly ···"
        )
    } else {
        format!(
            "··· {events} lost ({}): connections of this moment may lack steps; counters are \
             exact ···",
            event.stage
        )
    };
    let mut page = Page::new(style);
    page.put(Paint::Dim, &words::clock(&event.at, style)).at(layout.process);
    page.wrap(Paint::Yellow, &text, layout.process + 2);
    page.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fixtures::*, *};
    use crate::api::Connection;

    /// The first minutes of the sketch: nginx, curl and java.
    fn scene() -> Vec<StateEvent> {
        let nginx = Connection {
            local: end("10.0.0.4:443"),
            remote: end("198.51.100.7:50122"),
            owner: Some(owner("nginx", 812)),
            state: "established".to_owned(),
            ..java()
        };
        let curl = Connection { state: "fin_wait1".to_owned(), ..curl() };
        vec![
            change(nginx, "syn_recv", Some(0.000_061)),
            change(curl, "established", Some(0.008_1)),
            change(java(), "established", Some(754.0)),
        ]
    }

    fn shown(style: &Style) -> Vec<String> {
        let lines =
            scene().iter().map(|event| line(event, false, style)).collect::<Vec<_>>().join("\n");
        [header(style)].into_iter().chain(lines.lines().map(str::to_owned)).collect()
    }

    #[test]
    fn eighty_columns_do() {
        let lines = [
            "TIME         PROCESS   LOCAL    REMOTE           STATE                  IN STATE",
            "12:00:01.490 nginx 812 :443 ← 198.51.100.7:50122 SYN_RECV→ESTABLISHED      61 µs",
            "12:00:01.490 curl 4411 :41822 → 127.0.0.1:8080   ESTABLISHED→FIN_WAIT1    8.1 ms",
            "12:00:01.490 java 2207 :8080  ← 127.0.0.1:41822  ESTABLISHED→CLOSE_WAIT 12min34s",
            "             └ peer closed; waiting for java to close()",
        ];
        assert_eq!(shown(&plain(80)), lines);
    }

    #[test]
    fn eighty_columns_of_ascii_do() {
        let lines = [
            "TIME         PROCESS   LOCAL     REMOTE         STATE                   IN STATE",
            "12:00:01.490 nginx 812 :443 <- 198.51.100.7:50122 SYN_RECV->ESTABLISHED    61 us",
            "12:00:01.490 curl 4411 :41822 -> 127.0.0.1:8080 ESTABLISHED->FIN_WAIT1    8.1 ms",
            "12:00:01.490 java 2207 :8080 <- 127.0.0.1:41822 ESTABLISHED->CLOSE_WAIT 12min34s",
            "             `- peer closed; waiting for java to close()",
        ];
        assert_eq!(shown(&ascii(80)), lines);
    }

    #[test]
    fn a_hundred_columns_show_both_ends() {
        let lines = [
            "TIME         PROCESS         LOCAL             REMOTE             STATE                     IN STATE",
            "12:00:01.490 nginx 812       10.0.0.4:443    ← 198.51.100.7:50122 SYN_RECV→ESTABLISHED         61 µs",
            "12:00:01.490 curl 4411       127.0.0.1:41822 → 127.0.0.1:8080     ESTABLISHED→FIN_WAIT1       8.1 ms",
            "12:00:01.490 java 2207       127.0.0.1:8080  ← 127.0.0.1:41822    ESTABLISHED→CLOSE_WAIT 12 min 34 s",
            "             └ peer closed; waiting for java to close()",
        ];
        assert_eq!(shown(&plain(100)), lines);
    }

    #[test]
    fn a_wider_terminal_shows_both_ends() {
        let lines = [
            "TIME          PROCESS              LOCAL                   REMOTE                 STATE                         IN STATE",
            "12:00:01.490  nginx 812            10.0.0.4:443          ← 198.51.100.7:50122     SYN_RECV → ESTABLISHED           61 µs",
            "12:00:01.490  curl 4411            127.0.0.1:41822       → 127.0.0.1:8080         ESTABLISHED → FIN_WAIT1         8.1 ms",
            "12:00:01.490  java 2207            127.0.0.1:8080        ← 127.0.0.1:41822        ESTABLISHED → CLOSE_WAIT   12 min 34 s",
            "              └ peer closed; waiting for java to close()",
        ];
        assert_eq!(shown(&plain(120)), lines);
    }

    #[test]
    fn without_a_limit_remarks_stand_beside() {
        for width in [200, usize::MAX] {
            let shown = shown(&plain(width));
            let last = shown.last().unwrap();
            let end = "CLOSE_WAIT   12 min 34 s  peer closed; waiting for java to close()";
            assert_eq!(shown.len(), 4);
            assert!(last.ends_with(end), "{last}");
        }
    }

    #[test]
    fn colour_repeats_what_the_words_say() {
        let event = scene().pop().unwrap();
        let painted = "\x1b[2m12:00:01.490\x1b[0m java 2207 :8080  \x1b[2m←\x1b[0m \
                       127.0.0.1:41822  \x1b[32mESTABLISHED\x1b[0m\x1b[2m→\x1b[0m\
                       \x1b[33mCLOSE_WAIT\x1b[0m 12min34s\n             \
                       \x1b[2m└ \x1b[0m\x1b[33mpeer closed; waiting for java to close()\x1b[0m";
        assert_eq!(line(&event, false, &colour(80)), painted);
    }

    #[test]
    fn long_addresses_take_room_from_the_name_before_the_line_grows() {
        let medium = Connection {
            local: end("2001:db8::4:443"),
            remote: end("2001:db8::7:1:50122"),
            owner: Some(owner("http-nio-8080-e", 22_071)),
            ..six()
        };
        let event = change(medium, "syn_recv", None);
        let rows = [
            (
                120,
                "12:00:01.490  http-nio-8080… 22071 [2001:db8::4]:443     ← [2001:db8::7:1]:50122  SYN_RECV → ESTABLISHED               -",
            ),
            (
                80,
                "12:00:01.490 ht… 22071 :443 ← [2001:db8::7:1]:50122 SYN_RECV→ESTABLISHED       -",
            ),
        ];
        for (width, text) in rows {
            assert_eq!(line(&event, false, &plain(width)), text);
        }
        let ends = |local: &str, remote: &str| Connection {
            local: end(local),
            remote: end(remote),
            owner: Some(owner("http-nio-8080-e", 2_207)),
            ..six()
        };
        let rows = [
            (
                ends("2001:db8::4:443", "2001:db8:0:1::7:1:50122"),
                "12:00:01.490  http-nio-8080-e 2207 [2001:db8::4]:443  ← [2001:db8:0:1::7:1]:50122 SYN_RECV → ESTABLISHED               -",
            ),
            (
                ends("2001:db8:1:2:3::4:443", "2001:db8::1:50122"),
                "12:00:01.490  http-nio-808… 2207 [2001:db8:1:2:3::4]:443 ← [2001:db8::1]:50122    SYN_RECV → ESTABLISHED               -",
            ),
        ];
        for (connection, text) in rows {
            assert_eq!(line(&change(connection, "syn_recv", None), false, &plain(120)), text);
        }
        // Where no name is short enough to keep the columns, a wide terminal need not cut it.
        let long = Connection { owner: Some(owner("http-nio-8080-e", 4_194_303)), ..six() };
        let shown = line(&change(long, "syn_recv", None), false, &plain(200));
        assert!(shown.contains("  http-nio-8080-e 4194303 [2001:db8:85a3::8a2e"), "{shown}");
        let event = change(six(), "syn_recv", Some(0.5));
        let grown = "12:00:01.490 - [2001:db8:85a3::8a2e:370:7334]:443 ← \
                     [2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:50122 SYN_RECV→ESTABLISHED 500 ms";
        assert_eq!(line(&event, false, &plain(100)), grown);
    }

    #[test]
    fn remarks_say_what_can_be_acted_on() {
        let rows = [
            ("refused", None, "refused: nobody listens on 127.0.0.1:8080"),
            ("connect_timeout", None, "no answer to any SYN: host down, or a firewall drops"),
            ("rst_received", Some("ECONNRESET"), "reset by the peer (ECONNRESET)"),
            ("abort_unread_data", None, "aborted: curl closed with data unread, RST sent"),
            (
                "unknown",
                Some("EADDRNOTAVAIL"),
                "no local port is free towards this destination (EADDRNOTAVAIL)",
            ),
            ("unknown", Some("EHOSTUNREACH"), "failed: EHOSTUNREACH"),
        ];
        for (reason, error, text) in rows {
            let mut connection = ended(reason, None);
            connection.error = error.map(str::to_owned);
            let shown = line(&change(connection, "syn_sent", None), false, &plain(200));
            assert!(shown.ends_with(&format!("-  {text}")), "{shown}");
        }
        for reason in ["fin_active", "fin_passive", "simultaneous", "unknown"] {
            let shown = line(&change(ended(reason, None), "fin_wait2", None), false, &plain(200));
            assert!(shown.ends_with(" -"), "{shown}");
        }
    }

    #[test]
    fn what_is_proved_late_says_so() {
        let shown = |connection: Connection, late| {
            line(&change(connection, "established", None), late, &plain(200))
        };
        let fin_wait = || Connection { state: "fin_wait1".to_owned(), ..curl() };
        assert!(shown(fin_wait(), false).ends_with(" -"));
        assert!(shown(fin_wait(), true).ends_with("-  before the lines above: only now known"));
        let end = "java to close() (before the lines above: only now known)";
        assert!(shown(java(), true).ends_with(end));
    }

    #[test]
    fn what_is_unread_is_part_of_the_remark() {
        let mut connection = java();
        connection.recv_queue = Some(crate::api::RecvQueue { unread_bytes: 412, fin_read: None });
        connection.owner = None;
        let shown = line(&change(connection, "established", None), false, &plain(200));
        let end = "  peer closed, 412 B unread; waiting for the process to close()";
        assert!(shown.ends_with(end), "{shown}");
    }

    #[test]
    fn an_end_is_summed_up() {
        let text = [
            "12:00:01.494 curl 4411 :41822 → 127.0.0.1:8080   ended after 12 ms",
            "               closed by curl, in order · sent 412 B, received 1.9 kB · id 3f9b",
        ];
        let event = closed_event(ended("fin_active", Some("local")));
        assert_eq!(closed_lines(&event, 80), text);
        let text = "12:00:01.494  curl 4411                127.0.0.1:41822       → 127.0.0.1:8080         \
                    ended after 12 ms · closed by curl, in order · sent 412 B, received 1.9 kB · id 3f9b";
        assert_eq!(closed_lines(&event, 200), [text]);
    }

    #[test]
    fn what_the_peer_may_still_go_on_with_has_not_ended() {
        let text = "12:00:01.494  curl 4411                127.0.0.1:41822       → 127.0.0.1:8080         \
                    closed here after 12 ms · closed by curl, the peer has not closed yet (FIN_WAIT2) · \
                    sent 412 B, received 1.9 kB · id 3f9b";
        let ended = ended("fin_active", Some("local"));
        let half = Connection { peer_closed: Some(false), mini: true, ..ended };
        assert_eq!(closed_lines(&closed_event(half), 300), [text]);
    }

    #[test]
    fn an_end_half_seen_says_so() {
        let connection = Connection {
            complete: false,
            retransmits: Some(3),
            bytes_sent: Some(u64::MAX),
            ..ended("rst_received", Some("remote"))
        };
        let text = [
            "12:00:01.494 curl 4411       127.0.0.1:41822 → 127.0.0.1:8080     ended after ≥ 12 ms",
            "               reset by the peer · sent 18446744073.7 GB, received 1.9 kB · 3 retransmits",
            "               incomplete: steps are missing · id 3f9b",
        ];
        assert_eq!(closed_lines(&closed_event(connection), 100), text);
    }

    #[test]
    fn a_listener_s_end_is_no_connection_s() {
        let listener = Connection { remote: end("0.0.0.0:0"), ..ended("unknown", None) };
        let text = "12:00:01.494 curl 4411       127.0.0.1:41822 → *                  stopped listening after 12 ms";
        assert_eq!(closed_lines(&closed_event(listener), 100), [text]);
    }

    fn closed_lines(event: &ClosedEvent, width: usize) -> Vec<String> {
        super::closed(event, &plain(width)).lines().map(str::to_owned).collect()
    }

    #[test]
    fn losses_say_what_they_cost() {
        let event = |stage: &str, count| LostEvent {
            at: "2026-03-01T12:00:01.5Z".to_owned(),
            stage: stage.to_owned(),
            count,
        };
        let text = "12:00:01.500 ··· 1,204 events lost (perf_buffer): connections of this moment may\n               \
                    lack steps; counters are exact ···";
        assert_eq!(lost(&event("perf_buffer", 1204), &plain(80)), text);
        let text = "12:00:01.500  --- 1 event not shown: this reader fell behind; the tracer has them: \
                    filter more narrowly ---";
        assert_eq!(lost(&event("subscriber", 1), &ascii(200)), text);
    }

    proptest! {
        #[test]
        fn no_line_contains_control_characters(
            comm in hostile(), state in hostile(), reason in hostile(),
            stage in hostile(), at in hostile(), seconds in any::<f64>(),
            pid in any::<u32>(), width in 0usize..300, unicode in any::<bool>(),
        ) {
            let style = Style { unicode, ..plain(width) };
            let mut connection = Connection { state, owner: Some(owner(&comm, pid)), ..ended(&reason, Some(&comm)) };
            connection.error = Some(comm.clone());
            connection.id = comm.clone();
            connection.closed_at = Some(at.clone());
            let mut event = change(connection.clone(), &reason, Some(seconds));
            event.at.clone_from(&at);
            let ended = ClosedEvent { connection, lifetime_seconds: seconds };
            let lost = LostEvent { at, stage, count: pid.into() };
            let texts = |style: &Style| {
                [header(style), line(&event, false, style), super::closed(&ended, style), super::lost(&lost, style)]
            };
            let painted = Style { color: true, ..style.clone() };
            let texts = [texts(&style), texts(&painted).map(|text| unpainted(&text))];
            prop_assert_eq!(&texts[0], &texts[1]);
            let [texts, _] = texts;
            for line in texts.iter().flat_map(|text| text.split('\n')) {
                prop_assert!(!line.contains(char::is_control), "{line:?}");
                prop_assert!(!line.ends_with(' '), "{line:?}");
                prop_assert!(unicode || line.is_ascii(), "{line:?}");
            }
        }
    }
}
