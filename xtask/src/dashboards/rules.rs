//! promtool's word on rules and alerts, and on their tests; and that each alert has a test that it
//! fires, one that it does not, and a runbook.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result};

use super::{home, none_of};
use crate::{archive::run, checkout::Checkout, tool::PROMTOOL};

/// Checks all of it.
pub(super) fn check(checkout: &Checkout) -> Result<String> {
    let promtool = PROMTOOL.required()?;
    let directory = home(checkout).join("prometheus");
    let command = |words: &[&str]| -> Result<String> {
        run(Command::new(&promtool).args(words).current_dir(&directory))
    };
    command(&["check", "rules", "alerts.yaml", "rules.yaml"])?;
    let mut tests = Vec::new();
    let tried = || format!("cannot read {}", directory.join("tests").display());
    for entry in fs::read_dir(directory.join("tests")).with_context(tried)? {
        tests.push(entry.with_context(tried)?.path());
    }
    tests.sort();
    run(Command::new(&promtool).args(["test", "rules"]).args(&tests))?;
    let mut words = String::new();
    for test in &tests {
        words += &fs::read_to_string(test).with_context(tried)?;
    }
    let alerts = alerts(checkout)?;
    let mut faults = untested(&alerts, &words);
    faults.extend(runbooks(checkout, &alerts)?);
    none_of(&faults, format!("{} alerts, each tested and with a runbook", alerts.len()))
}

/// The names of all alerts, as they stand in the rendered file.
fn alerts(checkout: &Checkout) -> Result<BTreeSet<String>> {
    let text = checkout.text("dashboards/prometheus/alerts.yaml")?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(|name| serde_json::from_str(name).context("an alert's name is not quoted")).collect()
}

/// A test's word on an alert: `exp_alerts: []` says that it does not fire.
fn untested(alerts: &BTreeSet<String>, tests: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for alert in alerts {
        let cases = tests.split("- alertname: ").skip(1);
        let cases: Vec<_> = cases.filter(|case| case.lines().next() == Some(alert)).collect();
        let is_calm = |case: &&&str| case.contains("exp_alerts: []");
        let calm = cases.iter().filter(is_calm).count();
        if calm == 0 || calm == cases.len() {
            faults.push(format!("{alert} has no test that it fires, or none that it does not"));
        }
    }
    faults
}

fn runbooks(checkout: &Checkout, alerts: &BTreeSet<String>) -> Result<Vec<String>> {
    let directory = home(checkout).join("runbooks");
    let tried = || format!("cannot read {}", directory.display());
    let mut faults = Vec::new();
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(&directory).with_context(tried)? {
        let path = entry.with_context(tried)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(tried)?;
        if !text.starts_with(&format!("# {name}\n")) {
            faults.push(format!("{} does not begin with its name", path.display()));
        }
        there.insert(name);
    }
    faults.extend(alerts.difference(&there).map(|name| format!("{name} has no runbook")));
    faults.extend(there.difference(alerts).map(|name| format!("the runbook {name} has no alert")));
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_needs_a_test_of_either_kind() {
        let tests = "\
            - alertname: A\n  exp_alerts: []\n\
            - alertname: A\n  exp_alerts:\n    - exp_labels\n\
            - alertname: B\n  exp_alerts: []\n\
            - alertname: C\n  exp_alerts:\n    - exp_labels\n";
        let alerts = ["A", "B", "C", "D"].map(str::to_owned).into();
        let faults = untested(&alerts, tests);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(!faults.iter().any(|fault| fault.starts_with('A')), "{faults:?}");
    }
}
