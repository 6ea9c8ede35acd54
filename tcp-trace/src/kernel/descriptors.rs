//! Who holds these very sockets, and how many descriptors these very processes have: one pass over
//! `/proc/PID/fd`, for a diagnosis.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::{Dir, Mode, OFlags, readlinkat_raw};

use super::holders::{read_comm, socket_inode};
use crate::core::{
    diagnosis::evidence::{Descriptor, ProcessFacts},
    event::Comm,
};

/// Longest that a pass may take. A descriptor costs about a microsecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// Descriptors remembered for each socket.
const HOLDERS: usize = 4;
/// Bytes of a link that are read: of a path that is longer, the beginning is all that matters.
const LINK: usize = 256;
/// Descriptors of sockets in no list that are remembered for each process.
const UNLISTED: usize = 8;

/// What is looked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Sockets, by inode.
    pub(crate) sockets: FxHashSet<u32>,
    /// Processes whose descriptors are counted.
    pub(crate) processes: BTreeSet<u32>,
    /// Those of them whose sockets are compared with the kernel's lists.
    pub(crate) closed: BTreeSet<u32>,
    /// Inodes of the TCP sockets that are listed.
    pub(crate) listed: FxHashSet<u32>,
}

/// Who holds a socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    /// The first few.
    pub(crate) some: Vec<Descriptor>,
    /// All.
    pub(crate) count: u32,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Holders, by inode.
    pub(crate) holders: FxHashMap<u32, Holders>,
    /// Facts about processes.
    pub(crate) processes: BTreeMap<u32, ProcessFacts>,
    /// Whether it ended before every process was looked into.
    pub(crate) cut: bool,
}

/// Looks, for at most two seconds.
pub(crate) fn look(wanted: &Wanted) -> Found {
    look_under(Path::new("/proc"), wanted, Instant::now() + PATIENCE)
}

fn look_under(procfs: &Path, wanted: &Wanted, deadline: Instant) -> Found {
    let mut found = Found::default();
    // Those that are suspected come first, for the others there may be no time.
    for pid in &wanted.processes {
        found.add(*pid, &procfs.join(pid.to_string()), wanted);
    }
    if wanted.sockets.is_empty() {
        return found;
    }
    for process in fs::read_dir(procfs).into_iter().flatten().filter_map(Result::ok) {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|pid| !wanted.processes.contains(pid)) else { continue };
        if Instant::now() >= deadline {
            found.cut = true;
            break;
        }
        found.add(pid, &process.path(), wanted);
    }
    found
}

impl Found {
    fn add(&mut self, pid: u32, directory: &Path, wanted: &Wanted) {
        let counted = wanted.processes.contains(&pid);
        let mut facts = ProcessFacts::default();
        let mut comm = None;
        let mut sockets = Vec::new();
        let is_there = each(directory, |fd, target| {
            facts.descriptors += 1;
            let Some(inode) = target.and_then(socket_inode) else { return };
            if wanted.closed.contains(&pid) {
                sockets.push((fd, inode));
            }
            if !wanted.sockets.contains(&inode) {
                return;
            }
            let comm = *comm.get_or_insert_with(|| Comm(read_comm(directory).unwrap_or_default()));
            let holders = self.holders.entry(inode).or_default();
            holders.count += 1;
            if holders.some.len() < HOLDERS {
                holders.some.push(Descriptor { pid, comm, fd });
            }
        });
        if !is_there {
            return;
        }
        if counted {
            facts.limit = limit(directory);
            if wanted.closed.contains(&pid) {
                unlisted(&mut facts, directory, sockets, &wanted.listed);
            }
            self.processes.insert(pid, facts);
        }
    }
}

/// Hands over each descriptor of a process, with what its link reads as, if that could be read; false
/// where the process has ended, or may not be looked into. By way of the directory's own descriptor:
/// on a host with many, the walk to each from `/proc` on is what would cost.
pub(super) fn each(directory: &Path, mut take: impl FnMut(i32, Option<&[u8]>)) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(place) = rustix::fs::open(directory.join("fd"), flags, Mode::empty()) else {
        return false;
    };
    let Ok(entries) = Dir::read_from(&place) else { return false };
    let mut link = [0; LINK];
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(fd) = name.to_str().ok().and_then(|name| name.parse().ok()) else { continue };
        let length = readlinkat_raw(&place, name, &mut link[..]);
        take(fd, length.ok().and_then(|length| link.get(..length)));
    }
    true
}

/// The soft limit of `RLIMIT_NOFILE`.
fn limit(directory: &Path) -> Option<u64> {
    let limits = fs::read_to_string(directory.join("limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Sockets that no list of the kernel's shows. A TCP socket that has come to CLOSE is in none.
fn unlisted(
    facts: &mut ProcessFacts,
    directory: &Path,
    mut sockets: Vec<(i32, u32)>,
    tcp: &FxHashSet<u32>,
) {
    let Some(others) = listed(&directory.join("net")) else { return };
    sockets.retain(|(_, inode)| !tcp.contains(inode) && !others.contains(inode));
    sockets.sort_unstable();
    facts.unlisted_count = Some(sockets.len() as u64);
    facts.unlisted = sockets.into_iter().map(|(fd, _)| fd).take(UNLISTED).collect();
}

/// Inodes of the sockets in the lists that `/proc` keeps of a process's namespace.
fn listed(net: &Path) -> Option<FxHashSet<u32>> {
    /// Each list, and in which column it has the inode.
    const LISTS: [(&str, usize); 14] = [
        ("tcp", 9),
        ("tcp6", 9),
        ("udp", 9),
        ("udp6", 9),
        ("udplite", 9),
        ("udplite6", 9),
        ("raw", 9),
        ("raw6", 9),
        ("icmp", 9),
        ("icmp6", 9),
        ("netlink", 9),
        ("packet", 8),
        ("unix", 6),
        ("vsock", 7),
    ];
    let mut inodes = FxHashSet::default();
    // Without this one the others would prove nothing.
    fs::metadata(net.join("unix")).ok()?;
    for (list, column) in LISTS {
        let text = fs::read_to_string(net.join(list)).unwrap_or_default();
        let inode = |line: &str| line.split_ascii_whitespace().nth(column)?.parse::<u32>().ok();
        inodes.extend(text.lines().skip(1).filter_map(inode));
    }
    Some(inodes)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            fd::AsRawFd,
            unix::{fs::MetadataExt as _, net::UnixStream},
        },
    };

    use super::*;

    fn inode(socket: &impl AsRawFd) -> u32 {
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        fs::metadata(path).unwrap().ino().try_into().unwrap()
    }

    #[test]
    fn this_process_holds_what_it_opens_and_a_closed_socket_is_in_no_list() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let again = client.try_clone().unwrap();
        let (server, _) = listener.accept().unwrap();
        // Reset: nothing lists the server's end any more.
        rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO)).unwrap();
        let (_udp, _unix) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UnixStream::pair().unwrap());
        let me = std::process::id();
        let wanted = || Wanted {
            sockets: [inode(&client)].into_iter().collect(),
            processes: [me].into(),
            closed: [me].into(),
            ..Wanted::default()
        };
        let before = look(&wanted());
        let holders = &before.holders[&inode(&client)];
        let mut fds: Vec<_> = holders.some.iter().map(|holder| (holder.pid, holder.fd)).collect();
        fds.sort_unstable();
        assert_eq!(holders.count, 2);
        let mut expected = [(me, client.as_raw_fd()), (me, again.as_raw_fd())];
        expected.sort_unstable();
        assert_eq!(fds, expected);
        let facts = &before.processes[&me];
        assert!(facts.descriptors >= 6 && facts.limit.is_some(), "{facts:?}");

        drop(server);
        let closed = |facts: &ProcessFacts| {
            let fd = client.as_raw_fd();
            facts.unlisted.contains(&fd) || facts.unlisted_count > Some(UNLISTED as u64)
        };
        assert!(!closed(facts), "{facts:?}");
        let after = look(&wanted());
        assert!(closed(&after.processes[&me]), "{:?}", after.processes);
    }

    #[test]
    fn processes_that_are_gone_have_nothing() {
        let wanted = Wanted { processes: [u32::MAX].into(), ..Wanted::default() };
        let found = look(&wanted);
        assert!(found.processes.is_empty() && found.holders.is_empty() && !found.cut);
    }
}
