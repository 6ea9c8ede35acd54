//! State changes that tracing may not have been shown.
//!
//! There are kernels, of some providers' virtual machines, that run no BPF tracing program while a
//! thread of process 1 is current. A softirq that interrupts such a thread changes states all the
//! same (a timer gives a connection up, say), and no tracer is told, nor does the kernel count a
//! miss: `tcpstates` lacks exactly these changes too. A test that waits for one of them fails then,
//! and says nothing of us. The kernel's own trace events are told of them: they are counted here, so
//! that whoever runs the tests knows whether there was any.

use std::{
    fs, io, iter,
    path::{Path, PathBuf},
    process,
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// Where the kernel's trace events are to be had on most hosts.
const TRACEFS: &str = "/sys/kernel/tracing";
/// The one of state changes.
const EVENT: &str = "events/sock/inet_sock_set_state";
/// Threads whose changes are counted: a filter is a page at most.
const THREADS: usize = 100;

/// Counts while it lives.
#[derive(Debug)]
pub(super) struct Hidden {
    /// A buffer of our own, which takes nothing from anybody.
    instance: PathBuf,
    /// Where they were made to be had, to be undone after the instance.
    _mounted: Option<Mounted>,
}

impl Hidden {
    /// Begins to count; nothing where this kernel or this user cannot.
    pub(super) fn watch() -> Option<Self> {
        let threads = Path::new("/proc/1/task");
        if Path::new(TRACEFS).join(EVENT).exists() {
            return Self::watch_at(Path::new(TRACEFS), threads, None).ok();
        }
        let mounted = Mounted::new().ok()?;
        let tracefs = mounted.0.path().to_owned();
        Self::watch_at(&tracefs, threads, Some(mounted)).ok()
    }

    fn watch_at(tracefs: &Path, threads: &Path, mounted: Option<Mounted>) -> io::Result<Self> {
        let threads: Vec<_> = fs::read_dir(threads)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .take(THREADS)
            .collect();
        let instance = tracefs.join(format!("instances/tcp-trace-tests-{}", process::id()));
        fs::create_dir(&instance)?;
        let hidden = Self { instance, _mounted: mounted };
        fs::write(hidden.instance.join(EVENT).join("filter"), filter(&threads))?;
        fs::write(hidden.instance.join(EVENT).join("enable"), "1")?;
        Ok(hidden)
    }

    /// How many there were; of very many the last ones.
    pub(super) fn count(&self) -> usize {
        fs::read_to_string(self.instance.join("trace")).map_or(0, |trace| changes(&trace))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Whatever remains costs little, and goes with the kernel at the latest.
        let _ = fs::write(self.instance.join(EVENT).join("enable"), "0");
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Trace events in a directory of our own.
#[derive(Debug)]
struct Mounted(TempDir);

impl Mounted {
    fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        mount("tracefs", directory.path(), "tracefs", MountFlags::empty(), None)?;
        Ok(Self(directory))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The directory can be removed after it, and only then.
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// Lets through what happens while one of `threads` is current.
fn filter(threads: &[String]) -> String {
    let each = threads.iter().map(|thread| format!("common_pid == {thread}"));
    each.reduce(|all, one| format!("{all} || {one}")).unwrap_or_else(|| "common_pid == 1".into())
}

fn changes(trace: &str) -> usize {
    trace.lines().filter(|line| line.contains(": inet_sock_set_state: ")).count()
}

/// Says what was seen, and what is tried again for it.
pub(super) fn words(count: usize, tests: &[String]) -> String {
    let head = format!(
        "\n{count} state changes were made while process 1 was interrupted: there are kernels that \
         tell no tracer of them. What failed is tried once more:"
    );
    iter::once(head)
        .chain(tests.iter().map(|test| format!("  {test}")))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_process_1_are_let_through() {
        let threads = ["1".to_owned(), "75".to_owned()];
        assert_eq!(filter(&threads), "common_pid == 1 || common_pid == 75");
        assert_eq!(filter(&[]), "common_pid == 1");
    }

    #[test]
    fn changes_are_lines_of_the_event() {
        let trace = "# tracer: nop\n#\n  init-1  [000] ..s2. 27.9: inet_sock_set_state: family=AF_INET \
                     oldstate=TCP_ESTABLISHED newstate=TCP_CLOSE\n init-1 [000] d 28.0: other: \n";
        assert_eq!(changes(trace), 1);
    }

    #[test]
    fn a_host_without_trace_events_counts_nothing() {
        let nowhere = tempfile::tempdir().unwrap();
        let threads = Path::new("/proc/1/task");
        assert!(Hidden::watch_at(&nowhere.path().join("no"), threads, None).is_err());
    }
}
