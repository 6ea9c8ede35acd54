//! tcpstates and tcplife of libbpf-tools: the yardsticks.

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
use crate::child::{Running, poll};

/// Time until it is attached.
const START: Duration = Duration::from_secs(20);
/// Time until it has ended.
const END: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// From its last sign of readiness to the load.
const SETTLE: Duration = Duration::from_millis(300);
/// Connections that must show in its output before it is measured.
const PROOF: u32 = 200;

/// Proves that `program` traces on this host: it prints its header and lines for a few connections.
pub(super) fn prove(program: &Path, header: &str) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let output = directory.path().join("output");
    let running = start_with(program, &output)?;
    let placement = Placement::Free;
    load::measure(Load { count: PROOF, close: Close::Rst, placement, here: false }, None)?;
    running.stop(Signal::INT, END)?;
    let text = fs::read_to_string(&output).context("cannot read what it printed")?;
    let lines = text.lines().count();
    if !text.starts_with(header) || lines < PROOF.try_into()? {
        bail!("it printed {lines} lines for {PROOF} connections: it does not trace here");
    }
    Ok(())
}

/// Starts it with its output thrown away.
pub(super) fn start(program: &Path) -> Result<Running> {
    start_with(program, Path::new("/dev/null"))
}

/// Ends it; an error if it had ended already.
pub(super) fn stop(mut running: Running) -> Result<()> {
    if let Some(status) = running.ended()? {
        bail!("it ended during the load ({status})");
    }
    running.stop(Signal::INT, END).map(drop)
}

fn start_with(program: &Path, output: &Path) -> Result<Running> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let errors = directory.path().join("errors");
    let create = |path: &Path| {
        File::create(path).with_context(|| format!("cannot open {} to write", path.display()))
    };
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(create(output)?).stderr(create(&errors)?);
    let mut running = Running::start(command)?;
    let descriptors = PathBuf::from(format!("/proc/{}/fd", running.pid()));
    let attached = poll(START, PAUSE, || {
        if let Some(status) = running.ended()? {
            let errors = fs::read_to_string(&errors).unwrap_or_default();
            bail!("it ended at once ({status}): {}", errors.lines().last().unwrap_or_default());
        }
        Ok(is_attached(&descriptors).then_some(()))
    })?;
    attached.with_context(|| format!("it was not attached within {} s", START.as_secs()))?;
    thread::sleep(SETTLE);
    Ok(running)
}

/// Whether a program is attached and waiting: it holds a link to a hook, or the perf event that
/// older kernels have instead, and something to wait with, which it opens last.
fn is_attached(descriptors: &Path) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else {
        return false;
    };
    let held: Vec<_> = entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let holds = |what: &str| held.iter().any(|target| target.contains(what));
    (holds("bpf_link") || holds("bpf-link") || holds("[perf_event]")) && holds("[eventpoll]")
}
