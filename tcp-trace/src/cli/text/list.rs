//! `list`: the connections of now as a table.

use std::borrow::Cow;

use super::{
    page::Page,
    style::{Paint, Style},
    table::{ADDRESS, Align, Column, PROCESS, fit, row},
    words,
};
use crate::{
    api::{Connection, ConnectionList},
    core::sentence::span_text,
};

/// All connections in the order given, and how many there are.
pub(crate) fn table(list: &ConnectionList, style: &Style) -> String {
    if list.connections.is_empty() {
        return nothing(list, style);
    }
    let mut columns = columns(&list.connections, style);
    let gap = fit(&mut columns, style, |room| process_column(&list.connections, room, style));
    let mut page = Page::new(style);
    row(&mut page, &columns, gap, |column| (Paint::Bold, column.title));
    for place in 0..list.connections.len() {
        row(&mut page, &columns, gap, |column| {
            column.cells.get(place).map_or((Paint::Plain, ""), |(paint, text)| (*paint, text))
        });
    }
    page.wrap(Paint::Dim, &total(list), 0);
    folding(&mut page, list);
    page.finish()
}

/// Whoever looks must know who cannot be seen.
fn folding(page: &mut Page<'_>, list: &ConnectionList) {
    if list.folding {
        let text = "Short connections are told in one record for now (tcp-trace status says why): \
                    those younger than a second are not shown.";
        page.newline().wrap(Paint::Dim, text, 0);
    }
}

fn nothing(list: &ConnectionList, style: &Style) -> String {
    let text = match list.total {
        0 => format!(
            "No connection matches. Without filters, {} shows all but listeners.",
            style.command.next("tcp-trace list")
        ),
        _ => total(list),
    };
    let mut page = Page::new(style);
    page.wrap(Paint::Plain, &text, 0);
    folding(&mut page, list);
    page.finish()
}

fn total(list: &ConnectionList) -> String {
    let shown = u64::try_from(list.connections.len()).unwrap_or(u64::MAX);
    let all = words::counted(list.total.max(shown), "connection");
    if shown < list.total {
        format!("{all}, {} shown: --limit 0 for all", words::count(shown))
    } else {
        all
    }
}

fn columns(connections: &[Connection], style: &Style) -> Vec<Column> {
    use Align::{Address, Left, Local, Right};
    let arrow = style.columns("→ ");
    let column = |title, align, rank, cell: &dyn Fn(&Connection) -> (Paint, String)| {
        Column::new(title, align, rank, connections.iter().map(cell).collect(), style)
    };
    let plain = |text: String| (Paint::Plain, text);
    let remote_title = if arrow == 2 { "  REMOTE" } else { "   REMOTE" };
    let mut columns = vec![
        column("ID", Left, 0, &|c| plain(c.id.clone())),
        column("STATE", Left, 0, &|c| (words::state_paint(&c.state), words::state(&c.state))),
        column("AGE", Right, 0, &|c| {
            plain(words::bounded_span(c.state_age_seconds, c.age_is_lower_bound))
        }),
        process_column(connections, usize::MAX, style),
        column("LOCAL", Local(ADDRESS), 0, &|c| plain(words::endpoint(&c.local))),
        column(remote_title, Address(ADDRESS + arrow), 0, &|c| plain(remote(c, arrow))),
        column("UNREAD", Right, 0, &unread),
        column("SENT", Right, 1, &|c| plain(words::bytes(c.bytes_sent))),
        column("RECEIVED", Right, 1, &|c| plain(words::bytes(c.bytes_received))),
        column("WAITS FOR", Left, 2, &|c| plain(waits_for(c).into_owned())),
        column("RTT", Right, 3, &|c| plain(round_trip(c))),
        column("RETRANS", Right, 3, &|c| {
            plain(c.retransmits.map_or_else(unknown, |count| words::count(count.into())))
        }),
    ];
    columns.retain(|c| c.rank == 0 || c.cells.iter().any(|(_, text)| text != words::UNKNOWN));
    columns
}

fn unknown() -> String {
    words::UNKNOWN.to_owned()
}

fn process_column(connections: &[Connection], room: usize, style: &Style) -> Column {
    let cell = |c: &Connection| (Paint::Plain, words::process(c.owner.as_ref(), room, style));
    Column::new(PROCESS, Align::Left, 0, connections.iter().map(cell).collect(), style)
}

/// The other end behind its arrow, which takes `arrow` columns.
fn remote(connection: &Connection, arrow: usize) -> String {
    if words::is_listener(connection) {
        return format!("{:arrow$}{}", "", words::endpoint(&connection.remote));
    }
    format!("{} {}", words::arrow(connection), words::endpoint(&connection.remote))
}

fn unread(connection: &Connection) -> (Paint, String) {
    if connection.closed_at.is_some() || connection.mini {
        // What stood there when the full socket ended is nothing to read any more.
        return (Paint::Plain, unknown());
    }
    match connection.recv_queue.as_ref().map(|queue| u64::from(queue.unread_bytes)) {
        Some(bytes @ 1..) => (Paint::Yellow, words::bytes(Some(bytes))),
        Some(0) => (Paint::Plain, "0".to_owned()),
        None => (Paint::Plain, unknown()),
    }
}

/// Whose move it is.
fn waits_for(connection: &Connection) -> Cow<'static, str> {
    let move_of_whom = match connection.state.as_str() {
        "close_wait" => match &connection.recv_queue {
            Some(queue) if queue.unread_bytes > 0 => "read(), then close()",
            _ => "close()",
        },
        "syn_sent" => "the peer's SYN-ACK",
        "syn_recv" | "new_syn_recv" => "the peer's ACK",
        "fin_wait1" | "closing" | "last_ack" => "ACK of our FIN",
        "fin_wait2" => "the peer's FIN",
        "time_wait" => return time_to_pass(connection).into(),
        _ => words::UNKNOWN,
    };
    move_of_whom.into()
}

/// What is left of `TIME_WAIT`, which lasts for a minute (`TCP_TIMEWAIT_LEN`).
fn time_to_pass(connection: &Connection) -> String {
    let left = (60.0 - connection.state_age_seconds).clamp(0.0, 60.0).ceil();
    let most = if connection.age_is_lower_bound { "at most " } else { "" };
    format!("{most}{left:.0} s to pass")
}

fn round_trip(connection: &Connection) -> String {
    connection
        .srtt_us
        .filter(|us| *us > 0)
        .map_or_else(unknown, |us| span_text(std::time::Duration::from_micros(us.into())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fixtures::*, *};

    fn some() -> ConnectionList {
        let slow = Connection {
            id: "3fa0".to_owned(),
            state_age_seconds: 4_000.0,
            age_is_lower_bound: true,
            remote: end("198.51.100.7:50122"),
            recv_queue: Some(crate::api::RecvQueue { unread_bytes: 5_300, fin_read: Some(false) }),
            ..java()
        };
        let listener = Connection {
            id: "1".to_owned(),
            state: "listen".to_owned(),
            state_age_seconds: 200_000.0,
            direction: "unknown".to_owned(),
            local: end("0.0.0.0:8080"),
            remote: end("0.0.0.0:0"),
            ..six()
        };
        ConnectionList {
            connections: vec![java(), slow, curl(), listener],
            total: 4,
            folding: false,
        }
    }

    #[test]
    fn eighty_columns_hold_what_matters_most() {
        let text = "\
ID   STATE               AGE PROCESS   LOCAL    REMOTE             UNREAD
3f9c CLOSE_WAIT   3 h 12 min java 2207 :8080  ← 127.0.0.1:41822         0
3fa0 CLOSE_WAIT  ≥ 1 h 6 min java 2207 :8080  ← 198.51.100.7:50122 5.3 kB
3f9b ESTABLISHED      8.1 ms curl 4411 :41822 → 127.0.0.1:8080          0
1    LISTEN          2 d 7 h -         :8080    *                       -
4 connections";
        assert_eq!(table(&some(), &plain(80)), text);
        let text = "\
ID   STATE               AGE PROCESS   LOCAL             REMOTE             UNREAD
3f9c CLOSE_WAIT   3 h 12 min java 2207 127.0.0.1:8080  ← 127.0.0.1:41822         0
3fa0 CLOSE_WAIT  ≥ 1 h 6 min java 2207 127.0.0.1:8080  ← 198.51.100.7:50122 5.3 kB
3f9b ESTABLISHED      8.1 ms curl 4411 127.0.0.1:41822 → 127.0.0.1:8080          0
1    LISTEN          2 d 7 h -         0.0.0.0:8080      *                       -
4 connections";
        assert_eq!(table(&some(), &plain(82)), text);
    }

    #[test]
    fn a_wider_terminal_shows_more() {
        let text = "\
ID   STATE               AGE PROCESS   LOCAL             REMOTE             UNREAD   SENT RECEIVED WAITS FOR
3f9c CLOSE_WAIT   3 h 12 min java 2207 127.0.0.1:8080  ← 127.0.0.1:41822         0 1.9 kB    412 B close()
3fa0 CLOSE_WAIT  ≥ 1 h 6 min java 2207 127.0.0.1:8080  ← 198.51.100.7:50122 5.3 kB 1.9 kB    412 B read(), then close()
3f9b ESTABLISHED      8.1 ms curl 4411 127.0.0.1:41822 → 127.0.0.1:8080          0  412 B   1.9 kB -
1    LISTEN          2 d 7 h -         0.0.0.0:8080      *                       -      -        - -
4 connections";
        assert_eq!(table(&some(), &plain(120)), text);
    }

    #[test]
    fn the_widest_shows_all() {
        let text = "\
ID    STATE                 AGE  PROCESS    LOCAL               REMOTE              UNREAD    SENT  RECEIVED  WAITS FOR               RTT  RETRANS
3f9c  CLOSE_WAIT     3 h 12 min  java 2207  127.0.0.1:8080   <- 127.0.0.1:41822          0  1.9 kB     412 B  close()               61 us        0
3fa0  CLOSE_WAIT   >= 1 h 6 min  java 2207  127.0.0.1:8080   <- 198.51.100.7:50122  5.3 kB  1.9 kB     412 B  read(), then close()  61 us        0
3f9b  ESTABLISHED        8.1 ms  curl 4411  127.0.0.1:41822  -> 127.0.0.1:8080           0   412 B    1.9 kB  -                     61 us        0
1     LISTEN            2 d 7 h  -          0.0.0.0:8080        *                        -       -         -  -                         -        -
4 connections";
        assert_eq!(table(&some(), &ascii(200)), text);
    }

    #[test]
    fn of_what_is_over_nothing_is_unread() {
        let unread = |connection: Connection| unread(&connection).1;
        let queue = Some(crate::api::RecvQueue { unread_bytes: 5, fin_read: None });
        assert_eq!(unread(Connection { recv_queue: queue.clone(), ..java() }), "5 B");
        let mini = Connection { mini: true, recv_queue: queue.clone(), ..java() };
        assert_eq!(unread(mini), "-");
        assert_eq!(unread(Connection { recv_queue: queue, ..ended("rst_received", None) }), "-");
    }

    #[test]
    fn one_long_address_does_not_widen_every_line() {
        let mut list = some();
        list.connections.truncate(1);
        list.connections.push(six());
        list.total = 812;
        let text = "\
ID   STATE              AGE PROCESS   LOCAL                   REMOTE                UNREAD
3f9c CLOSE_WAIT  3 h 12 min java 2207 127.0.0.1:8080        ← 127.0.0.1:41822            0
40   ESTABLISHED 3 h 12 min -         [2001:db8:85a3::8a2e:370:7334]:443 ← [2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:50122 -
812 connections, 2 shown: --limit 0 for all";
        assert_eq!(table(&list, &plain(90)), text);
    }

    #[test]
    fn long_names_are_cut_before_columns_go() {
        let mut list = some();
        list.connections.truncate(2);
        if let Some(connection) = list.connections.first_mut() {
            connection.owner = Some(owner("http-nio-8080-e", 4_194_303));
        }
        let shown = table(&list, &plain(105));
        assert!(shown.contains(" http-nio-… 4194303 127.0.0.1:8080 "), "{shown}");
        assert!(shown.contains("RECEIVED"), "{shown}");
        assert!(shown.lines().all(|line| plain(105).columns(line) <= 105), "{shown}");
    }

    #[test]
    fn nothing_is_said_calmly() {
        let text =
            "No connection matches. Without filters, tcp-trace list shows all but listeners.";
        let list = ConnectionList::default();
        assert_eq!(table(&list, &plain(80)), text);
        let list = ConnectionList { total: 24_310, ..ConnectionList::default() };
        assert_eq!(table(&list, &plain(80)), "24,310 connections, 0 shown: --limit 0 for all");
    }

    #[test]
    fn colour_marks_the_leak_and_its_unread_data() {
        let shown = table(&some(), &colour(120));
        let painted = "3fa0 \x1b[33mCLOSE_WAIT\x1b[0m  ≥ 1 h 6 min java 2207 127.0.0.1:8080  ← \
                       198.51.100.7:50122 \x1b[33m5.3 kB\x1b[0m 1.9 kB";
        assert!(shown.contains(painted), "{shown:?}");
    }

    proptest! {
        #[test]
        fn no_line_contains_control_characters(
            comm in hostile(), state in hostile(), id in hostile(),
            age in any::<f64>(), unread in any::<u32>(), sent in any::<u64>(),
            width in 0usize..300, unicode in any::<bool>(),
        ) {
            let style = Style { unicode, ..plain(width) };
            let hostile = Connection {
                id, state, state_age_seconds: age, bytes_sent: Some(sent),
                owner: Some(owner(&comm, unread)),
                recv_queue: Some(crate::api::RecvQueue { unread_bytes: unread, fin_read: None }),
                ..six()
            };
            let list = ConnectionList { connections: vec![hostile, java()], total: sent, folding: false };
            let painted = Style { color: true, ..style.clone() };
            prop_assert_eq!(table(&list, &style), unpainted(&table(&list, &painted)));
            for line in table(&list, &style).split('\n') {
                prop_assert!(!line.contains(char::is_control), "{line:?}");
                prop_assert!(!line.ends_with(' '), "{line:?}");
                prop_assert!(unicode || line.is_ascii(), "{line:?}");
            }
        }
    }
}
