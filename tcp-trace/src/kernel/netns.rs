//! Network namespaces named by the user.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

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
pub(crate) fn find(name: &str) -> Result<Netns, NotFound> {
    if let Ok(inode) = name.parse() {
        return Ok(Netns { inode, handle: handle_of(inode) });
    }
    let path = match name {
        "self" => PathBuf::from("/proc/self/ns/net"),
        path if path.contains('/') => PathBuf::from(path),
        name => Path::new("/run/netns").join(name),
    };
    let open = |path: &Path| -> io::Result<Netns> {
        let handle = File::open(path)?;
        let inode = u32::try_from(handle.metadata()?.ino()).map_err(io::Error::other)?;
        Ok(Netns { inode, handle: Some(handle) })
    };
    open(&path).map_err(|source| NotFound { name: name.to_owned(), path, source })
}

/// A handle to the namespace, through any process that lives in it.
fn handle_of(inode: u32) -> Option<File> {
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let path = process.path().join("ns/net");
        let found = fs::metadata(&path).ok()?.ino() == u64::from(inode);
        found.then(|| File::open(path).ok())?
    })
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
}
