//! What the guest says: kernel messages on its first serial line, init's report on the second.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What a kernel says that is beyond help.
const TROUBLE: [&str; 5] = ["Kernel panic", "soft lockup", "BUG:", "Oops", "general protection"];

/// Whether trouble is of QEMU's making. The kernel changes its own code under the cover of a
/// breakpoint; with a thread for each CPU, TCG may run one that has been taken away again, for which
/// the kernel then knows no reason.
pub(super) fn is_emulators(line: &str) -> bool {
    line.contains("Oops: int3") || line.contains("int3: 0000")
}

/// Whether the kernel's message is one after which nothing it does can be trusted.
pub(super) fn is_trouble(message: &str) -> bool {
    TROUBLE.iter().any(|trouble| message.contains(trouble))
}

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Whether well.
    pub(super) passed: bool,
    /// How long it took.
    pub(super) took: Duration,
}

/// A test that says that the kernel is too old for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absence {
    /// The test.
    pub(super) test: String,
    /// The least kernel.
    pub(super) minimum: (u32, u32),
    /// What that one has and older ones lack.
    pub(super) reason: String,
}

/// One run of the tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RunReport {
    /// How state changes were hooked.
    pub(super) backend: String,
    /// What there was to run.
    pub(super) listed: Vec<String>,
    /// What ended.
    pub(super) outcomes: BTreeMap<String, Outcome>,
    /// What was absent.
    pub(super) absences: Vec<Absence>,
    /// Its exit code, if it ended.
    pub(super) code: Option<i32>,
    /// What the tests that failed said.
    pub(super) words: String,
    /// Those that failed at first and had another try.
    pub(super) again: BTreeSet<String>,
}

/// How init ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Having done all it had to.
    Success,
    /// It could not, and why.
    Failure(String),
}

/// What is being read.
#[derive(Debug, Default)]
enum Part {
    #[default]
    Nothing,
    Doctor,
    /// Tests, with the one that runs and when it began.
    Tests(Option<String>, Duration),
    /// What failed tests said.
    Failures,
}

/// The whole report, as far as it is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What `uname -r` says.
    pub(super) release: Option<String>,
    /// What `tcp-trace doctor --json` says.
    pub(super) doctor: String,
    /// Its runs, in order.
    pub(super) runs: Vec<RunReport>,
    /// What was measured, as JSON.
    pub(super) bench: Option<String>,
    /// How the measuring ended, if it did.
    pub(super) bench_code: Option<i32>,
    /// How init ended.
    pub(super) end: Option<End>,
    /// What made no sense.
    pub(super) nonsense: Vec<String>,
    part: Part,
}

impl Report {
    /// Reads the next line, which came `at` this time after the beginning.
    pub(super) fn take(&mut self, line: &str, at: Duration) {
        let line = line.trim_end_matches('\r');
        if let Some(end) = line.strip_prefix("init: ") {
            self.end = Some(match end.strip_prefix("failure ") {
                Some(why) => End::Failure(why.to_owned()),
                None => End::Success,
            });
        } else if let Some(words) = line.strip_prefix("vm: ") {
            if self.order(words, at).is_none() {
                self.nonsense.push(line.to_owned());
            }
        } else {
            self.content(line, at);
        }
    }

    /// A line that init itself says.
    fn order(&mut self, words: &str, at: Duration) -> Option<()> {
        let (kind, rest) = words.split_once(' ')?;
        match kind {
            "kernel" => self.release = rest.split(' ').next().map(str::to_owned),
            "doctor" if rest == "begins" => self.part = Part::Doctor,
            "doctor" => self.part = Part::Nothing,
            "run" => {
                let (backend, what) = rest.split_once(' ')?;
                if what == "begins" {
                    let backend = backend.to_owned();
                    self.runs.push(RunReport { backend, ..RunReport::default() });
                    self.part = Part::Tests(None, at);
                } else {
                    self.runs.last_mut()?.code = what.strip_prefix("ends with ")?.parse().ok();
                    self.part = Part::Nothing;
                }
            }
            "again" => {
                let run = self.runs.last_mut()?;
                let failed = run.outcomes.iter().filter(|(_, outcome)| !outcome.passed);
                run.again = failed.map(|(name, _)| name.clone()).collect();
                self.part = Part::Tests(None, at);
            }
            "figures" => self.bench = Some(rest.to_owned()),
            "bench" => self.bench_code = rest.strip_prefix("ends with ")?.parse().ok(),
            "listed" => self.runs.last_mut()?.listed.push(rest.to_owned()),
            "absent" => self.runs.last_mut()?.absences.push(absence(rest)?),
            _ => return None,
        }
        Some(())
    }

    /// A line of what init has started.
    fn content(&mut self, line: &str, at: Duration) {
        let Some(run) = self.runs.last_mut() else {
            if matches!(self.part, Part::Doctor) {
                self.doctor.push_str(line);
                self.doctor.push('\n');
            }
            return;
        };
        match &mut self.part {
            Part::Tests(running, since) => {
                let mut rest = line;
                if let Some((name, after)) =
                    line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
                {
                    *running = Some(name.to_owned());
                    rest = after;
                }
                // A program that the test started may have said something in between.
                let passed = match rest.trim_end() {
                    end if end.ends_with("FAILED") => false,
                    end if end == "ok" || end.ends_with("\u{1b}[0mok") => true,
                    "failures:" => return self.part = Part::Failures,
                    _ => return,
                };
                if let Some(name) = running.take() {
                    run.outcomes.insert(name, Outcome { passed, took: at.saturating_sub(*since) });
                    *since = at;
                }
            }
            Part::Failures => {
                run.words.push_str(line);
                run.words.push('\n');
            }
            Part::Nothing | Part::Doctor => {}
        }
    }

    /// The test that runs now.
    pub(super) fn running(&self) -> Option<&str> {
        match &self.part {
            Part::Tests(running, _) => running.as_deref(),
            _ => None,
        }
    }
}

/// The name, the least kernel and the reason, between tabs.
fn absence(text: &str) -> Option<Absence> {
    let mut fields = text.splitn(3, '\t');
    let (name, minimum, reason) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Absence { test: name.to_owned(), minimum: version(minimum)?, reason: reason.to_owned() })
}

/// The first two numbers of a release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "vm: kernel 5.10.0-46-cloud-amd64 up 2.93
vm: doctor begins
{\"works\":
true}
vm: doctor ends with 0
vm: run auto begins
vm: listed a::one
vm: listed a::two
vm: listed b::three

running 3 tests
test a::one ... ok
test a::two ... WARN something
more of it
ok
test b::three ... FAILED

failures:

---- b::three stdout ----
no

test result: FAILED. 2 passed; 1 failed; 0 ignored
vm: absent a::two\t5.12\tsocket cookies, in tracing programs
vm: run auto ends with 101
init: success";

    fn read(text: &str) -> Report {
        let mut report = Report::default();
        for (at, line) in text.lines().enumerate() {
            report.take(line, Duration::from_secs(at as u64));
        }
        report
    }

    #[test]
    fn a_report_is_read_to_its_end() {
        let report = read(REPORT);
        assert_eq!(report.release.as_deref(), Some("5.10.0-46-cloud-amd64"));
        assert_eq!(report.doctor, "{\"works\":\ntrue}\n");
        assert_eq!(report.end, Some(End::Success));
        assert!(report.nonsense.is_empty(), "{:?}", report.nonsense);
        let [run] = &report.runs[..] else { panic!("{:?}", report.runs) };
        assert_eq!(run.listed, ["a::one", "a::two", "b::three"]);
        assert_eq!(run.code, Some(101));
        assert!(run.words.contains("---- b::three stdout ----\nno\n"), "{}", run.words);
        let passed: Vec<_> = run.outcomes.values().map(|outcome| outcome.passed).collect();
        assert_eq!(passed, [true, true, false]);
        assert_eq!(run.outcomes["a::two"].took, Duration::from_secs(3));
        let [absence] = &run.absences[..] else { panic!("{:?}", run.absences) };
        assert_eq!((absence.test.as_str(), absence.minimum), ("a::two", (5, 12)));
        assert_eq!(absence.reason, "socket cookies, in tracing programs");
    }

    #[test]
    fn a_second_try_counts_and_is_told() {
        let second =
            "vm: again auto\nrunning 1 test\ntest b::three ... ok\n\nvm: run auto ends with 0";
        let report = read(&REPORT.replace("vm: run auto ends with 101", second));
        let [run] = &report.runs[..] else { panic!("{:?}", report.runs) };
        assert!(run.outcomes["b::three"].passed && run.code == Some(0));
        assert_eq!(run.again.iter().collect::<Vec<_>>(), ["b::three"]);
        assert!(run.words.contains("---- b::three stdout ----\nno\n"), "{}", run.words);
    }

    #[test]
    fn a_report_that_breaks_off_says_where() {
        let report = read("vm: run auto begins\ntest a::one ... ok\ntest a::two ... ");
        assert_eq!(report.running(), Some("a::two"));
        assert_eq!(report.end, None);
        assert_eq!(report.runs[0].code, None);
        assert_eq!(read("init: failure no /tmp").end, Some(End::Failure("no /tmp".to_owned())));
        assert_eq!(read("vm: strange words").nonsense.len(), 1);
    }

    #[test]
    fn trouble_is_told_from_talk() {
        let flaw = "[   19.475651] Oops: int3: 0000 [#1] SMP NOPTI";
        assert!(is_trouble(flaw) && is_emulators(flaw));
        assert!(!is_emulators("[    3.2] Oops: general protection fault"));
        assert!(is_trouble("[    3.2] Kernel panic - not syncing: Attempted to kill init!"));
        assert!(is_trouble("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kernel:99]"));
        assert!(!is_trouble("[    2.9] tun: Universal TUN/TAP device driver, 1.6"));
    }
}
