//! Which process holds a socket: one pass over the descriptors in `/proc/PID/fd`.
//!
//! A pass is no single moment. A socket in flight between processes, or one that only `io_uring` or
//! the kernel holds, has no holder here; nor has one whose process this one may not look into.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tcp_trace_common as wire;

use super::{descriptors, namespaces, sock_diag::Row};

mod memory;

pub(crate) use memory::Memory;

/// Longest that a pass may take. A descriptor costs about a microsecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// Sockets whose holders are remembered in one pass at most.
const LIMIT: usize = 1 << 20;

/// The process with a descriptor for a socket; where there are several, the one with the lowest
/// number, and its lowest descriptor. With a pre-forking server that is mostly the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Process id.
    pub(crate) pid: u32,
    /// Name of its main thread, NUL padded.
    pub(crate) comm: [u8; 16],
    /// The descriptor.
    pub(crate) fd: i32,
    /// How many more descriptors refer to the socket, in this process and in others.
    pub(crate) others: u32,
}

/// What a pass is to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Descriptors of network namespaces.
    Namespaces,
    /// Those, and the holders of every socket of every kind.
    Sockets,
}

/// What a pass saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Holders by the inode of their socket.
    pub(crate) holders: HashMap<u32, Holder>,
    /// Network namespaces that another process has a descriptor of, by inode, with a way to it.
    pub(crate) namespaces: BTreeMap<u32, PathBuf>,
    /// Whether it ended before every process was looked into, for want of time or room.
    pub(crate) cut: bool,
}

/// Looks into every process, for at most two seconds.
pub(crate) fn look(wanted: Wanted) -> Seen {
    look_under(Path::new("/proc"), wanted, Instant::now() + PATIENCE)
}

/// Writes the holders into the rows' records, as the task the record names.
pub(crate) fn name_owners<'a>(
    rows: impl IntoIterator<Item = &'a mut Row>,
    holders: &HashMap<u32, Holder>,
) {
    for row in rows {
        if let Some(holder) = holders.get(&row.inode) {
            (row.record.pid, row.record.tid) = (holder.pid, holder.pid);
            row.record.set_comm(holder.comm);
            row.record.valid |= wire::VALID_CURRENT;
        }
    }
}

/// Has no early end: a process with a lower number may come later, and `others` counts them all.
fn look_under(procfs: &Path, wanted: Wanted, deadline: Instant) -> Seen {
    let mut seen = Seen::default();
    let processes = fs::read_dir(procfs).into_iter().flatten().filter_map(Result::ok);
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if Instant::now() >= deadline || seen.holders.len() >= LIMIT {
            seen.cut = true;
            break;
        }
        seen.add_process(pid, &process.path(), wanted);
    }
    seen
}

impl Seen {
    /// Adds one process. It may end at any moment, and then holds nothing.
    fn add_process(&mut self, pid: u32, directory: &Path, wanted: Wanted) {
        let mut comm = None;
        let is_other = pid != std::process::id();
        descriptors::each(directory, |fd, target| {
            let Some(inode) = target.and_then(socket_inode) else {
                let path = || directory.join("fd").join(fd.to_string());
                let found = target.filter(|_| is_other);
                let netns = found.and_then(|target| namespaces::of_descriptor(path, target));
                if let Some(netns) = netns {
                    self.namespaces.entry(netns).or_insert_with(path);
                }
                return;
            };
            if wanted == Wanted::Sockets {
                // Read for the few processes that need it, and once.
                let comm = *comm.get_or_insert_with(|| read_comm(directory));
                if let Some(comm) = comm {
                    add(&mut self.holders, inode, Holder { pid, comm, fd, others: 0 });
                }
            }
        });
    }
}

/// Adds one descriptor.
fn add(holders: &mut HashMap<u32, Holder>, inode: u32, found: Holder) {
    match holders.entry(inode) {
        Entry::Vacant(free) => {
            free.insert(found);
        }
        Entry::Occupied(mut taken) => {
            let others = taken.get().others.saturating_add(1);
            let first = *taken.get();
            let lowest = if (found.pid, found.fd) < (first.pid, first.fd) { found } else { first };
            taken.insert(Holder { others, ..lowest });
        }
    }
}

/// The number in `socket:[123]`.
pub(super) fn socket_inode(target: &[u8]) -> Option<u32> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// A process's name: 15 bytes and a newline from the kernel, more for its own threads.
pub(super) fn read_comm(directory: &Path) -> Option<[u8; 16]> {
    let text = fs::read(directory.join("comm")).ok()?;
    let name = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut comm = [0; 16];
    // The last byte stays NUL, as in the kernel.
    for (to, from) in comm.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    Some(comm)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;
    use zerocopy::FromZeros as _;

    use super::*;

    /// Number, name, and descriptors with what they lead to.
    type Process<'a> = (u32, &'a str, &'a [(&'a str, &'a str)]);

    /// A procfs with some of the entries a real one has.
    fn procfs(processes: &[Process<'_>]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (pid, comm, descriptors) in processes {
            let directory = root.path().join(pid.to_string());
            fs::create_dir_all(directory.join("fd")).unwrap();
            fs::write(directory.join("comm"), format!("{comm}\n")).unwrap();
            for (fd, target) in *descriptors {
                symlink(target, directory.join("fd").join(fd)).unwrap();
            }
        }
        fs::write(root.path().join("uptime"), "1 1\n").unwrap();
        fs::create_dir(root.path().join("sys")).unwrap();
        symlink("7", root.path().join("self")).unwrap();
        root
    }

    fn name(text: &str) -> [u8; 16] {
        let mut comm = [0; 16];
        comm[..text.len()].copy_from_slice(text.as_bytes());
        comm
    }

    fn holders_under(procfs: &Path) -> HashMap<u32, Holder> {
        look_under(procfs, Wanted::Sockets, Instant::now() + PATIENCE).holders
    }

    #[test]
    fn the_lowest_process_and_descriptor_hold_and_the_others_count() {
        let root = procfs(&[
            (20, "worker", &[("3", "socket:[100]")]),
            (7, "parent", &[("9", "socket:[100]"), ("4", "socket:[100]"), ("5", "socket:[101]")]),
            (100, "worker", &[("3", "socket:[100]"), ("0", "/dev/null"), ("1", "pipe:[102]")]),
        ]);
        let holders = holders_under(root.path());
        let expected = [
            (100, Holder { pid: 7, comm: name("parent"), fd: 4, others: 3 }),
            (101, Holder { pid: 7, comm: name("parent"), fd: 5, others: 0 }),
        ];
        assert_eq!(holders, HashMap::from(expected));
    }

    #[test]
    fn every_socket_and_namespace_is_seen_in_the_time_there_is() {
        let links = [("3", "socket:[1]"), ("4", "net:[9]"), ("5", "net:[9]"), ("6", "mnt:[8]")];
        let root = procfs(&[(7, "x", &links), (8, "y", &[("3", "socket:[2]")])]);
        let seen = look_under(root.path(), Wanted::Sockets, Instant::now() + PATIENCE);
        assert_eq!(seen.holders.len(), 2);
        assert_eq!(seen.namespaces.keys().collect::<Vec<_>>(), [&9]);
        assert!(seen.namespaces[&9].starts_with(root.path().join("7/fd")));
        assert!(!seen.cut);
        let cut = look_under(root.path(), Wanted::Sockets, Instant::now());
        assert_eq!(cut, Seen { cut: true, ..Seen::default() });
        let none = look_under(root.path(), Wanted::Namespaces, Instant::now() + PATIENCE);
        assert!(none.holders.is_empty() && none.namespaces.len() == 1);
    }

    #[test]
    fn processes_that_end_meanwhile_hold_nothing() {
        let root = procfs(&[(7, "x", &[("3", "socket:[1]")]), (8, "y", &[("3", "socket:[1]")])]);
        fs::remove_file(root.path().join("7/comm")).unwrap();
        fs::create_dir(root.path().join("6")).unwrap();
        assert_eq!(holders_under(root.path())[&1].pid, 8);
        assert!(holders_under(&root.path().join("nowhere")).is_empty());
    }

    #[test]
    fn names_are_cut_to_the_kernels_length() {
        let root = procfs(&[
            (1, "(sd-pam)\nx", &[("3", "socket:[1]")]),
            (2, "kworker/u8:2-events", &[("3", "socket:[2]")]),
            (3, "", &[("3", "socket:[3]")]),
        ]);
        let holders = holders_under(root.path());
        assert_eq!(holders[&1].comm, name("(sd-pam)\nx"));
        assert_eq!(holders[&2].comm, name("kworker/u8:2-ev"));
        assert_eq!(holders[&3].comm, [0; 16]);
    }

    #[test]
    fn a_link_names_a_socket_or_something_else() {
        assert_eq!(socket_inode(b"socket:[4294967295]"), Some(u32::MAX));
        let others =
            ["socket:[]", "socket:[4294967296]", "socket:[1", "anon_inode:[1]", "/a:[1]", ""];
        assert!(others.iter().all(|target| socket_inode(target.as_bytes()).is_none()));
    }

    #[test]
    fn owners_are_named_only_where_one_is_known() {
        let row = |inode| Row {
            record: wire::StateRecord::new_zeroed(),
            inode,
            queues: (0, 0),
            idle: None,
        };
        let mut rows = [row(1), row(2), row(0)];
        let holders = HashMap::from([(1, Holder { pid: 7, comm: name("x"), fd: 3, others: 0 })]);
        name_owners(&mut rows, &holders);
        let record = &rows[0].record;
        assert_eq!((record.pid, record.tid, record.comm_bytes()), (7, 7, name("x")));
        assert_eq!(record.valid, wire::VALID_CURRENT);
        assert_eq!(rows[1..], [row(2), row(0)]);
    }
}
