//! The tests that need root: those of `tcp-trace/tests/kernel*`, each `#[ignore = "needs root"]`,
//! so that a plain `cargo test` needs none.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{
    Setting, harness,
    hidden::{self, Hidden},
    needs::Unmet,
    report::Outcome,
};
use crate::{cargo::cargo, checkout::Checkout, privilege::Elevation};

/// Where they lie.
const DIRECTORY: &str = "tcp-trace/tests";

/// Runs them one after the other: they share one kernel.
pub(super) fn take(setting: &Setting<'_>) -> Result<Outcome> {
    if setting.args.unprivileged {
        return Ok(Outcome::LeftOut("--unprivileged was given".into()));
    }
    let elevation = elevation("the root tests were NOT run")?;
    let targets = targets(setting.checkout)?;
    if targets.is_empty() {
        bail!("there are none: no file {DIRECTORY}/kernel*.rs");
    }
    let command = || {
        let mut command = cargo(setting.checkout);
        command.args(["test", "--package", "tcp-trace"]);
        for target in &targets {
            command.args(["--test", target]);
        }
        command.args(elevation.cargo_arguments());
        command
    };
    let unmet = Unmet::here(setting.args.strict);
    for line in unmet.lines() {
        println!("{line}");
    }
    let harness: Vec<_> =
        ["--ignored", "--test-threads=1"].into_iter().chain(unmet.arguments()).collect();
    let hidden = Hidden::watch();
    let filter = setting.args.filter.as_deref();
    let ran = harness::ran(command(), filter.as_slice(), &harness)?;
    let outcome = match (ran.failed(), hidden.map_or(0, |hidden| hidden.count())) {
        ([], _) | (_, 0) => ran.verdict(filter)?,
        (failed, changes) => {
            println!("{}", hidden::words(changes, failed));
            again(command(), failed, &harness)?
        }
    };
    Ok(match (outcome, unmet.note()) {
        // Some that were asked for may be among them: that is no pass.
        (Outcome::Passed(passed), Some(note)) => Outcome::LeftOut(format!("{passed}, {note}")),
        (outcome, _) => outcome,
    })
}

/// Runs those that failed a second time, which must not fail.
fn again(command: Command, failed: &[String], harness: &[&str]) -> Result<Outcome> {
    let names: Vec<_> = failed.iter().map(String::as_str).collect();
    let harness = [harness, &["--exact"]].concat();
    Ok(match harness::ran(command, &names, &harness)?.verdict(None)? {
        Outcome::Passed(_) => Outcome::Passed(format!(
            "all, but only at a second try, for changes hidden from tracing: {}",
            names.join(", ")
        )),
        left_out @ Outcome::LeftOut(_) => left_out,
    })
}

/// How to become root, or an error that says what was not done, and the ways out.
pub(super) fn elevation(not_done: &str) -> Result<Elevation> {
    Elevation::find().map_err(|why| {
        anyhow::anyhow!(
            "{not_done}: {why}; run this as root or with sudo ready, or leave them out with \
             --unprivileged"
        )
    })
}

/// The names of the test programs.
fn targets(checkout: &Checkout) -> Result<Vec<String>> {
    let directory = checkout.root().join(DIRECTORY);
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let tried = || format!("cannot list {}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).with_context(tried)? {
        let path = entry.with_context(tried)?.path();
        let is_program = path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").is_file();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if is_program && name.starts_with("kernel") {
            names.push(name.into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_files_and_directories_of_that_name() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(DIRECTORY);
        assert!(targets(&Checkout::at(root.path())).unwrap().is_empty());
        for path in ["kernel_b", "kernel_helpers", "golden"] {
            fs::create_dir_all(directory.join(path)).unwrap();
        }
        for path in
            ["kernel_b/main.rs", "kernel.rs", "golden.rs", "kernel_helpers/mod.rs", "kernel.txt"]
        {
            fs::write(directory.join(path), "").unwrap();
        }
        assert_eq!(targets(&Checkout::at(root.path())).unwrap(), ["kernel", "kernel_b"]);
    }
}
