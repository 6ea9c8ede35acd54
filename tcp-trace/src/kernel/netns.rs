//! Network namespaces named by the user.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    holders::{self, Wanted},
    namespaces::{self, Scan},
    sys,
};

/// A network namespace to trace.
#[derive(Debug)]
pub(crate) struct Netns {
    /// Its inode, by which the kernel programs know it.
    pub(crate) inode: u32,
    /// A handle to enter it; `None` where it is known by number alone.
    pub(crate) handle: Option<File>,
}

/// Why a namespace was not found.
#[derive(Debug, Error)]
#[error("network namespace '{name}': {path}: {source} (write a name from 'ip netns list', a path such as /proc/PID/ns/net, an inode number, or 'self')", path = path.display())]
pub(crate) struct NotFound {
    name: String,
    path: PathBuf,
    source: io::Error,
}

/// Finds the namespace by name, path, inode number or `self`.
///
/// A number that nothing on this host refers to is refused, unless other processes may not be
/// looked into: then it is believed, and the namespace known by number alone.
///
/// # Errors
/// Where there is no such namespace (any more).
pub(crate) fn find(name: &str) -> Result<Netns, NotFound> {
    let not_found = |path: PathBuf| |source| NotFound { name: name.to_owned(), path, source };
    if let Ok(inode) = name.parse() {
        return by_inode(inode).map_err(not_found("/proc/*/ns/net".into()));
    }
    let path = match name {
        "self" => PathBuf::from("/proc/self/ns/net"),
        path if path.contains('/') => PathBuf::from(path),
        name => Path::new("/run/netns").join(name),
    };
    let (inode, handle) = namespaces::open(&path).map_err(not_found(path))?;
    Ok(Netns { inode, handle: Some(handle) })
}

/// By number: through any process or mount that refers to it.
fn by_inode(inode: u32) -> io::Result<Netns> {
    let mut scan = Scan::now();
    if !scan.found.contains_key(&inode) {
        scan.add_threads();
        for (inode, way) in holders::look(Wanted::Namespaces).namespaces {
            scan.add(inode, way);
        }
    }
    let handle = scan.found.get(&inode).and_then(|found| found.open().ok());
    if handle.is_none() && scan.unreadable == 0 {
        let why = "no process, mount or descriptor leads to a namespace with this number";
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    if handle.is_none() {
        // It may be that of a process that may not be looked into; or a slip of the pen.
        tracing::warn!(
            inode,
            unreadable = scan.unreadable,
            "nothing that may be read leads to this network namespace; it is traced in case one of \
             the processes that may not be read lives in it"
        );
    }
    Ok(Netns { inode, handle })
}

/// Runs `work` on a thread of its own inside the namespace.
pub(crate) fn inside<T: Send>(netns: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    use std::os::fd::AsFd as _;
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(netns.as_fd(), Some(kind))?;
            Ok(work())
        });
        entered.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace died")))
    })
}

/// Moves the calling thread, and what it starts from here on, into a new namespace, where nothing
/// is but a loopback that is up. It goes with the last thread and socket in it.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`, or where there may be no more namespaces.
pub(crate) fn enter_new() -> io::Result<()> {
    use std::os::fd::AsFd as _;
    sys::new_network_namespace()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    sys::raise_loopback(socket.as_fd())
}

/// Writes a setting of the calling thread's namespace, such as `ipv4/tcp_tw_reuse`.
///
/// # Errors
/// Where there is no such setting, or it may not be written.
pub(crate) fn set(setting: &str, value: &str) -> io::Result<()> {
    std::fs::write(Path::new("/proc/sys/net").join(setting), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_and_its_path_and_its_number_are_the_same() {
        let own = find("self").unwrap().inode;
        assert_eq!(find("/proc/self/ns/net").unwrap().inode, own);
        let by_number = find(&own.to_string()).unwrap();
        assert_eq!(by_number.inode, own);
        assert!(by_number.handle.is_some());
    }

    #[test]
    fn an_unknown_name_says_where_it_was_looked_for() {
        let text = find("no-such-namespace").unwrap_err().to_string();
        assert!(text.contains("/run/netns/no-such-namespace"), "{text}");
    }

    #[test]
    fn a_number_or_a_file_that_is_no_namespace_is_refused() {
        let text = find("/proc/self/ns/mnt").unwrap_err().to_string();
        assert!(text.contains("no network namespace"), "{text}");
        if Scan::now().unreadable == 0 {
            let text = find("1").unwrap_err().to_string();
            assert!(text.contains("no process, mount or descriptor"), "{text}");
        }
    }
}
