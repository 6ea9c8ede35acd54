//! The network namespaces of the host that something refers to: a process, or a bind mount.
//!
//! Nothing is held open beyond a look: a descriptor on a namespace would keep it alive, and with it
//! the interfaces and sockets that its owner believes to be gone.
//!
//! Not found is a namespace that only sockets or descriptors of processes elsewhere keep alive,
//! until [`holders`](super::holders) meets such a descriptor.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use super::sys;

mod mountinfo;

/// Namespaces looked after at most; the rest is counted.
const LIMIT: usize = 4096;
/// Ways into one namespace that are remembered: a process may end before it is used.
const WAYS: usize = 4;

/// A network namespace and the ways into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// Its inode, by which the kernel programs know it.
    pub(crate) inode: u32,
    /// Paths that led to it; a bind mount, where there is one, first.
    ways: Vec<PathBuf>,
}

impl Namespace {
    /// A handle to enter it. The caller closes it soon.
    ///
    /// # Errors
    /// Where no path leads to it any more.
    pub(crate) fn open(&self) -> io::Result<File> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for way in &self.ways {
            match open(way) {
                Ok((inode, handle)) if inode == self.inode => return Ok(handle),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// What one look found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The namespaces by inode.
    pub(crate) found: BTreeMap<u32, Namespace>,
    /// Namespaces beyond the limit, counted once for each thing that refers to them.
    pub(crate) beyond_limit: u64,
    /// Processes whose namespace may not be read (it takes `CAP_SYS_PTRACE`).
    pub(crate) unreadable: u64,
}

impl Scan {
    /// Looks at mounts and processes.
    pub(crate) fn now() -> Self {
        let mut scan = Self::default();
        scan.add_mounts(Path::new("/proc/self/mountinfo"), Path::new("/"));
        if fs::read_link("/proc/1/ns/mnt").ok() != fs::read_link("/proc/self/ns/mnt").ok() {
            // In a container of our own with the host's processes: their mounts are others.
            scan.add_mounts(Path::new("/proc/1/mountinfo"), Path::new("/proc/1/root"));
        }
        scan.add_processes(Path::new("/proc"));
        scan
    }

    /// Adds a way into a namespace, new or known.
    pub(crate) fn add(&mut self, inode: u32, way: PathBuf) {
        if let Some(known) = self.found.get_mut(&inode) {
            if known.ways.len() < WAYS && !known.ways.contains(&way) {
                known.ways.push(way);
            }
        } else if self.found.len() < LIMIT {
            self.found.insert(inode, Namespace { inode, ways: vec![way] });
        } else {
            self.beyond_limit += 1;
        }
    }

    /// Adds those that threads other than the first of their process live in; walks every thread.
    pub(crate) fn add_threads(&mut self) {
        for process in numbered(Path::new("/proc")) {
            for thread in numbered(&process.join("task")) {
                let way = thread.join("ns/net");
                if let Some(inode) = fs::read_link(&way).ok().and_then(|link| inode(&link)) {
                    self.add(inode, way);
                }
            }
        }
    }

    fn add_mounts(&mut self, mountinfo: &Path, root: &Path) {
        let Ok(text) = fs::read(mountinfo) else { return };
        for (inode, point) in mountinfo::namespaces(&text) {
            let point = point.strip_prefix("/").map(Path::to_owned).unwrap_or(point);
            self.add(inode, root.join(point));
        }
    }

    fn add_processes(&mut self, procfs: &Path) {
        for process in numbered(procfs) {
            let way = process.join("ns/net");
            match fs::read_link(&way) {
                Ok(link) => {
                    if let Some(inode) = inode(&link) {
                        self.add(inode, way);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.unreadable += 1;
                }
                // It has just ended.
                Err(_) => {}
            }
        }
    }
}

/// Opens a path that is to lead to a network namespace.
///
/// # Errors
/// Where it cannot be opened, or leads to anything else.
pub(crate) fn open(path: &Path) -> io::Result<(u32, File)> {
    // Whatever lies there, opening it must not wait.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let handle = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if sys::namespace_kind(handle.as_fd()).ok() != Some(libc::CLONE_NEWNET) {
        return Err(io::Error::other("this is no network namespace, or its mount is gone"));
    }
    let inode = u32::try_from(handle.metadata()?.ino()).map_err(io::Error::other)?;
    Ok((inode, handle))
}

/// The network namespace that a process's descriptor stands for, if it stands for one; `target` is
/// what its link in `/proc/PID/fd` reads as, `descriptor` that link.
///
/// One opened through `/proc` reads as `net:[...]`, one opened through a bind mount as the path of
/// that mount, or as `/` once it is unmounted.
pub(crate) fn of_descriptor(descriptor: impl FnOnce() -> PathBuf, target: &[u8]) -> Option<u32> {
    let target = Path::new(OsStr::from_bytes(target));
    if target != Path::new("/") && !target.starts_with("/run") && !target.starts_with("/var/run") {
        return inode(target);
    }
    // Nothing but a namespace may be opened: that of a FIFO would be noticed by its writer.
    let device = fs::metadata("/proc/self/ns/net").ok()?.dev();
    let descriptor = descriptor();
    let is_namespace = fs::metadata(&descriptor).is_ok_and(|found| found.dev() == device);
    is_namespace.then(|| open(&descriptor).ok()).flatten().map(|(inode, _)| inode)
}

/// The number in `net:[4026531840]`, which links to network namespaces read as.
fn inode(link: &Path) -> Option<u32> {
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Entries whose name is a number.
fn numbered(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::kernel::host::own_netns;

    #[test]
    fn our_own_namespace_is_found_and_can_be_opened() {
        let own = own_netns().unwrap();
        let scan = Scan::now();
        let (inode, _) = open(Path::new("/proc/self/ns/net")).unwrap();
        assert_eq!(inode, own);
        scan.found[&own].open().unwrap();
        assert_eq!(scan.beyond_limit, 0);
    }

    #[test]
    fn what_is_no_namespace_is_not_opened_as_one() {
        let error = open(Path::new("/proc/self/ns/uts")).unwrap_err().to_string();
        assert!(error.contains("no network namespace"), "{error}");
        assert!(open(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn processes_are_taken_once_for_each_namespace() {
        let root = tempfile::tempdir().unwrap();
        for (pid, link) in [("1", "net:[5]"), ("2", "net:[5]"), ("3", "net:[6]"), ("4", "odd")] {
            fs::create_dir_all(root.path().join(pid).join("ns")).unwrap();
            symlink(link, root.path().join(pid).join("ns/net")).unwrap();
        }
        fs::create_dir_all(root.path().join("5")).unwrap();
        fs::create_dir_all(root.path().join("self")).unwrap();
        let mut scan = Scan::default();
        scan.add_processes(root.path());
        assert_eq!(scan.found.keys().copied().collect::<Vec<_>>(), [5, 6]);
        assert_eq!(scan.found[&5].ways.len(), 2);
        assert_eq!(scan.unreadable, 0);
    }

    #[test]
    fn a_way_that_leads_elsewhere_now_is_not_taken() {
        let stale = Namespace { inode: 1, ways: vec!["/proc/self/ns/net".into(), "/gone".into()] };
        assert_eq!(stale.open().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_limits_hold() {
        let mut scan = Scan::default();
        for inode in 0..u32::try_from(LIMIT).unwrap() + 3 {
            scan.add(inode, "/x".into());
        }
        assert_eq!((scan.found.len(), scan.beyond_limit), (LIMIT, 3));
        for way in 0..10 {
            scan.add(7, way.to_string().into());
        }
        assert_eq!(scan.found[&7].ways.len(), WAYS);
    }

    #[test]
    fn a_link_names_a_network_namespace_or_something_else() {
        assert_eq!(inode(Path::new("net:[4026531840]")), Some(4_026_531_840));
        for other in ["net:[]", "net:[4294967296]", "mnt:[5]", "net:[5", "/net:[5]", ""] {
            assert_eq!(inode(Path::new(other)), None, "{other}");
        }
    }
}
