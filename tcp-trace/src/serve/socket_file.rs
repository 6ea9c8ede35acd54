//! The Unix socket in the file system: made so that nobody else can ever open it, and removed only
//! where it is ours.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;
/// Owner only.
const MODE: u32 = 0o600;
/// How often, and after how long, the directory's lock is tried for.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why the socket cannot be had.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    /// A daemon answers there.
    #[error("another tcp-trace{} is serving on {}; stop it, or choose another with --socket", process(*.pid), path.display())]
    Busy {
        /// The socket.
        path: PathBuf,
        /// The daemon's process, where the kernel tells.
        pid: Option<i32>,
    },
    /// Something else stands there.
    #[error("{} exists and is no socket, so it is left alone; choose another path with --socket", path.display())]
    NotASocket {
        /// What stands there.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {action} {}: {source}; choose another path with --socket", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

fn process(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Device, inode and time of creation: an inode's number may soon be another file's.
type Identity = (u64, u64, i64, i64);

fn identity(file: &fs::Metadata) -> Identity {
    (file.dev(), file.ino(), file.mtime(), file.mtime_nsec())
}

/// The socket's file; removed when dropped, if it is still the one that was made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

impl SocketFile {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Listens on `path`, in place of a socket there that nobody listens on any more.
pub(super) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed =
        |action| move |source| SocketError::System { action, path: path.to_owned(), source };
    // Between two daemons that start at once: one must not take the other's newborn socket, which
    // refuses connections until listen(), for a stale one. Released when dropped.
    let _lock = lock(path).await;
    clear(path).await?;
    let socket = UnixSocket::new_stream().map_err(failed("make a socket for"))?;
    // On Linux, bind() gives the file the mode of the unbound socket (less the umask). So the file
    // is private from its first moment; chmod() afterwards would leave a gap to slip through, and
    // umask() would reach into every other thread.
    let unbound = socket.as_fd().try_clone_to_owned().map(File::from);
    unbound
        .and_then(|socket| socket.set_permissions(Permissions::from_mode(MODE)))
        .map_err(failed("make private"))?;
    socket.bind(path).map_err(failed("serve on"))?;
    let file = fs::symlink_metadata(path)
        .map(|made| SocketFile { path: path.to_owned(), identity: identity(&made) })
        .map_err(failed("find again"))?;
    let listener = socket.listen(BACKLOG).map_err(failed("listen on"))?;
    Ok((listener, file))
}

/// Locks the socket's directory, so that nothing has to be left behind. Best effort: without the
/// lock, only daemons that start within the same millisecond can be in each other's way.
async fn lock(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..LOCK_ATTEMPTS {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

/// Makes room at `path`: removes a socket that nobody listens on, and nothing else.
async fn clear(path: &Path) -> Result<(), SocketError> {
    let system = |action, source| SocketError::System { action, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", error)),
    }
    match UnixStream::connect(path).await {
        Ok(other) => {
            let pid = other.peer_cred().ok().and_then(|other| other.pid());
            Err(SocketError::Busy { path: path.to_owned(), pid })
        }
        // Its backlog is full: somebody listens, if slowly.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketError::Busy { path: path.to_owned(), pid: None })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing the socket of a daemon that is gone");
            fs::remove_file(path).map_err(|error| system("remove the stale socket", error))
        }
        Err(error) => Err(system("ask who serves on", error)),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| identity(&found) == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.sock");
        (directory, path)
    }

    #[tokio::test]
    async fn the_file_is_private_and_goes_with_its_owner() {
        let (_directory, path) = place();
        let (_listener, file) = bind(&path).await.unwrap();
        let made = fs::symlink_metadata(&path).unwrap();
        assert!(made.file_type().is_socket());
        assert_eq!(made.permissions().mode() & 0o7777, MODE);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_makes_room() {
        let (_directory, path) = place();
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        bind(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_answers_is_left_alone() {
        let (_directory, path) = place();
        let _other = StdListener::bind(&path).unwrap();
        let error = bind(&path).await.unwrap_err().to_string();
        let expected = format!(
            "another tcp-trace (pid {}) is serving on {}; stop it, or choose another with --socket",
            std::process::id(),
            path.display()
        );
        assert_eq!(error, expected);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let (directory, path) = place();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path).await, Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(bind(&link).await, Err(SocketError::NotASocket { .. })));
        assert!(link.is_symlink());
    }

    #[tokio::test]
    async fn another_s_socket_is_not_removed() {
        let (directory, path) = place();
        let (_listener, file) = bind(&path).await.unwrap();
        fs::rename(&path, directory.path().join("aside")).unwrap();
        let _other = StdListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn of_two_that_start_at_once_one_serves() {
        let (_directory, path) = place();
        drop(StdListener::bind(&path).unwrap());
        let (first, second) = tokio::join!(bind(&path), bind(&path));
        assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1);
    }

    #[tokio::test]
    async fn a_place_that_is_not_there_is_named() {
        let error = bind(Path::new("/nonexistent/t.sock")).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot serve on /nonexistent/t.sock: No such file"), "{error}");
    }
}
