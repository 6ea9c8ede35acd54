//! Outcomes of steps, and the table of them.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Setting, steps::Step};

/// What came of a step that could be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well; what was checked, where that is worth a word.
    Passed(String),
    /// Not taken, and why.
    LeftOut(String),
}

/// Most characters of a note in the table.
const NOTE: usize = 100;

#[derive(Debug)]
struct Row {
    name: &'static str,
    /// An error is a failure, and why.
    outcome: Result<Outcome, String>,
    took: Duration,
}

/// What came of all steps.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Row>);

impl Report {
    /// Takes a step.
    pub(super) fn take(&mut self, step: Step, setting: &Setting<'_>) {
        println!("\n== {}", step.name);
        let start = Instant::now();
        let outcome = (step.take)(setting).map_err(|error| format!("{error:#}"));
        match &outcome {
            Ok(Outcome::Passed(_)) => {}
            Ok(Outcome::LeftOut(why)) => println!("left out: {why}"),
            Err(why) => println!("FAILED: {why}"),
        }
        self.0.push(Row { name: step.name, outcome, took: start.elapsed() });
    }

    /// Whether nothing failed.
    pub(super) fn is_good(&self) -> bool {
        self.count(Result::is_err) == 0
    }

    fn count(&self, is: impl Fn(&Result<Outcome, String>) -> bool) -> usize {
        self.0.iter().filter(|row| is(&row.outcome)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\n{:<15} {:<9} {:>7}", "step", "result", "seconds")?;
        for Row { name, outcome, took } in &self.0 {
            let (result, note) = match outcome {
                Ok(Outcome::Passed(note)) => ("passed", note),
                Ok(Outcome::LeftOut(why)) => ("left out", why),
                Err(why) => ("FAILED", why),
            };
            let seconds = took.as_secs_f64();
            // The whole of it stands with its step.
            let note: String = note.lines().next().unwrap_or_default().chars().take(NOTE).collect();
            let line = format!("{name:<15} {result:<9} {seconds:>7.1}  {note}");
            writeln!(formatter, "{}", line.trim_end())?;
        }
        let left_out = self.count(|outcome| matches!(outcome, Ok(Outcome::LeftOut(_))));
        if left_out > 0 {
            let verb = if left_out == 1 { "step was" } else { "steps were" };
            writeln!(formatter, "\n{left_out} {verb} left out, which is not a pass.")?;
        }
        let passed = self.count(|outcome| matches!(outcome, Ok(Outcome::Passed(_))));
        let failed = self.count(Result::is_err);
        writeln!(formatter, "\n{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::{checkout::Checkout, test::Args};

    #[test]
    fn the_last_line_counts_and_what_was_left_out_is_no_pass() {
        let args = Args { unprivileged: true, strict: false, filter: None };
        let setting = Setting { args: &args, checkout: &Checkout::own() };
        let mut report = Report::default();
        report.take(Step { name: "good", take: |_| Ok(Outcome::Passed("7".into())) }, &setting);
        assert!(report.is_good());
        report.take(Step { name: "gone", take: |_| Ok(Outcome::LeftOut("no".into())) }, &setting);
        report.take(Step { name: "bad", take: |_| bail!("one\ntwo") }, &setting);
        assert!(!report.is_good());
        let text = report.to_string();
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed"), "{text}");
        for part in
            ["good            passed", "gone            left out", "  one\n", "1 step was left out"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
