//! What a guest's report comes to: each test passed, failed, or is absent for a good reason; all
//! else is a failure of its own.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    boot::Booted,
    console::{Absence, End, RunReport, version},
};

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(super) enum Ended {
    /// Well.
    Pass,
    /// Badly.
    Fail,
    /// Not at all, for this kernel is too old for it.
    Absent {
        /// The least kernel.
        below: String,
        /// What that one has and older ones lack.
        reason: String,
    },
}

/// A test, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Test {
    /// Its name.
    pub(super) name: String,
    /// How it ended.
    #[serde(flatten)]
    pub(super) ended: Ended,
    /// How long it took.
    pub(super) seconds: f64,
    /// Whether it failed at first, and this is how its second try ended.
    pub(super) again: bool,
}

/// One run of the tests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RunVerdict {
    /// How state changes were hooked.
    pub(super) backend: String,
    /// Its tests.
    pub(super) tests: Vec<Test>,
    /// What the tests that failed said.
    #[serde(skip)]
    pub(super) words: String,
}

/// What `tcp-trace doctor` says of a feature that is less than whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
pub(super) struct Reduced {
    /// The feature.
    pub(super) feature: String,
    /// Why.
    pub(super) reason: String,
    /// What is lost.
    #[serde(default)]
    pub(super) loses: String,
}

/// All of a guest.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// The line of its kernel.
    pub(super) line: String,
    /// What `uname -r` says.
    pub(super) release: String,
    /// From power to its last word.
    pub(super) seconds: f64,
    /// Its runs.
    pub(super) runs: Vec<RunVerdict>,
    /// What is less than whole there.
    pub(super) reduced: Vec<Reduced>,
    /// What is wrong beside tests that failed.
    pub(super) problems: Vec<String>,
}

impl Verdict {
    /// A guest that never was.
    pub(super) fn nothing(line: &str, problem: String) -> Self {
        Self { line: line.to_owned(), problems: vec![problem], ..Self::default() }
    }

    /// What `booted` came to, of which `backends` were asked.
    pub(super) fn of(line: &str, backends: &[String], booted: &Booted) -> Self {
        let report = &booted.report;
        let mut problems =
            report.nonsense.iter().map(|line| format!("init says: {line}")).collect();
        let release = report.release.clone().unwrap_or_default();
        if let Some(trouble) = &booted.trouble {
            Vec::push(&mut problems, trouble.clone());
        }
        if let Some(End::Failure(why)) = &report.end {
            problems.push(format!("init: {why}"));
        }
        if !release.starts_with(&format!("{line}.")) && booted.trouble.is_none() {
            problems.push(format!("the guest runs {release:?}"));
        }
        let mut runs = Vec::new();
        for backend in backends {
            match report.runs.iter().find(|run| run.backend == *backend) {
                Some(run) => runs.push(judge(run, &release, &mut problems)),
                None => problems.push(format!("{backend}: no test was run")),
            }
        }
        let reduced = match doctor(&report.doctor) {
            Ok(reduced) => reduced,
            Err(error) => {
                problems.push(format!("`tcp-trace doctor --json` makes no sense: {error}"));
                Vec::new()
            }
        };
        let (line, seconds) = (line.to_owned(), booted.took.as_secs_f64());
        Self { line, release, seconds, runs, reduced, problems }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_good(&self) -> bool {
        self.problems.is_empty() && self.failed() == 0
    }

    /// How many tests failed.
    pub(super) fn failed(&self) -> usize {
        self.tests().filter(|test| test.ended == Ended::Fail).count()
    }

    /// Every test of every run.
    pub(super) fn tests(&self) -> impl Iterator<Item = &Test> {
        self.runs.iter().flat_map(|run| &run.tests)
    }
}

fn judge(run: &RunReport, release: &str, problems: &mut Vec<String>) -> RunVerdict {
    let backend = &run.backend;
    let mut tests: Vec<Test> = Vec::new();
    for name in &run.listed {
        let Some(outcome) = run.outcomes.get(name) else {
            problems.push(format!("{backend}: {name} was listed and did not end"));
            continue;
        };
        let absence = run.absences.iter().find(|absence| absence.test == *name);
        let ended = match (outcome.passed, absence) {
            (false, _) => Ended::Fail,
            (true, None) => Ended::Pass,
            (true, Some(absence)) => {
                let (major, minor) = absence.minimum;
                if version(release).is_none_or(|running| running >= absence.minimum) {
                    problems.push(format!(
                        "{backend}: {name} says it is absent below {major}.{minor}, and this is \
                         {release}"
                    ));
                }
                absent(absence)
            }
        };
        let (seconds, again) = (outcome.took.as_secs_f64(), run.again.contains(name));
        tests.push(Test { name: name.clone(), ended, seconds, again });
    }
    for name in run.outcomes.keys().filter(|name| !run.listed.contains(name)) {
        problems.push(format!("{backend}: {name} ran and was not listed"));
    }
    for absence in run.absences.iter().filter(|absence| !run.listed.contains(&absence.test)) {
        problems.push(format!("{backend}: {} is absent and was not listed", absence.test));
    }
    let failed = tests.iter().any(|test| test.ended == Ended::Fail);
    match run.code {
        None => problems.push(format!("{backend}: the tests did not end")),
        Some(code) if (code != 0) != failed => {
            problems.push(format!("{backend}: the test program ended with {code}"));
        }
        Some(_) => {}
    }
    RunVerdict { backend: backend.clone(), tests, words: run.words.clone() }
}

fn absent(absence: &Absence) -> Ended {
    let (major, minor) = absence.minimum;
    Ended::Absent { below: format!("{major}.{minor}"), reason: absence.reason.clone() }
}

/// What is reduced, from the doctor's report.
fn doctor(json: &str) -> Result<Vec<Reduced>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Report {
        checks: Vec<BTreeMap<String, Option<String>>>,
    }
    let report: Report = serde_json::from_str(json)?;
    let text = |check: &BTreeMap<String, Option<String>>, key: &str| {
        check.get(key).cloned().flatten().unwrap_or_default()
    };
    let reduced = report.checks.iter().filter(|check| text(check, "outcome") == "reduced");
    let reduced = reduced.map(|check| Reduced {
        feature: text(check, "feature"),
        reason: text(check, "reason"),
        loses: text(check, "loses"),
    });
    Ok(reduced.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::console::Report, *};

    const DOCTOR: &str = r#"{"checks":[{"feature":"fields","outcome":"ok","reason":null},
{"feature":"owners","outcome":"reduced","reason":"no hook","loses":"the worker"}]}"#;

    fn verdict(text: &str) -> Verdict {
        let mut report = Report::default();
        let head = format!("vm: kernel 5.10.0-46-cloud-amd64 up 1\nvm: doctor begins\n{DOCTOR}");
        for line in head.lines().chain(text.lines()) {
            report.take(line, Duration::from_secs(1));
        }
        let booted = Booted { report, trouble: None, took: Duration::from_secs(2) };
        Verdict::of("5.10", &["auto".to_owned()], &booted)
    }

    const BEGINS: &str = "vm: doctor ends with 0
vm: run auto begins
vm: listed a::one
vm: listed a::two
test a::one ... ok
";

    #[test]
    fn a_test_may_be_absent_below_its_minimum() {
        let text = "test a::two ... ok
vm: absent a::two\t5.12\tcookies
vm: run auto ends with 0
init: success";
        let verdict = verdict(&format!("{BEGINS}{text}"));
        assert!(verdict.is_good(), "{:?}", verdict.problems);
        let absent = Ended::Absent { below: "5.12".into(), reason: "cookies".into() };
        assert_eq!(
            verdict.tests().map(|test| &test.ended).collect::<Vec<_>>(),
            [&Ended::Pass, &absent]
        );
        assert_eq!(verdict.reduced[0].reason, "no hook");
    }

    #[test]
    fn a_test_may_not_be_absent_above_it() {
        let text = "test a::two ... ok
vm: absent a::two\t5.9\tcookies
vm: run auto ends with 0
init: success";
        let verdict = verdict(&format!("{BEGINS}{text}"));
        assert!(verdict.problems[0].contains("absent below 5.9"), "{:?}", verdict.problems);
    }

    #[test]
    fn what_did_not_run_is_a_problem() {
        let verdict = verdict(&format!("{BEGINS}vm: run auto ends with 0\ninit: success"));
        assert!(verdict.problems[0].contains("a::two was listed"), "{:?}", verdict.problems);
        assert!(!verdict.is_good());
    }

    #[test]
    fn a_test_program_that_breaks_down_is_a_problem() {
        let text = "test a::two ... ok\nvm: run auto ends with 101\ninit: success";
        let problems = verdict(&format!("{BEGINS}{text}")).problems;
        assert!(problems[0].contains("ended with 101"), "{problems:?}");
        let problems = verdict("init: success").problems;
        assert!(problems.iter().any(|problem| problem.contains("no test was run")), "{problems:?}");
    }
}
