//! Facts about the host, gathered once and decided upon elsewhere.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// `CAP_NET_ADMIN`.
pub const CAP_NET_ADMIN: u8 = 12;
/// `CAP_SYS_ADMIN`.
pub const CAP_SYS_ADMIN: u8 = 21;
/// `CAP_PERFMON` (5.8).
pub const CAP_PERFMON: u8 = 38;
/// `CAP_BPF` (5.8).
pub const CAP_BPF: u8 = 39;

/// Where the kernel's types are described.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// What this host is and allows. Saved and read back as JSON, so that a support case can be
/// judged elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// Kernel release, as `uname -r` says it.
    pub kernel: String,
    /// Machine architecture.
    pub arch: String,
    /// Effective capabilities as a bit mask.
    pub capabilities: u64,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// Whether the kernel describes its types in [`KERNEL_BTF`], or why that could not be read.
    pub btf: BtfPresence,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i32>,
    /// CPUs online.
    pub cpus: Vec<u32>,
    /// Inode of the daemon's own network namespace.
    pub netns: Option<u32>,
}

/// Kernel lockdown (`/sys/kernel/security/lockdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lockdown {
    /// Not locked down.
    None,
    /// Kernel memory may not be written; reading is allowed.
    Integrity,
    /// Kernel memory may not be read by `bpf_probe_read_kernel` either.
    Confidentiality,
    /// The host does not say (securityfs is not mounted, or the feature is not built in).
    Unknown,
}

/// Whether BTF is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BtfPresence {
    /// It is, in the kernel itself.
    Kernel,
    /// It comes from a file named by the user.
    File(String),
    /// It is not.
    Missing(String),
}

impl HostFacts {
    /// Asks the host. Never fails: what cannot be learnt is a fact of its own.
    #[must_use]
    pub fn gather(btf_file: Option<&Path>) -> Self {
        let uname = rustix::system::uname();
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            arch: uname.machine().to_string_lossy().into_owned(),
            capabilities: capabilities(&read("/proc/self/status").unwrap_or_default()),
            lockdown: lockdown(read("/sys/kernel/security/lockdown").ok().as_deref()),
            btf: btf_presence(btf_file),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            cpus: cpu_list(&read("/sys/devices/system/cpu/online").unwrap_or_default()),
            netns: own_netns(),
        }
    }

    /// The first two numbers of the kernel's release; (0, 0) where it has none.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => (0, 0),
        }
    }

    /// Whether the process has this capability.
    #[must_use]
    pub fn has(&self, capability: u8) -> bool {
        self.capabilities >> capability & 1 != 0
    }
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path)
}

fn number(path: &str) -> Option<i32> {
    read(path).ok()?.trim().parse().ok()
}

/// Inode of this thread's network namespace.
pub(crate) fn own_netns() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/thread-self/ns/net").ok().and_then(|ns| u32::try_from(ns.ino()).ok())
}

fn btf_presence(file: Option<&Path>) -> BtfPresence {
    let path = file.unwrap_or(Path::new(KERNEL_BTF));
    match (fs::File::open(path), file) {
        (Ok(_), None) => BtfPresence::Kernel,
        (Ok(_), Some(file)) => BtfPresence::File(file.display().to_string()),
        (Err(error), _) => BtfPresence::Missing(format!("{}: {error}", path.display())),
    }
}

/// `CapEff:` of `/proc/self/status`.
fn capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// The word in brackets of `[none] integrity confidentiality`.
fn lockdown(text: Option<&str>) -> Lockdown {
    let chosen =
        text.and_then(|text| text.split('[').nth(1)).and_then(|rest| rest.split(']').next());
    match chosen {
        Some("none") => Lockdown::None,
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}

/// `0-3,8` as numbers; bounded, since the text is not ours.
fn cpu_list(text: &str) -> Vec<u32> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse::<u32>().ok()?.min(8191))
        })
        .flatten()
        .collect()
}

/// What the host calls itself.
pub(crate) fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        let version = |kernel: &str| {
            HostFacts { kernel: kernel.to_owned(), ..HostFacts::gather(None) }.version()
        };
        assert_eq!(version("6.18.15+deb13-cloud-amd64"), (6, 18));
        assert_eq!(version("5.10.0-32-cloud-amd64"), (5, 10));
        assert_eq!(version("7.0-rc1"), (7, 0));
        assert_eq!(version("next"), (0, 0));
    }

    #[test]
    fn cpu_lists_are_ranges_and_single_ones() {
        assert_eq!(cpu_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(cpu_list("0"), [0]);
        assert!(cpu_list("").is_empty());
        assert!(cpu_list("0-4294967295").len() <= 8192);
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        let locked = lockdown(Some("none integrity [confidentiality]\n"));
        assert_eq!(locked, Lockdown::Confidentiality);
        assert_eq!(lockdown(Some("[none] integrity confidentiality")), Lockdown::None);
        assert_eq!(lockdown(Some("nonsense")), Lockdown::Unknown);
        assert_eq!(lockdown(None), Lockdown::Unknown);
    }

    #[test]
    fn capabilities_are_the_effective_ones() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t000000c000000000\n";
        assert_eq!(capabilities(status), 1 << CAP_BPF | 1 << CAP_PERFMON);
        assert_eq!(capabilities("nothing"), 0);
    }

    #[test]
    fn a_missing_btf_file_is_a_fact_and_no_failure() {
        let facts = HostFacts::gather(Some(Path::new("/nonexistent/btf")));
        assert!(matches!(facts.btf, BtfPresence::Missing(why) if why.contains("/nonexistent/btf")));
    }
}
