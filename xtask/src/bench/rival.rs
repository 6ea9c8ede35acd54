//! Tools of others: the yardsticks.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::{
    load::{self, Close, Load},
    placement::Placement,
};
use crate::{
    child::{Running, poll},
    tool::Tool,
};

/// Time until it is attached.
const START: Duration = Duration::from_secs(20);
/// Time until it has ended.
const END: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// From its last sign of readiness to the load.
const SETTLE: Duration = Duration::from_millis(300);
/// Connections that must show in its output before it is measured.
const PROOF: u32 = 200;

/// A tool.
#[derive(Debug)]
pub(super) struct Rival {
    /// What the tables call it.
    pub(super) name: &'static str,
    /// The program.
    pub(super) tool: Tool,
    /// What it is to do.
    pub(super) arguments: &'static [&'static str],
    /// How its output begins.
    pub(super) header: &'static str,
    /// What it prints.
    pub(super) output: Output,
}

/// What a tool prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// A line for whatever it sees.
    Lines,
    /// How much it saw, at its end.
    Counts,
}

impl Output {
    /// How much it says that it saw.
    fn seen(self, text: &str) -> u64 {
        match self {
            Self::Lines => text.lines().count().try_into().unwrap_or(u64::MAX),
            Self::Counts => {
                let counts = text.lines().filter_map(|line| line.rsplit_once(": "));
                counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
            }
        }
    }
}

impl Rival {
    /// Proves that it traces on this host: it prints its header, and that it saw a few connections.
    pub(super) fn prove(&self) -> Result<()> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let output = directory.path().join("output");
        let running = self.start_with(&output)?;
        let (close, placement) = (Close::Rst, Placement::Free);
        load::measure(Load { count: PROOF, close, placement, threads: 1, here: false }, None)?;
        running.stop(Signal::INT, END)?;
        let text = fs::read_to_string(&output).context("cannot read what it printed")?;
        let seen = self.output.seen(&text);
        if !text.starts_with(self.header) || seen < PROOF.into() {
            bail!("it told of {seen} things for {PROOF} connections: it does not trace here");
        }
        Ok(())
    }

    /// Starts it with its output thrown away.
    pub(super) fn start(&self) -> Result<Running> {
        self.start_with(Path::new("/dev/null"))
    }

    fn start_with(&self, output: &Path) -> Result<Running> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let errors = directory.path().join("errors");
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot open {} to write", path.display()))
        };
        let mut command = Command::new(self.tool.required()?);
        command.args(self.arguments);
        command.stdin(Stdio::null()).stdout(create(output)?).stderr(create(&errors)?);
        let mut running = Running::start(command)?;
        let descriptors = PathBuf::from(format!("/proc/{}/fd", running.pid()));
        let attached = poll(START, PAUSE, || {
            if let Some(status) = running.ended()? {
                let errors = fs::read_to_string(&errors).unwrap_or_default();
                bail!("it ended at once ({status}): {}", complaint(&errors));
            }
            Ok(is_attached(&descriptors).then_some(()))
        })?;
        attached.with_context(|| format!("it was not attached within {} s", START.as_secs()))?;
        thread::sleep(SETTLE);
        Ok(running)
    }
}

/// Ends it; an error if it had ended already.
pub(super) fn stop(mut running: Running) -> Result<()> {
    if let Some(status) = running.ended()? {
        bail!("it ended during the load ({status})");
    }
    running.stop(Signal::INT, END).map(drop)
}

/// What went wrong first: the rest comes of it.
fn complaint(errors: &str) -> &str {
    errors.lines().next().unwrap_or_default()
}

/// Whether a program is attached and waiting: it holds the program, a link to a hook, or the perf
/// event that older kernels have instead, and something to wait with.
fn is_attached(descriptors: &Path) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else {
        return false;
    };
    let held: Vec<_> = entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let holds = |what: &str| held.iter().any(|target| target.contains(what));
    let hooked = holds("bpf_link") || holds("bpf-link") || holds("[perf_event]");
    hooked && holds("bpf-prog") && holds("[eventpoll]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_saw_is_read_off_its_output() {
        assert_eq!(Output::Lines.seen("PID COMM\n7 a\n8 b\n"), 3);
        assert_eq!(Output::Counts.seen("Attaching 1 probe...\n\n@[7, 2]: 200\n@[2, 1]: 17\n"), 217);
        assert_eq!(Output::Counts.seen("Attaching 1 probe...\n"), 0);
    }

    #[test]
    fn who_ends_at_once_is_told_why() {
        let tool = Tool { name: "false", install: "" };
        let name = "false";
        let rival = Rival { name, tool, arguments: &[], header: "", output: Output::Lines };
        let error = rival.start_with(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("ended at once"), "{error}");
    }
}
