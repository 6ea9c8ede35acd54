//! `watch --format tcpstates`: the columns of libbpf-tools' `tcpstates`, for scripts that read them.

use super::{Style, sanitize, words};
use crate::api::StateEvent;

/// The options of `tcpstates` and `tcplife` that change their columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns {
    /// `-w`: room for IPv6 addresses, 39 columns each as since release 0.29 (26 before).
    pub(crate) wide: bool,
    /// `-T`: the time of day first.
    pub(crate) time: bool,
}

/// The line above the others.
pub(crate) fn header(columns: Columns) -> String {
    let time = if columns.time { "TIME(s)  " } else { "" };
    let addresses = ["LADDR", "LPORT", "RADDR", "RPORT", "OLDSTATE"];
    let [laddr, lport, raddr, rport, old] = addresses;
    if columns.wide {
        format!(
            "{time}{:<16} {:<7} {:<16} {:<2} {laddr:<39} {lport:<5} {raddr:<39} {rport:<5} \
             {old:<11} -> {:<11} MS",
            "SKADDR", "PID", "COMM", "IP", "NEWSTATE"
        )
    } else {
        format!(
            "{time}{:<16} {:<7} {:<10} {laddr:<15} {lport:<5} {raddr:<15} {rport:<5} \
             {old:<11} -> {:<11} MS",
            "SKADDR", "PID", "COMM", "NEWSTATE"
        )
    }
}

/// A change of state. PID and COMM are whoever was on the CPU, as in that tool: often not the owner.
pub(crate) fn row(event: &StateEvent, columns: Columns, style: &Style) -> String {
    let connection = &event.connection;
    let (pid, comm) = event.current.as_ref().map_or((0, ""), |task| (task.pid, &*task.comm));
    let (time, socket, comm) =
        (time(&event.at, columns, style), sanitize(&event.socket), sanitize(comm));
    let (local, remote) = (&connection.local, &connection.remote);
    let (laddr, lport) = (local.addr.to_string(), local.port);
    let (raddr, rport) = (remote.addr.to_string(), remote.port);
    let (old, new) = (words::state(&event.from), words::state(&event.to));
    let (old, new) = (sanitize(&old), sanitize(&new));
    let micros = words::duration(event.in_state_seconds.unwrap_or(0.0)).as_micros();
    let ms = format!("{}.{:03}", micros / 1_000, micros % 1_000);
    if columns.wide {
        let family = if connection.family == "ipv4" { 4 } else { 6 };
        let comm = pad(&comm, 16);
        format!(
            "{time}{socket:<16} {pid:<7} {comm} {family:<2} {laddr:<39} {lport:<5} {raddr:<39} \
             {rport:<5} {old:<11} -> {new:<11} {ms}"
        )
    } else {
        let comm = pad(first_bytes(&comm, 10), 10);
        format!(
            "{time}{socket:<16} {pid:<7} {comm} {laddr:<15} {lport:<5} {raddr:<15} {rport:<5} \
             {old:<11} -> {new:<11} {ms}"
        )
    }
}

/// `HH:MM:SS ` where asked for.
pub(super) fn time(at: &str, columns: Columns, style: &Style) -> String {
    if columns.time {
        format!("{:>8} ", words::moment(at, "%H:%M:%S", style))
    } else {
        String::new()
    }
}

/// `text` with spaces up to `bytes`: C's printf counts bytes and not characters.
pub(super) fn pad(text: &str, bytes: usize) -> String {
    text.to_owned() + &" ".repeat(bytes.saturating_sub(text.len()))
}

/// As much of `text` as `bytes` hold, in whole characters.
fn first_bytes(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};
    use crate::api::Connection;

    const PLAIN: Columns = Columns { wide: false, time: false };
    const TIME: Columns = Columns { wide: false, time: true };
    const WIDE: Columns = Columns { wide: true, time: false };

    fn event() -> StateEvent {
        let mut event = change(
            Connection { state: "fin_wait1".to_owned(), ..curl() },
            "established",
            Some(0.100_426),
        );
        if let Some(task) = &mut event.current {
            "http-nio-8080-e".clone_into(&mut task.comm);
        }
        event
    }

    /// Lines of the tool itself.
    #[test]
    fn headers_are_the_tool_s() {
        let plain = "SKADDR           PID     COMM       LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS";
        assert_eq!(header(PLAIN), plain);
        assert_eq!(header(TIME), format!("TIME(s)  {plain}"));
        assert_eq!(
            header(WIDE),
            "SKADDR           PID     COMM             IP LADDR                                   LPORT \
             RADDR                                   RPORT OLDSTATE    -> NEWSTATE    MS"
        );
    }

    #[test]
    fn rows_are_the_tool_s() {
        let row_of = |columns| row(&event(), columns, &plain(80));
        let plain = "ffff8881023a8000 4411    http-nio-8 127.0.0.1       41822 127.0.0.1       8080  ESTABLISHED -> FIN_WAIT1   100.426";
        assert_eq!(row_of(PLAIN), plain);
        assert_eq!(row_of(TIME), format!("12:00:01 {plain}"));
        assert_eq!(
            row_of(WIDE),
            "ffff8881023a8000 4411    http-nio-8080-e  4  127.0.0.1                               41822 \
             127.0.0.1                               8080  ESTABLISHED -> FIN_WAIT1   100.426"
        );
    }

    #[test]
    fn what_is_unknown_is_zero_and_long_addresses_stand_out() {
        let mut event = change(six(), "listen", None);
        event.current = None;
        "c0ffee".clone_into(&mut event.socket);
        let text = "c0ffee           0                  2001:db8:85a3::8a2e:370:7334 443   \
                    2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 50122 LISTEN      -> ESTABLISHED 0.000";
        assert_eq!(row(&event, PLAIN, &plain(80)), text);
    }

    #[test]
    fn times_are_cut_to_microseconds_not_rounded() {
        let rows = [
            (0.000_061_999, "0.061"),
            (0.000_000_999, "0.000"),
            (0.000_061, "0.061"),
            (11_520.000_000_4, "11520000.000"),
        ];
        for (seconds, ms) in rows {
            let event = change(curl(), "syn_sent", Some(seconds));
            let row = row(&event, PLAIN, &plain(80));
            assert!(row.ends_with(&format!("-> ESTABLISHED {ms}")), "{row}");
        }
    }

    #[test]
    fn names_cannot_break_the_row() {
        let mut event = event();
        if let Some(task) = &mut event.current {
            "\x1b[2J\nd\u{e4}mon\u{e4}".clone_into(&mut task.comm);
        }
        "\x1b]0;x".clone_into(&mut event.socket);
        "esta\x07blished".clone_into(&mut event.from);
        let row = row(&event, PLAIN, &plain(80));
        let start = "]0;x             4411    [2J d\u{e4}mon 127.0.0.1";
        assert!(row.starts_with(start), "{row:?}");
        assert!(!row.contains(char::is_control), "{row:?}");
    }
}
