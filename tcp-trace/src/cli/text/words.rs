//! Words that several screens share.

pub(super) use crate::core::numbers::{count, counted};
use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;

use super::{
    sanitize,
    style::{Paint, Style},
};
use crate::{
    api::{Connection, Endpoint, Owner},
    core::sentence::{bytes_text, span_text},
};

/// What stands where nothing is known.
pub(super) const UNKNOWN: &str = "-";

/// Seconds as a duration; what is no length of time is none.
pub(super) fn duration(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}

/// Seconds as a person says them.
pub(super) fn span(seconds: f64) -> String {
    span_text(duration(seconds))
}

/// A length of time that may be a lower bound only.
pub(super) fn bounded_span(seconds: f64, lower_bound: bool) -> String {
    if lower_bound { format!("≥ {}", span(seconds)) } else { span(seconds) }
}

/// Likewise, in a sentence.
pub(super) fn bounded_words(seconds: f64, lower_bound: bool) -> String {
    if lower_bound { format!("at least {}", span(seconds)) } else { span(seconds) }
}

/// A moment on this style's clock, as `format` says; [`UNKNOWN`] where `at` is no moment.
pub(super) fn moment(at: &str, format: &str, style: &Style) -> String {
    at.parse::<Timestamp>().map_or_else(
        |_| UNKNOWN.to_owned(),
        |at| at.to_zoned(style.zone.clone()).strftime(format).to_string(),
    )
}

/// `HH:MM:SS.mmm`.
pub(super) fn clock(at: &str, style: &Style) -> String {
    moment(at, "%H:%M:%S%.3f", style)
}

/// Bytes, where known.
pub(super) fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| UNKNOWN.to_owned(), bytes_text)
}

/// An address and port; `*` for the other end of a listener.
pub(super) fn endpoint(end: &Endpoint) -> String {
    if end.port == 0 && end.addr.is_unspecified() {
        return "*".to_owned();
    }
    SocketAddr::new(end.addr, end.port).to_string()
}

/// Which way the connection was opened.
pub(super) fn arrow(connection: &Connection) -> &'static str {
    match connection.direction.as_str() {
        "inbound" => "←",
        "outbound" => "→",
        _ => "·",
    }
}

/// A state as the kernel spells it.
pub(super) fn state(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// How a state is painted.
pub(super) fn state_paint(name: &str) -> Paint {
    match name {
        "established" => Paint::Green,
        "close_wait" => Paint::Yellow,
        "syn_sent" | "syn_recv" | "new_syn_recv" | "listen" => Paint::Cyan,
        "close" => Paint::Dim,
        _ => Paint::Plain,
    }
}

/// Name and number of the owner in at most `columns`: the name gives way, the number never.
pub(super) fn process(owner: Option<&Owner>, columns: usize, style: &Style) -> String {
    /// Short of this a name says nothing.
    const NAME_MIN: usize = 3;
    let Some(owner) = owner else { return UNKNOWN.to_owned() };
    let pid = owner.pid.to_string();
    let room = columns.saturating_sub(pid.len() + 1).max(NAME_MIN);
    format!("{} {pid}", style.cut(name(owner), room))
}

/// The owner's name; never empty, so that columns stay apart.
fn name(owner: &Owner) -> &str {
    if sanitize(&owner.comm).trim().is_empty() { "?" } else { &owner.comm }
}

/// The process to speak of in a sentence, without its number.
pub(super) fn who(connection: &Connection) -> &str {
    connection.owner.as_ref().map_or("the process", name)
}

/// Whether this is a listening socket and no connection.
pub(super) fn is_listener(connection: &Connection) -> bool {
    connection.remote.port == 0
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    #[test]
    fn seconds_of_any_kind_are_lengths_of_time() {
        let rows = [
            (0.000_061, "61 µs"),
            (-1.0, "0 µs"),
            (f64::NAN, "0 µs"),
            (11_520.0, "3 h 12 min"),
            (f64::INFINITY, "213503982334601 d 7 h"),
        ];
        for (seconds, text) in rows {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(bounded_span(42.0, true), "≥ 42 s");
    }

    #[test]
    fn numbers_have_commas() {
        let rows = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (24_310, "24,310"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ];
        for (number, text) in rows {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "connection"), "1 connection");
        assert_eq!(counted(2, "connection"), "2 connections");
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let mut style = fixtures::plain(80);
        assert_eq!(clock("2026-03-01T12:00:01.482999999Z", &style), "12:00:01.482");
        style.zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(-5));
        assert_eq!(clock("2026-03-01T12:00:01.482Z", &style), "07:00:01.482");
        assert_eq!(clock("yesterday", &style), "-");
    }

    #[test]
    fn the_number_of_a_process_is_never_cut() {
        let style = fixtures::plain(80);
        let mut owner = fixtures::owner("http-nio-8080-e", 4_194_303);
        assert_eq!(process(Some(&owner), 23, &style), "http-nio-8080-e 4194303");
        assert_eq!(process(Some(&owner), 14, &style), "http-… 4194303");
        assert_eq!(process(Some(&owner), 2, &style), "ht… 4194303");
        " \x1b".clone_into(&mut owner.comm);
        assert_eq!(process(Some(&owner), 14, &style), "? 4194303");
        assert_eq!(process(None, 14, &style), "-");
    }
}
