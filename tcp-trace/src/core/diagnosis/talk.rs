//! Figures as a person says them.

use std::{fmt::Write as _, time::Duration};

use super::finding::{Exhaustion, Grown, Growth};
pub(super) use crate::core::numbers::{count as number, counted};
use crate::core::{clock::Ts, event::Comm, sentence::span_text};

/// `812 of them`, `all of them`, `none of them`, `it` of one.
pub(super) fn share(part: u64, whole: u64) -> String {
    match (part, whole) {
        (1, 1) => "it".to_owned(),
        (0, _) => "none of them".to_owned(),
        (part, whole) if part == whole => format!("all {}", number(whole)),
        (part, _) => format!("{} of them", number(part)),
    }
}

/// Something a second, in the unit in which it is one at least.
pub(super) fn rate(per_second: f64) -> String {
    let units = [(1.0, "second"), (60.0, "minute"), (3_600.0, "hour"), (86_400.0, "day")];
    let fits = units.into_iter().find(|(seconds, _)| per_second * seconds >= 0.95);
    let (seconds, unit) = fits.unwrap_or((86_400.0, "day"));
    let value = per_second * seconds;
    if value < 9.95 { format!("{value:.1} per {unit}") } else { format!("{value:.0} per {unit}") }
}

/// `+4.2 per minute for 3 h`.
pub(super) fn growth(growth: &Growth) -> String {
    format!("+{} for {}", rate(growth.per_second), about(growth.over))
}

/// `+2.5 per second until 40 s ago, not growing since`.
pub(super) fn grown(grown: &Grown, now: Ts) -> String {
    let ago = about(now.since(grown.until));
    format!("+{} until {ago} ago, not growing since", rate(grown.growth.per_second))
}

/// A span without more figures than are worth anything.
pub(super) fn about(span: Duration) -> String {
    let text = span_text(span);
    match span.as_secs() {
        // `12 h 4 min`: from ten of a unit on the smaller one is noise.
        600..3_600 | 36_000..86_400 | 864_000.. => {
            text.split(' ').take(2).collect::<Vec<_>>().join(" ")
        }
        1..10 => text.replace(".0 s", " s"),
        _ => text
            .strip_suffix(" 0 min")
            .or(text.strip_suffix(" 0 s"))
            .map_or_else(|| text.clone(), str::to_owned),
    }
}

/// `runs out of file descriptors in about 12 h (1,215 of 4,096 in use)`.
pub(super) fn exhaustion(exhaustion: &Exhaustion) -> String {
    let Exhaustion { of, used, limit, left } = exhaustion;
    let (part, whole) = (number(*used), number(*limit));
    match left {
        _ if used >= limit => format!("all {whole} {of} are in use"),
        Some(left) => {
            format!("runs out of {of} in about {} ({part} of {whole} in use)", about(*left))
        }
        None => format!("{part} of {whole} {of} in use"),
    }
}

/// Parts of a whole as a percentage.
pub(super) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.095 {
        format!("{:.1} %", share * 100.0)
    } else {
        format!("{:.0} %", share * 100.0)
    }
}

/// A name and number.
pub(super) fn process(comm: Comm, pid: u32) -> String {
    format!("{} {pid}", comm.text())
}

/// Whether a process is one whose own settings advice can name.
pub(super) fn is_nginx(comm: Comm) -> bool {
    comm.text().starts_with("nginx")
}

/// `7, 9, 12, …`.
pub(super) fn numbers(numbers: impl IntoIterator<Item = i32>, more: bool) -> String {
    let mut text = String::new();
    for number in numbers {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a string has no way to fail.
        let _ = write!(text, "{separator}{number}");
    }
    if more { text + ", …" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_said_in_the_unit_that_fits() {
        let rows = [
            (405.0, "405 per second"),
            (1.0, "1.0 per second"),
            (0.07, "4.2 per minute"),
            (1.0 / 600.0, "6.0 per hour"),
            (1.0 / 86_400.0, "1.0 per day"),
            (0.0, "0.0 per day"),
        ];
        for (per_second, text) in rows {
            assert_eq!(rate(per_second), text);
        }
        assert_eq!(number(24_310), "24,310");
        assert_eq!((percent(0.861), percent(0.05)), ("86 %".to_owned(), "5.0 %".to_owned()));
        assert_eq!(numbers([7, 9], true), "7, 9, …");
    }

    #[test]
    fn spans_have_no_figure_too_many() {
        let rows = [
            (5, "5 s"),
            (42, "42 s"),
            (61, "1 min 1 s"),
            (120, "2 min"),
            (754, "12 min"),
            (11_520, "3 h 12 min"),
            (10_800, "3 h"),
            (43_560, "12 h"),
            (950_000, "10 d"),
        ];
        for (seconds, text) in rows {
            assert_eq!(about(Duration::from_secs(seconds)), text);
        }
    }
}
