//! The steps, in their order: what is quick and often wrong comes first.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{Args, Setting, harness, metrics, report::Outcome, root};
use crate::{
    bpf::{self, Rebuild},
    cargo::cargo,
    dashboards,
    tool::{CARGO_DENY, CLIPPY, JSONNET, PROMTOOL, RUSTFMT, Tool, words},
};

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// What it does; an error is a failure.
    pub(super) take: fn(&Setting<'_>) -> Result<Outcome>,
}

/// Those without tests in them; a filter leaves them out.
const CHECKS: [Step; 6] = [
    Step { name: "format", take: format },
    Step { name: "clippy", take: clippy },
    Step { name: "dependencies", take: dependencies },
    Step { name: "kernel object", take: kernel_object },
    Step { name: "dashboards", take: dashboards },
    Step { name: "metrics", take: metrics::take },
];

const TESTS: [Step; 2] =
    [Step { name: "tests", take: tests }, Step { name: "root tests", take: root::take }];

/// The steps that are asked for.
pub(super) fn of(args: &Args) -> Vec<Step> {
    let checks = if args.filter.is_some() { &[][..] } else { &CHECKS };
    [checks, &TESTS].concat()
}

fn format(setting: &Setting<'_>) -> Result<Outcome> {
    let mut command = cargo(setting.checkout);
    command.args(["fmt", "--all", "--check"]);
    succeed(command, RUSTFMT)
}

fn clippy(setting: &Setting<'_>) -> Result<Outcome> {
    // Without --workspace this is the default members: the kernel's crate is for another machine.
    let mut command = cargo(setting.checkout);
    command.args(["clippy", "--all-targets", "--", "-D", "warnings"]);
    succeed(command, CLIPPY)
}

fn dependencies(setting: &Setting<'_>) -> Result<Outcome> {
    if !setting.args.strict && CARGO_DENY.path().is_none() {
        return Ok(Outcome::LeftOut(CARGO_DENY.missing()));
    }
    // Advisories need the network, and change without any change here.
    let mut command = cargo(setting.checkout);
    command.args(["deny", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    succeed(command, CARGO_DENY)
}

fn kernel_object(setting: &Setting<'_>) -> Result<Outcome> {
    Ok(match bpf::verify(setting.checkout, setting.args.strict)? {
        Rebuild::Same => Outcome::Passed("rebuilt, identical".into()),
        Rebuild::NotDone(why) => Outcome::LeftOut(format!("as blessed, but NOT rebuilt: {why}")),
    })
}

/// What of them can be told without a network: `cargo xtask dashboards check` does the rest.
fn dashboards(setting: &Setting<'_>) -> Result<Outcome> {
    let missing = [JSONNET, PROMTOOL].into_iter().find(|tool| tool.path().is_none());
    match missing.filter(|_| !setting.args.strict) {
        Some(tool) => Ok(Outcome::LeftOut(tool.missing())),
        None => dashboards::at_rest(setting.checkout).map(Outcome::Passed),
    }
}

/// Those that need no privilege; examples in documentation are among them.
fn tests(setting: &Setting<'_>) -> Result<Outcome> {
    let mut command = cargo(setting.checkout);
    command.arg("test");
    harness::run(setting, command, &[])
}

/// Runs `command`, which is `tool`.
fn succeed(mut command: Command, tool: Tool) -> Result<Outcome> {
    if !tool.runs() {
        bail!("{}", tool.missing());
    }
    let words = words(&command);
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {words}"))?;
    if !status.success() {
        bail!("{words} failed ({status}); its own words are above");
    }
    Ok(Outcome::Passed(String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_leaves_only_tests() {
        let names = |filter: Option<&str>| {
            let filter = filter.map(str::to_owned);
            let args = Args { unprivileged: false, strict: false, filter };
            of(&args).into_iter().map(|step| step.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Some("merge")), ["tests", "root tests"]);
        assert_eq!(names(None).len(), CHECKS.len() + TESTS.len());
    }
}
