//! What `/proc` says of one process, believed only while its number is still its own.
//!
//! A process is known by its number and its start: field 22 of `/proc/PID/stat`, in ticks of 10 ms
//! since boot (`USER_HZ` is 100 everywhere), rounded down from the very nanoseconds of
//! `CLOCK_BOOTTIME` that the kernel programs read. A process that has this number and this start
//! after a look has had them all the while, so one comparison afterwards is enough.

use std::{fs, path::Path};

/// Nanoseconds in a tick of `/proc`.
const TICK_NS: u64 = 10_000_000;
/// The host's own namespace of process numbers (`PROC_PID_INIT_INO`, the same on every kernel).
const FIRST_PIDS: &str = "pid:[4026531836]";
/// Longest path kept, in bytes.
const PATH_LIMIT: usize = 1024;

/// When a process began, in ticks since boot: as exact as `/proc` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Start(u64);

impl Start {
    /// From nanoseconds of `CLOCK_BOOTTIME` (`task_struct.start_boottime`).
    pub(crate) const fn from_ns(ns: u64) -> Self {
        Self(ns / TICK_NS)
    }
}

/// What a living process tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessFacts {
    /// Path of its program as seen by itself, with ` (deleted)` behind it where the file is no more;
    /// kernel threads have none.
    pub(crate) exe: Option<String>,
    /// Its cgroup's path in the v2 hierarchy; on a host that sorts its processes by v1 hierarchies,
    /// in the one that systemd keeps, or else in one that tells anything.
    pub(crate) cgroup: Option<String>,
}

/// Asks process `pid`; `None` where it is gone. With `start`, another one that has come to the same
/// number is not believed.
pub(crate) fn ask(pid: u32, start: Option<Start>) -> Option<ProcessFacts> {
    ask_under(Path::new("/proc"), pid, start)
}

/// Whether process `pid` is alive, and the one that began then.
pub(crate) fn is_alive(pid: u32, start: Option<Start>) -> bool {
    let found = start_under(Path::new("/proc"), pid);
    found.is_some_and(|found| start.is_none_or(|start| start == found))
}

/// Whether every process of the host is seen from here: in a container with numbers of its own
/// (`PID` namespace), one that is not found may live all the same.
pub(crate) fn are_all_seen() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace == Path::new(FIRST_PIDS))
}

fn ask_under(procfs: &Path, pid: u32, start: Option<Start>) -> Option<ProcessFacts> {
    let start = start.or_else(|| start_under(procfs, pid))?;
    let directory = procfs.join(pid.to_string());
    let exe = fs::read_link(directory.join("exe")).ok();
    let cgroups = fs::read_to_string(directory.join("cgroup")).unwrap_or_default();
    let facts = ProcessFacts {
        exe: exe.map(|path| shortened(&path.to_string_lossy())),
        cgroup: cgroup_of(&cgroups).map(shortened),
    };
    (start_under(procfs, pid)? == start).then_some(facts)
}

fn start_under(procfs: &Path, pid: u32) -> Option<Start> {
    let stat = fs::read(procfs.join(pid.to_string()).join("stat")).ok()?;
    // The name, field 2, may hold spaces, parentheses and bytes that are no text.
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok().map(Start)
}

/// The path that tells the most, of the lines of `/proc/PID/cgroup`: `0::PATH` for v2,
/// `NUMBER:CONTROLLERS:PATH` for v1.
fn cgroup_of(lines: &str) -> Option<&str> {
    let paths = lines.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let rank = match (number, controllers) {
            ("0", "") => 0,
            (_, "name=systemd") => 1,
            (_, "memory" | "pids") => 2,
            _ => 3,
        };
        // A hierarchy that nobody sorts by says nothing.
        Some((path == "/", rank, path))
    });
    paths.min_by_key(|(root, rank, _)| (*root, *rank)).map(|(.., path)| path)
}

fn shortened(path: &str) -> String {
    path.get(..path.floor_char_boundary(PATH_LIMIT)).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const STAT: &str = "S 1 7 7 0 -1 4194304 9 0 0 0 1 2 0 0 20 0 1 0";

    /// A procfs with process 7, which began at tick `start`.
    fn procfs(start: u64, exe: Option<&str>, cgroup: &str) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("7");
        fs::create_dir(&directory).unwrap();
        let mut line = b"7 (a) \xff(b ) ".to_vec();
        line.extend(format!("{STAT} {start} 0 0\n").bytes());
        fs::write(directory.join("stat"), line).unwrap();
        fs::write(directory.join("cgroup"), cgroup).unwrap();
        if let Some(exe) = exe {
            symlink(exe, directory.join("exe")).unwrap();
        }
        root
    }

    #[test]
    fn a_process_is_believed_by_its_start() {
        let root = procfs(1234, Some("/usr/sbin/nginx"), "0::/system.slice/nginx.service\n");
        let facts = ProcessFacts {
            exe: Some("/usr/sbin/nginx".to_owned()),
            cgroup: Some("/system.slice/nginx.service".to_owned()),
        };
        let ask = |start| ask_under(root.path(), 7, start);
        assert_eq!(ask(Some(Start::from_ns(12_345_678_901))), Some(facts.clone()));
        assert_eq!(ask(None), Some(facts));
        assert_eq!(ask(Some(Start::from_ns(12_339_999_999))), None, "one that was there before");
        assert_eq!(ask(Some(Start::from_ns(12_350_000_000))), None);
        assert_eq!(ask_under(root.path(), 8, None), None);
    }

    #[test]
    fn a_kernel_thread_has_no_program() {
        let root = procfs(3, None, "0::/\n");
        let facts = ask_under(root.path(), 7, None).unwrap();
        assert_eq!(facts, ProcessFacts { exe: None, cgroup: Some("/".to_owned()) });
    }

    #[test]
    fn the_hierarchy_that_tells_something_is_taken() {
        let v1 = "4:memory:/docker/x\n2:cpu:/cpu\n1:name=systemd:/system.slice/a.service\n";
        assert_eq!(cgroup_of(v1), Some("/system.slice/a.service"));
        let hybrid = "9:name=systemd:/\n8:pids:/\n4:memory:/process/x:y\n0::/\n";
        assert_eq!(cgroup_of(hybrid), Some("/process/x:y"));
        let both = "1:name=systemd:/a\n0::/b\n";
        assert_eq!(cgroup_of(both), Some("/b"));
        assert_eq!(cgroup_of("0::/\n"), Some("/"));
        assert_eq!(cgroup_of(""), None);
        assert_eq!(cgroup_of("x\n1:y"), None);
    }

    #[test]
    fn paths_are_cut_between_characters() {
        let long = "é".repeat(PATH_LIMIT);
        assert_eq!(shortened(&long).len(), PATH_LIMIT);
        assert_eq!(shortened(&format!("a{long}")).len(), PATH_LIMIT - 1);
        assert_eq!(shortened("/short"), "/short");
    }

    #[test]
    fn this_very_process_is_found() {
        let pid = std::process::id();
        let start = start_under(Path::new("/proc"), pid).unwrap();
        let facts = ask(pid, Some(start)).unwrap();
        assert_eq!(facts.exe, Some(std::env::current_exe().unwrap().display().to_string()));
        assert!(ask(pid, Some(Start(start.0 + 1))).is_none());
    }
}
