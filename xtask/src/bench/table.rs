//! The figures, for people.

use super::rounds::Verdict;

/// A line of the table.
#[derive(Debug)]
pub(super) struct Line {
    /// Whose.
    pub(super) name: &'static str,
    /// What the rounds say, or why there were none.
    pub(super) verdict: Result<Verdict, String>,
}

/// The table.
pub(super) fn text(lines: &[Line]) -> String {
    let mut text =
        row("", ["per second", "kept", "min - max", "events", "lost"].map(str::to_owned));
    for Line { name, verdict } in lines {
        let line = match verdict {
            Ok(verdict) => row(name, cells(verdict)),
            Err(why) => format!("{name:<16} {why}\n"),
        };
        text.push_str(&line);
    }
    text
}

fn cells(verdict: &Verdict) -> [String; 5] {
    let percent = |ratio: f64| format!("{:.1} %", ratio * 100.0);
    let Verdict { rate, kept, events } = verdict;
    let count = |of: Option<u64>| of.map_or_else(|| "-".into(), |count| count.to_string());
    [
        format!("{:.0}", rate.median),
        percent(kept.median),
        format!("{} - {}", percent(kept.min), percent(kept.max)),
        count(events.map(|events| events.seen)),
        count(events.map(|events| events.lost)),
    ]
}

fn row(name: &str, cells: [String; 5]) -> String {
    let [rate, kept, spread, seen, lost] = cells;
    format!("{name:<16} {rate:>10}  {kept:>8}  {spread:>18}  {seen:>9}  {lost:>6}\n")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{statistics::Spread, tracer::Events},
        *,
    };

    #[test]
    fn what_was_not_measured_has_no_number() {
        let kept = Spread { median: 0.931, min: 0.9, max: 1.0 };
        let rate = Spread { median: 21234.4, min: 20000.0, max: 22000.0 };
        let events = Some(Events { seen: 600_000, lost: 0 });
        let lines = [
            Line { name: "tcp-trace serve", verdict: Ok(Verdict { rate, kept, events }) },
            Line { name: "tcplife", verdict: Err("not installed".into()) },
        ];
        let expected =
            "                 per second      kept           min - max     events    lost
tcp-trace serve       21234    93.1 %    90.0 % - 100.0 %     600000       0
tcplife          not installed\n";
        assert_eq!(text(&lines), expected);
    }
}
