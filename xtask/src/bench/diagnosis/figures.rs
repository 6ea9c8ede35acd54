//! The figures, and the figures for people beside what they are to reach.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    super::{machine::Machine, statistics::Spread},
    asking::Told,
    leak::Grown,
};

/// Most seconds that a diagnosis may take.
const SECONDS: f64 = 1.0;
/// How far the estimate of the growth may be off.
const OFF: f64 = 0.05;

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::bench) struct Figures {
    /// On what.
    pub(super) machine: Machine,
    /// Sockets that were leaked.
    pub(super) count: u32,
    /// Those in `CLOSE_WAIT` by the kernel's list.
    pub(super) there: u64,
    /// How they came to be.
    pub(super) grown: Grown,
    /// What was said meanwhile.
    pub(super) looks: Vec<Look>,
    /// The growth that was told when the last had leaked.
    pub(super) told: Option<f64>,
    /// What is told of all of them once they are old.
    pub(super) found: Told,
    /// How long `/api/v1/diagnosis` took, each time.
    pub(super) api_seconds: Vec<f64>,
    /// How long `tcp-trace diagnose --json` took, each time.
    pub(super) diagnose_seconds: Vec<f64>,
    /// How long small questions had to wait, ascending.
    pub(super) waits: Vec<f64>,
    /// The daemon's share of a processor while the leak grew.
    pub(super) cpu_growing: f64,
    /// Likewise with nothing but all these sockets, over a round at least.
    pub(super) cpu_at_rest: f64,
    /// The daemon's memory without sockets, in bytes.
    pub(super) memory_before: u64,
    /// With all of them.
    pub(super) memory: u64,
    /// The most it ever had.
    pub(super) memory_most: u64,
    /// Events lost.
    pub(super) lost: u64,
}

/// What was said at one moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Look {
    /// Seconds since the leak began.
    pub(super) at: f64,
    /// How many it saw.
    pub(super) close_wait: u64,
    /// What growth it told.
    pub(super) growth: Option<f64>,
    /// How long that took.
    pub(super) seconds: f64,
}

/// A moment's line.
pub(super) fn look(close_wait: u64, growth: Option<f64>, seconds: f64) -> String {
    let growth = growth.map_or_else(|| "no growth".into(), |growth| format!("+{growth:.1}/s"));
    format!("{close_wait} in a finding, {growth}, told in {}", milliseconds(seconds))
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "memory: far below 2^53 bytes")]
fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

impl Figures {
    /// How far the told growth is off the truth.
    fn off(&self) -> Option<f64> {
        self.told.map(|told| (told / self.grown.per_second - 1.0).abs())
    }

    /// On what.
    pub(in crate::bench) const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Sockets that were leaked.
    pub(in crate::bench) const fn count(&self) -> u32 {
        self.count
    }

    /// For people.
    pub(in crate::bench) fn text(&self) -> String {
        let (mut text, mut missed) = (String::new(), Vec::new());
        let mut line = |name: &str, figure: String| {
            let _ = writeln!(text, "{name:<34} {figure}");
        };
        for (name, seconds) in [
            ("tcp-trace diagnose --json", &self.diagnose_seconds),
            ("/api/v1/diagnosis", &self.api_seconds),
        ] {
            let Some(spread) = Spread::of(seconds.iter().copied()) else { continue };
            let [median, min, max] = [spread.median, spread.min, spread.max].map(milliseconds);
            line(name, format!("{median}, median of {} ({min} - {max})", seconds.len()));
            if spread.median >= SECONDS {
                missed.push(format!("{name} takes {median}, and should less than {SECONDS} s"));
            }
        }
        let off = self.off();
        let told = match (self.told, off) {
            (Some(told), Some(off)) => format!(
                "+{told:.1}/s, and it was {:.1}/s: {:.2} % off",
                self.grown.per_second,
                off * 100.0
            ),
            _ => "not told".to_owned(),
        };
        line("growth", told.clone());
        if off.is_none_or(|off| off > OFF) {
            missed.push(format!("growth: {told}; it should be {:.0} % at most", OFF * 100.0));
        }
        let Told { leaks, close_wait, old, held_by, descriptors, .. } = &self.found;
        let there = self.there;
        line("found", format!("{close_wait} of {there}, {old} of them old; findings: {leaks}"));
        if *close_wait != there || *old != there {
            missed.push("not all of them were found".to_owned());
        }
        if there * 100 < u64::from(self.count) * 99 {
            missed.push(format!("of {} only {there} were there in the end", self.count));
        }
        line("held by", held_by.clone().unwrap_or_else(|| "not told".to_owned()));
        if held_by.is_none() {
            missed.push("nobody is told of who holds them".to_owned());
        }
        if let Some((used, limit)) = descriptors {
            line("descriptors", format!("{used} of {limit}"));
        }
        let (middle, most) = (self.waits.get(self.waits.len() / 2), self.waits.last());
        if let (Some(middle), Some(most)) = (middle, most) {
            let [middle, most] = [*middle, *most].map(milliseconds);
            line("a small question meanwhile", format!("{middle}, at most {most}"));
        }
        let [growing, rest] =
            [self.cpu_growing, self.cpu_at_rest].map(|share| format!("{:.1} %", share * 100.0));
        line("the daemon's CPU", format!("{growing} while it grew, {rest} afterwards"));
        let [before, now, most] =
            [self.memory_before, self.memory, self.memory_most].map(megabytes);
        line("the daemon's memory", format!("{now}, at most {most}; {before} before"));
        line("events lost", self.lost.to_string());
        text.push('\n');
        if missed.is_empty() {
            text.push_str("every target is reached\n");
        }
        for line in missed {
            let _ = writeln!(text, "MISSED: {line}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            machine: Machine::here(),
            count: 1_000,
            there: 1_000,
            grown: Grown { seconds: 10.0, per_second: 100.0, behind: 0.0 },
            looks: Vec::new(),
            told: Some(103.0),
            found: Told {
                leaks: 1,
                close_wait: 1_000,
                old: 1_000,
                held_by: Some("x 7 as fd 3".to_owned()),
                ..Told::default()
            },
            api_seconds: vec![0.2, 0.1, 0.9],
            diagnose_seconds: vec![0.3],
            waits: vec![0.001, 0.002, 0.1],
            cpu_growing: 0.25,
            cpu_at_rest: 0.01,
            memory_before: 10_000_000,
            memory: 99_000_000,
            memory_most: 120_000_000,
            lost: 0,
        }
    }

    #[test]
    fn figures_stand_beside_what_they_are_to_reach() {
        let text = figures().text();
        for words in [
            "300.0 ms, median of 1",
            "200.0 ms, median of 3 (100.0 ms - 900.0 ms)",
            "+103.0/s, and it was 100.0/s: 3.00 % off",
            "1000 of 1000, 1000 of them old",
            "2.0 ms, at most 100.0 ms",
            "99 MB, at most 120 MB; 10 MB before",
            "every target is reached",
        ] {
            assert!(text.contains(words), "{words:?} in {text}");
        }
    }

    #[test]
    fn what_is_missed_is_said() {
        let mut figures = figures();
        figures.told = Some(94.0);
        figures.diagnose_seconds = vec![1.5];
        figures.found.old = 999;
        figures.found.held_by = None;
        let text = figures.text();
        assert_eq!(text.matches("MISSED").count(), 4, "{text}");
        figures.told = None;
        assert!(figures.text().contains("growth: not told"), "{}", figures.text());
    }
}
