//! A systemd unit as far as the kernel knows one: a cgroup whose name says so.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use super::super::deadline::until;

/// The unit. Dropping it removes it, once nobody is in it.
#[derive(Debug)]
pub(super) struct Unit {
    name: String,
    directory: PathBuf,
}

impl Unit {
    /// A new one, at the root of the hierarchy; why not, where this host lets nobody make any.
    pub(super) fn new() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("tcp-trace-test-{}-{number}.service", std::process::id());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = mounts.lines().find_map(mounted).ok_or("no cgroup2 is mounted")?;
        let directory = root.join(&name);
        fs::create_dir(&directory).map_err(|why| format!("{}: {why}", directory.display()))?;
        Ok(Self { name, directory })
    }

    /// What `systemctl` would call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Lets what `command` starts begin in it, as systemd does.
    pub(super) fn take_in(&self, command: &mut Command) {
        let members = self.directory.join("cgroup.procs");
        let members = File::options().write(true).open(members).unwrap();
        // SAFETY: between fork and exec one system call is made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || (&members).write_all(b"0"));
        }
    }
}

/// Where a line of `mountinfo` has cgroup2.
fn mounted(line: &str) -> Option<PathBuf> {
    let (mount, system) = line.split_once(" - ")?;
    let at = || mount.split(' ').nth(4).map(PathBuf::from);
    system.starts_with("cgroup2 ").then(at).flatten()
}

impl Drop for Unit {
    fn drop(&mut self) {
        // The last of those that were in it may be on its way out.
        let tried = || format!("{} cannot be removed", self.directory.display());
        let gone = || fs::remove_dir(&self.directory).ok();
        if std::thread::panicking() {
            gone();
        } else {
            until(tried, gone);
        }
    }
}
