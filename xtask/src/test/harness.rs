//! `cargo test`, and how many tests it really ran: a filter or a missing file that leaves none must
//! not read as a pass.

use std::{
    io::{BufRead as _, BufReader, Write as _, stdout},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{Setting, report::Outcome};
use crate::tool::words;

/// How many tests met which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Ran {
    tally: Tally,
    failures: Failures,
    success: bool,
}

impl Ran {
    /// The names of those that failed; none where it did not even come to that.
    pub(super) fn failed(&self) -> &[String] {
        &self.failures.names
    }

    /// What it means.
    pub(super) fn verdict(&self, filter: Option<&str>) -> Result<Outcome> {
        verdict(self.tally, self.success, filter)
    }
}

/// Runs `command`, a `cargo test` with everything but the filter and the harness's own arguments.
pub(super) fn run(setting: &Setting<'_>, command: Command, harness: &[&str]) -> Result<Outcome> {
    let filter = setting.args.filter.as_deref();
    ran(command, filter.as_slice(), harness)?.verdict(filter)
}

/// Likewise of the tests that `filters` let through; what came of it is left to the caller.
pub(super) fn ran(mut command: Command, filters: &[&str], harness: &[&str]) -> Result<Ran> {
    command.arg("--no-fail-fast");
    // Before the two dashes there is room for one only.
    let harness: Vec<_> = harness.iter().chain(filters).collect();
    if !harness.is_empty() {
        command.arg("--").args(harness);
    }
    let words = words(&command);
    println!("{words}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {words}"))?;
    let (mut tally, mut failures) = (Tally::default(), Failures::default());
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let mut line = line.with_context(|| format!("cannot read what {words} prints"))?;
            let text = String::from_utf8_lossy(&line);
            tally.add(&text);
            failures.add(&text);
            line.push(b'\n');
            stdout().write_all(&line).context("cannot write to standard output")?;
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {words}"))?;
    Ok(Ran { tally, failures, success: status.success() })
}

fn verdict(tally: Tally, success: bool, filter: Option<&str>) -> Result<Outcome> {
    let Tally { passed, failed, ignored } = tally;
    if failed > 0 {
        bail!("{failed} of {} tests failed; their own words are above", passed + failed);
    }
    if !success {
        bail!("it did not compile or did not end; its own words are above");
    }
    match (passed, filter) {
        (0, Some(filter)) => {
            Ok(Outcome::LeftOut(format!("none of these tests has {filter} in its name")))
        }
        (0, None) => bail!("no test was run"),
        (_, _) if ignored > 0 => Ok(Outcome::Passed(format!("{passed} tests, {ignored} ignored"))),
        (_, _) => Ok(Outcome::Passed(format!("{passed} tests"))),
    }
}

impl Tally {
    /// Adds what a test program says at its end.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Who failed: the list that a test program prints at its end.
#[derive(Debug, Default)]
struct Failures {
    names: Vec<String>,
    listing: bool,
}

impl Failures {
    fn add(&mut self, line: &str) {
        if line == "failures:" {
            self.listing = true;
        } else if line.starts_with("test result: ") {
            self.listing = false;
        } else if self.listing
            && let Some(name) = line.strip_prefix("    ")
            && !name.is_empty()
            && name.chars().all(|each| each.is_ascii_alphanumeric() || "_:".contains(each))
        {
            self.names.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_those_listed_at_the_end() {
        let mut failures = Failures::default();
        let said = [
            "test a::b ... FAILED",
            "    not_a_name",
            "failures:",
            "---- a::b stdout ----",
            "   0: rust_begin_unwind",
            "             at ./tests/kernel/x.rs:1:2",
            "failures:",
            "    a::b",
            "    reset::what_is_sent_is_never_acknowledged",
            "",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored",
            "    c",
        ];
        for line in said {
            failures.add(line);
        }
        assert_eq!(failures.names, ["a::b", "reset::what_is_sent_is_never_acknowledged"]);
    }

    const GOOD: &str = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.10s";
    const BAD: &str = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.add(line);
        }
        tally
    }

    #[test]
    fn the_programs_tallies_are_added() {
        let found = tally(&["running 12 tests", GOOD, "test x ... ok", BAD]);
        assert_eq!(found, Tally { passed: 13, failed: 2, ignored: 3 });
    }

    #[test]
    fn only_tests_that_ran_and_passed_are_a_pass() {
        let good = tally(&[GOOD]);
        assert_eq!(
            verdict(good, true, None).unwrap(),
            Outcome::Passed("12 tests, 3 ignored".into())
        );
        assert!(verdict(good, false, None).is_err());
        assert!(verdict(tally(&[BAD]), true, None).is_err());
        assert!(verdict(Tally::default(), true, None).is_err());
        assert!(matches!(verdict(Tally::default(), true, Some("x")), Ok(Outcome::LeftOut(_))));
    }
}
