//! The matrix for people: features down, kernels across, one block for each backend.

use std::{collections::BTreeSet, fmt::Write as _};

use super::verdict::{Ended, RunVerdict, Verdict};

/// Width of a feature's name.
const NAME: usize = 14;

/// Reasons, numbered in the order of their first use.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    /// The mark that refers to `text`.
    fn mark(&mut self, text: String) -> String {
        let at = self.0.iter().position(|note| *note == text).unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        });
        format!("[{}]", at + 1)
    }
}

/// The whole table with its notes.
pub(super) fn text(verdicts: &[Verdict]) -> String {
    let mut notes = Notes::default();
    let mut text = String::new();
    for backend in backends(verdicts) {
        text.push_str(&block(backend, verdicts, &mut notes));
        text.push('\n');
    }
    let seconds = verdicts.iter().map(|verdict| format!("{:.0} s", verdict.seconds)).collect();
    text.push_str(&rows(&[("time".to_owned(), seconds)]));
    for (number, note) in notes.0.iter().enumerate() {
        let _ = writeln!(text, "[{}] {note}", number + 1);
    }
    text
}

fn backends(verdicts: &[Verdict]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for run in verdicts.iter().flat_map(|verdict| &verdict.runs) {
        if !found.contains(&run.backend.as_str()) {
            found.push(&run.backend);
        }
    }
    found
}

fn block(backend: &str, verdicts: &[Verdict], notes: &mut Notes) -> String {
    let heads = verdicts.iter().map(|verdict| verdict.line.clone()).collect();
    let mut lines = vec![(backend.to_owned(), heads)];
    let mut features: BTreeSet<String> = verdicts
        .iter()
        .filter_map(|verdict| run_of(verdict, backend))
        .flat_map(|run| run.tests.iter().map(|test| feature(&test.name)))
        .collect();
    // What the program says of itself, it says of the way that it chooses by itself.
    let is_whole = Some(&backend) == backends(verdicts).first();
    if is_whole {
        let reduced = verdicts.iter().flat_map(|verdict| &verdict.reduced);
        features.extend(reduced.map(|reduced| plain(&reduced.feature)));
    }
    for feature in features {
        let cells = verdicts.iter().map(|verdict| {
            let mut cell = cell(&feature, run_of(verdict, backend), notes);
            for reduced in verdict.reduced.iter().filter(|_| is_whole) {
                if plain(&reduced.feature) == feature {
                    let mark = notes.mark(format!("{}: {}", reduced.feature, reduced.reason));
                    cell.push(format!("degraded {mark}"));
                }
            }
            if cell.is_empty() { "-".to_owned() } else { cell.join(", ") }
        });
        let cells = cells.collect();
        lines.push((feature, cells));
    }
    rows(&lines)
}

fn run_of<'a>(verdict: &'a Verdict, backend: &str) -> Option<&'a RunVerdict> {
    verdict.runs.iter().find(|run| run.backend == backend)
}

/// What the tests of a feature came to.
fn cell(feature_name: &str, run: Option<&RunVerdict>, notes: &mut Notes) -> Vec<String> {
    let (mut passed, mut failed, mut absent) = (0, 0, BTreeSet::new());
    let mut again = 0;
    let tests = run.into_iter().flat_map(|run| &run.tests);
    for test in tests.filter(|test| feature(&test.name) == feature_name) {
        again += usize::from(test.again && test.ended == Ended::Pass);
        match &test.ended {
            Ended::Pass => passed += 1,
            Ended::Fail => failed += 1,
            Ended::Absent { below, reason } => {
                absent.insert(notes.mark(format!("absent below {below}: {reason}")));
            }
        }
    }
    let mut cell = Vec::new();
    if failed > 0 {
        cell.push(format!("FAIL {failed}"));
    }
    if passed > 0 && again > 0 {
        cell.push(format!("pass {passed} ({again} at the second try)"));
    } else if passed > 0 {
        cell.push(format!("pass {passed}"));
    }
    if !absent.is_empty() {
        cell.push(format!("absent {}", absent.into_iter().collect::<String>()));
    }
    cell
}

/// The test's module.
fn feature(test: &str) -> String {
    test.split("::").next().unwrap_or_default().to_owned()
}

/// A feature's name as a module would have it.
fn plain(feature: &str) -> String {
    feature.to_lowercase().replace([' ', '-'], "_")
}

/// Names and cells in columns, each as wide as it must be.
fn rows(lines: &[(String, Vec<String>)]) -> String {
    let columns = lines.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|(_, cells)| cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(8)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |(name, cells): &(String, Vec<String>)| {
        let cells = cells.iter().zip(&widths);
        let line = cells.fold(format!("{name:<NAME$}"), |mut line, (cell, width)| {
            let _ = write!(line, "  {cell:<width$}");
            line
        });
        line.trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::verdict::{Reduced, Test},
        *,
    };

    fn test(name: &str, ended: Ended) -> Test {
        Test { name: name.into(), ended, seconds: 1.0, again: false }
    }

    fn verdict(line: &str, ended: Ended) -> Verdict {
        let tests = vec![test("reset::one", Ended::Pass), test("snapshot::two", ended)];
        let run = |backend: &str, tests: &[Test]| RunVerdict {
            backend: backend.into(),
            tests: tests.to_vec(),
            words: String::new(),
        };
        let reduced = Reduced {
            feature: "TIME_WAIT".into(),
            reason: "no hooks".into(),
            loses: String::new(),
        };
        Verdict {
            line: line.into(),
            seconds: 61.2,
            runs: vec![run("auto", &tests), run("kprobe", &tests[..1])],
            reduced: vec![reduced],
            ..Verdict::default()
        }
    }

    #[test]
    fn what_is_not_whole_has_its_reason_below() {
        let absent = Ended::Absent { below: "5.12".into(), reason: "cookies".into() };
        let table = text(&[verdict("5.10", absent), verdict("6.1", Ended::Fail)]);
        let expected = "\
auto            5.10          6.1
reset           pass 1        pass 1
snapshot        absent [1]    FAIL 1
time_wait       degraded [2]  degraded [2]

kprobe          5.10      6.1
reset           pass 1    pass 1

time            61 s      61 s
[1] absent below 5.12: cookies
[2] TIME_WAIT: no hooks
";
        assert_eq!(table, expected);
    }
}
