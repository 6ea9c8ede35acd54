//! What a process takes of the machine, and what is left.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};

/// What a process has taken so far.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Taken {
    /// Seconds of processor time.
    cpu: f64,
    at: Instant,
    /// Bytes of memory.
    pub(in crate::bench) memory: u64,
    /// The most that it has had.
    pub(super) memory_most: u64,
}

impl Taken {
    /// The share of a processor since then.
    pub(in crate::bench) fn cpu_since(&self, before: &Self) -> f64 {
        (self.cpu - before.cpu) / self.at.duration_since(before.at).as_secs_f64()
    }
}

/// What process `pid` has taken.
pub(in crate::bench) fn taken(pid: u32) -> Result<Taken> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let (status, stat) = (read("status")?, read("stat")?);
    let bytes = |name| kilobytes(&status, name).context("the kernel tells no memory");
    Ok(Taken {
        cpu: cpu(&stat).context("the kernel tells no processor time")?,
        at: Instant::now(),
        memory: bytes("VmRSS:")?,
        memory_most: bytes("VmHWM:")?,
    })
}

/// Memory that could be had, in bytes.
pub(super) fn available() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Bytes of a line such as `VmRSS:     12 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Seconds of processor time in a line of `/proc/PID/stat`, the name in which may hold anything.
fn cpu(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut ticks = rest.split(' ').skip(11).map(str::parse::<u32>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    // USER_HZ is 100 on every architecture that Rust knows.
    Some(f64::from(user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_name_and_place() {
        assert_eq!(kilobytes("VmHWM:\t 7 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(kilobytes("VmRSS: many", "VmRSS:"), None);
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0";
        assert_eq!(cpu(stat), Some(4.0));
        assert_eq!(cpu("nonsense"), None);
        assert!(taken(std::process::id()).unwrap().memory > 0);
    }
}
