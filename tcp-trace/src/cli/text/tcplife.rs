//! `watch --format tcplife`: the columns of libbpf-tools' `tcplife`, for scripts that read them.

use super::{
    Style, sanitize,
    tcpstates::{Columns, pad, time},
    words,
};
use crate::api::{ClosedEvent, Connection, Step};

/// The line above the others.
pub(crate) fn header(columns: Columns) -> String {
    let (time, width) = (if columns.time { "TIME(s)  " } else { "" }, address_width(columns));
    format!(
        "{time}{:<7} {:<16} {:<width$} {:<5} {:<width$} {:<5} {:<6} {:<6} MS",
        "PID", "COMM", "LADDR", "LPORT", "RADDR", "RPORT", "TX_KB", "RX_KB"
    )
}

/// A connection that ended; `None` for a listener, of which that tool says nothing.
pub(crate) fn row(event: &ClosedEvent, columns: Columns, style: &Style) -> Option<String> {
    let connection = &event.connection;
    if words::is_listener(connection) {
        return None;
    }
    let at = connection.closed_at.as_deref().unwrap_or_default();
    let (time, width) = (time(at, columns, style), address_width(columns));
    let (pid, comm) = connection.owner.as_ref().map_or((0, ""), |owner| (owner.pid, &*owner.comm));
    let comm = pad(&sanitize(comm), 16);
    let (local, remote) = (&connection.local, &connection.remote);
    let (laddr, raddr) = (local.addr.to_string(), remote.addr.to_string());
    let (lport, rport) = (local.port, remote.port);
    let (sent, received) = (kibi(connection.bytes_sent), kibi(connection.bytes_received));
    let ms = milliseconds(event);
    Some(format!(
        "{time}{pid:<7} {comm} {laddr:<width$} {lport:<5} {raddr:<width$} {rport:<5} {sent:<6.2} \
         {received:<6.2} {ms:.2}"
    ))
}

fn address_width(columns: Columns) -> usize {
    if columns.wide { 39 } else { 15 }
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown, as that tool shows them")]
fn kibi(bytes: Option<u64>) -> f64 {
    bytes.unwrap_or(0) as f64 / 1024.0
}

/// That tool counts from the last state before any FIN (its handshake is not part of a life), in
/// whole microseconds.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown, as that tool shows them")]
fn milliseconds(event: &ClosedEvent) -> f64 {
    let micros = established_micros(&event.connection)
        .map_or_else(|| words::duration(event.lifetime_seconds).as_micros(), u128::from);
    micros as f64 / 1_000.0
}

/// From the last step into a state before any FIN to the end; `None` where either was not seen.
fn established_micros(connection: &Connection) -> Option<u64> {
    let steps = connection.timeline.as_deref()?;
    let last_into = |states: &[&str]| {
        let into = |step: &&Step| step.to.as_deref().is_some_and(|to| states.contains(&to));
        steps.iter().rev().find(into).map(|step| step.offset_us)
    };
    last_into(&["close"])?.checked_sub(last_into(&["established", "syn_sent", "syn_recv"])?)
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    const PLAIN: Columns = Columns { wide: false, time: false };
    const TIME: Columns = Columns { wide: false, time: true };
    const WIDE: Columns = Columns { wide: true, time: false };

    /// Lines of the tool itself.
    #[test]
    fn headers_are_the_tool_s() {
        let plain =
            "PID     COMM             LADDR           LPORT RADDR           RPORT TX_KB  RX_KB  MS";
        assert_eq!(header(PLAIN), plain);
        assert_eq!(header(TIME), format!("TIME(s)  {plain}"));
        assert_eq!(
            header(WIDE),
            "PID     COMM             LADDR                                   LPORT \
             RADDR                                   RPORT TX_KB  RX_KB  MS"
        );
    }

    #[test]
    fn rows_are_the_tool_s() {
        let event = closed_event(ended("fin_active", Some("local")));
        let row_of = |columns| row(&event, columns, &plain(80)).unwrap();
        let plain = "4411    curl             127.0.0.1       41822 127.0.0.1       8080  0.40   1.86   12.00";
        assert_eq!(row_of(PLAIN), plain);
        assert_eq!(row_of(TIME), format!("12:00:01 {plain}"));
        assert_eq!(
            row_of(WIDE),
            "4411    curl             127.0.0.1                               41822 \
             127.0.0.1                               8080  0.40   1.86   12.00"
        );
    }

    #[test]
    fn what_is_unknown_is_zero() {
        let event = closed_event(Connection { closed_at: None, ..six() });
        let text = "-        0                        2001:db8:85a3::8a2e:370:7334 443   \
                    2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 50122 0.00   0.00   12.00";
        let text = format!("{:>8}{}", "-", text.get(8..).unwrap());
        assert_eq!(row(&event, TIME, &plain(80)), Some(text));
    }

    #[test]
    fn a_life_begins_where_the_tool_says() {
        let mut event = closed_event(ended("fin_active", Some("local")));
        event.connection.timeline = Some(vec![
            step(0, "close", "syn_sent", ""),
            step(94, "syn_sent", "established", ""),
            step(5_000, "established", "fin_wait1", ""),
            step(8_219, "fin_wait1", "close", ""),
        ]);
        let ms = |event: &ClosedEvent| {
            row(event, PLAIN, &plain(80))
                .and_then(|row| row.split(' ').next_back().map(str::to_owned))
        };
        // 8.125 is exact in binary: printf rounds such halves to the even digit.
        assert_eq!(ms(&event).as_deref(), Some("8.12"));
        event.connection.timeline =
            Some(vec![mark(0, "found", ""), step(9, "last_ack", "close", "")]);
        assert_eq!(ms(&event).as_deref(), Some("12.00"));
    }

    #[test]
    fn listeners_have_no_row_and_names_cannot_break_one() {
        let mut connection = Connection { remote: end("0.0.0.0:0"), ..ended("unknown", None) };
        assert_eq!(row(&closed_event(connection.clone()), PLAIN, &plain(80)), None);
        connection.remote = end("10.0.0.1:80");
        connection.owner = Some(owner("\x1b[31mx\ny", 1));
        let row = row(&closed_event(connection), PLAIN, &plain(80)).unwrap();
        assert!(row.starts_with("1       [31mx y          127.0.0.1"), "{row:?}");
    }
}
