//! A daemon that has nothing to do: how soon it traces, what it takes then, how large it is.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    super::{diagnosis::process::taken, statistics::Spread},
    delay, threads,
};
use crate::{
    daemon::{Daemon, Serve},
    namespace::Network,
};

/// The thread that takes snapshots.
const SNAPSHOTS: &str = "reconciler";
/// How often it is started.
const STARTS: usize = 5;

/// What it takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::bench) struct Rest {
    /// Milliseconds from its start until it is ready, a look in every five.
    pub(in crate::bench) ready_ms: Spread,
    /// Milliseconds from a state change until it is watched.
    pub(in crate::bench) delay_ms: Spread,
    /// Share of one processor, snapshots and all.
    pub(in crate::bench) cpu: f64,
    /// The part of it that is the thread's which takes the snapshots, where it was told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::bench) snapshots: Option<f64>,
    /// Over how many seconds that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::bench) seconds: Option<u64>,
    /// Resident bytes.
    pub(in crate::bench) memory: u64,
    /// Bytes of its maps in the kernel.
    pub(in crate::bench) maps: u64,
    /// Bytes of the buffers that the kernel sends events through.
    pub(in crate::bench) buffers: u64,
    /// Bytes of the program without its debug information.
    pub(in crate::bench) program: u64,
}

impl Rest {
    /// Share of one processor beside the snapshots' thread, where that was told apart.
    pub(in crate::bench) fn without_snapshots(&self) -> Option<f64> {
        self.snapshots.map(|snapshots| (self.cpu - snapshots).max(0.0))
    }
}

/// Starts one in a network namespace of its own and leaves it alone for so many `seconds`.
pub(super) fn measure(program: &Path, seconds: u64) -> Result<Rest> {
    let network = Network::new()?;
    let serve = Serve::states(program).within(&network);
    let mut ready_ms = Vec::new();
    for _ in 1..STARTS {
        let (daemon, ms) = start(&serve)?;
        ready_ms.push(ms);
        daemon.stop()?;
    }
    let (daemon, ms) = start(&serve)?;
    ready_ms.push(ms);
    thread::sleep(Duration::from_secs(3));
    let (before, threads) = (taken(daemon.pid())?, threads::taken(daemon.pid())?);
    let begun = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    let (after, threads) = (taken(daemon.pid())?, threads::taken(daemon.pid())?.since(&threads));
    let share = |taken: Duration| taken.as_secs_f64() / begun.elapsed().as_secs_f64();
    let (maps, buffers) = (maps(daemon.pid())?, buffers(daemon.pid())?);
    let delay_ms = delay::measure(program, &daemon, &network)?;
    daemon.stop()?;
    Ok(Rest {
        ready_ms: Spread::of(ready_ms).context("it was never started")?,
        delay_ms,
        // Both are too little: one is in whole ticks, the other without threads that have ended.
        cpu: after.cpu_since(&before).max(share(threads.all())),
        snapshots: Some(share(threads.of(SNAPSHOTS))),
        seconds: Some(seconds),
        memory: after.memory,
        maps,
        buffers,
        program: stripped(program)?,
    })
}

fn start(serve: &Serve) -> Result<(Daemon, f64)> {
    let begun = Instant::now();
    let daemon = Daemon::start(serve)?;
    Ok((daemon, begun.elapsed().as_secs_f64() * 1e3))
}

/// What a process shares with the kernel to be sent events.
fn buffers(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/maps");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let lines = text.lines().filter(|line| line.ends_with("[perf_event]"));
    Ok(lines.filter_map(length).sum())
}

/// Bytes of the range that a line such as `7f00-7fff rw-s ...` begins with.
fn length(line: &str) -> Option<u64> {
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    number(to)?.checked_sub(number(from)?)
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

    #[test]
    fn a_buffer_is_as_long_as_its_range() {
        let line = "7fd2af7fe000-7fd2afbff000 rw-s 00000000 00:10 1 anon_inode:[perf_event]";
        assert_eq!(length(line), Some(0x40_1000));
        assert_eq!(length("2-1 rw"), None);
        assert_eq!(length(""), None);
    }
}
