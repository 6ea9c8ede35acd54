//! A daemon that has nothing to do: how soon it traces, what it takes then, how large it is.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::super::diagnosis::process::taken;
use crate::{
    daemon::{Daemon, Serve},
    namespace::Network,
};

/// What it takes.
#[derive(Debug, Serialize)]
pub(super) struct Rest {
    /// Milliseconds from its start until it is ready, a look in every fifty.
    pub(super) ready_ms: f64,
    /// Share of one processor.
    pub(super) cpu: f64,
    /// Resident bytes.
    pub(super) memory: u64,
    /// Bytes of its maps in the kernel.
    pub(super) maps: u64,
    /// Bytes of the program without its debug information.
    pub(super) program: u64,
}

/// Starts one in a network namespace of its own and leaves it alone for so many `seconds`.
pub(super) fn measure(program: &Path, seconds: u64) -> Result<Rest> {
    let network = Network::new()?;
    let begun = Instant::now();
    let daemon = Daemon::start(&Serve::states(program).within(&network))?;
    let ready_ms = begun.elapsed().as_secs_f64() * 1e3;
    thread::sleep(Duration::from_secs(3));
    let before = taken(daemon.pid())?;
    thread::sleep(Duration::from_secs(seconds));
    let after = taken(daemon.pid())?;
    let maps = maps(daemon.pid())?;
    daemon.stop()?;
    let program = stripped(program)?;
    Ok(Rest { ready_ms, cpu: after.cpu_since(&before), memory: after.memory, maps, program })
}

/// What the kernel charges a process's maps with.
fn maps(pid: u32) -> Result<u64> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    let mut all = std::collections::BTreeMap::new();
    for entry in entries {
        // A descriptor may be gone by now.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        if let (Some(id), Some(bytes)) = (field(&text, "map_id:"), field(&text, "memlock:")) {
            all.insert(id, bytes);
        }
    }
    Ok(all.values().sum())
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn stripped(program: &Path) -> Result<u64> {
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let to = directory.path().join("stripped");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&to).arg(program);
    let status = strip.status().context("cannot start strip, of binutils")?;
    if !status.success() {
        bail!("strip failed ({status})");
    }
    Ok(fs::metadata(&to).context("strip wrote nothing")?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_known_by_its_fields() {
        let text = "pos:\t0\nmap_type:\t6\nmemlock:\t4096\nmap_id:\t17\n";
        assert_eq!((field(text, "map_id:"), field(text, "memlock:")), (Some(17), Some(4096)));
        assert_eq!(field("pos:\t0\n", "map_id:"), None);
    }
}
