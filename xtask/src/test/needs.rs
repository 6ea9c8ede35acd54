//! What some of the root tests need that not every host has. Where it is missing they are left out,
//! and that is said; a strict run leaves none out for want of a program, so they fail.

use std::fs;

use crate::tool::{JAVAC, NGINX, NODE, PROMTOOL, PYTHON, TSHARK, Tool};

/// Tests, and what they need.
#[derive(Clone, Copy, Debug)]
struct Need {
    /// What the names of the tests begin with.
    tests: &'static str,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Programs, which can be installed.
    Tools(&'static [Tool]),
    /// A cgroup2 hierarchy that can be written to, which a container may lack for good.
    Cgroups,
    /// A machine that nobody else uses, which no host is: guests of `cargo xtask vm` are.
    Machine,
}

const NEEDS: [Need; 8] = [
    Need { tests: "clock::", what: What::Machine },
    Need { tests: "web::", what: What::Tools(&[PROMTOOL]) },
    Need { tests: "tshark::", what: What::Tools(&[TSHARK]) },
    Need { tests: "leakers::python", what: What::Tools(&[PYTHON]) },
    Need { tests: "leakers::node", what: What::Tools(&[NODE]) },
    Need { tests: "leakers::java", what: What::Tools(&[JAVAC]) },
    Need { tests: "leakers::nginx", what: What::Tools(&[NGINX, PYTHON]) },
    Need { tests: "leakers::units", what: What::Cgroups },
];

/// Tests that are not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    tests: &'static str,
    why: String,
    /// Whether no host could run them: they are not missing here, for they belong elsewhere.
    belongs_elsewhere: bool,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unmet(Vec<Left>);

impl Unmet {
    /// On this host.
    pub(super) fn here(strict: bool) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::of(strict, |tool| tool.path().is_some(), &mounts)
    }

    fn of(strict: bool, has: impl Fn(Tool) -> bool, mounts: &str) -> Self {
        let why = |need: &Need| match need.what {
            What::Tools(tools) => {
                let missing = tools.iter().find(|tool| !has(**tool)).filter(|_| !strict)?;
                Some(missing.missing())
            }
            What::Cgroups => {
                let why = "no cgroup2 is mounted that can be written to: units are not told";
                (!mounts.lines().any(is_writable)).then(|| why.to_owned())
            }
            What::Machine => {
                Some("they set the clock of a whole machine: `cargo xtask vm` runs them".to_owned())
            }
        };
        let left = |need: &Need| {
            let belongs_elsewhere = matches!(need.what, What::Machine);
            Some(Left { tests: need.tests, why: why(need)?, belongs_elsewhere })
        };
        Self(NEEDS.iter().filter_map(left).collect())
    }

    /// What makes the test programs leave them out.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().flat_map(|left| ["--skip", left.tests])
    }

    /// A line for each.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|Left { tests, why, .. }| format!("NOT RUN: {tests}: {why}"))
    }

    /// Those that another host would run, in a few words; `None` where there are none.
    pub(super) fn note(&self) -> Option<String> {
        let missing = self.0.iter().filter(|left| !left.belongs_elsewhere);
        let tests: Vec<_> = missing.map(|left| left.tests).collect();
        (!tests.is_empty()).then(|| format!("NOT run: {}", tests.join(", ")))
    }
}

/// Whether a line of `mountinfo` tells of cgroup2, mounted to be written to.
fn is_writable(line: &str) -> bool {
    let Some((mount, system)) = line.split_once(" - ") else { return false };
    let options = mount.split(' ').nth(5).unwrap_or_default();
    system.starts_with("cgroup2 ") && options.split(',').any(|option| option == "rw")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITABLE: &str =
        "36 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const READABLE: &str = "36 24 0:30 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw\n";

    fn skipped(unmet: &Unmet) -> Vec<&'static str> {
        unmet.arguments().filter(|argument| *argument != "--skip").collect()
    }

    #[test]
    fn a_host_that_has_everything_leaves_nothing_out() {
        let unmet = Unmet::of(false, |_| true, WRITABLE);
        assert_eq!((unmet.note(), skipped(&unmet)), (None, vec!["clock::"]));
        assert!(unmet.lines().all(|line| line.contains("cargo xtask vm")), "{unmet:?}");
    }

    #[test]
    fn what_is_missing_is_left_out_and_named() {
        let unmet = Unmet::of(false, |tool| tool != PYTHON, WRITABLE);
        assert_eq!(skipped(&unmet), ["clock::", "leakers::python", "leakers::nginx"]);
        let lines: Vec<_> = unmet.lines().skip(1).collect();
        assert!(lines.iter().all(|line| line.contains("apt-get install python3")), "{lines:?}");
        assert_eq!(unmet.note().unwrap(), "NOT run: leakers::python, leakers::nginx");
    }

    #[test]
    fn a_strict_run_leaves_out_only_what_nobody_can_install() {
        let unmet = Unmet::of(true, |_| false, "");
        assert_eq!(skipped(&unmet), ["clock::", "leakers::units"]);
        assert_eq!(Unmet::of(true, |_| false, READABLE), unmet);
    }
}
