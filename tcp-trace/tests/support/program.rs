//! The real binary, in an environment of its own.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

/// `nobody`, on every distribution.
const NOBODY: u32 = 65_534;

/// `tcp-trace`, as this process's user. Nothing of the caller's settings gets through but
/// `TCP_TRACE_TEST_BACKEND`, times and characters are the same everywhere, and no packet program is
/// attached to anybody's interfaces: a test that wants some asks for them in a namespace of its own.
pub(crate) fn program() -> Command {
    at(Path::new(env!("CARGO_BIN_EXE_tcp-trace")))
}

fn at(path: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("TZ", "UTC"), ("LC_ALL", "C.UTF-8")])
        .env("TCP_TRACE_SEGMENTS", "off")
        .stdin(Stdio::null());
    // How to hook state changes is a matter of the whole run, not of one test.
    if let Some(backend) = env::var_os("TCP_TRACE_TEST_BACKEND") {
        command.env("TCP_TRACE_BACKEND", backend);
    }
    command
}

/// Likewise, as a user without any privilege: `nobody` where this is root, else this user.
pub(crate) fn unprivileged() -> Command {
    if !rustix::process::geteuid().is_root() {
        return program();
    }
    let mut command = at(everybodys());
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    command
}

/// The binary where `nobody` can run it: a checkout may lie in a home directory.
fn everybodys() -> &'static Path {
    static COPY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_directory, path) = COPY.get_or_init(|| {
        let directory = open_directory();
        let path = directory.path().join("tcp-trace");
        let built = env!("CARGO_BIN_EXE_tcp-trace");
        // A link costs nothing; only from another file system must the bytes be copied.
        if fs::hard_link(built, &path).is_err() {
            fs::copy(built, &path).expect("the binary can be copied");
        }
        (directory, path)
    });
    path
}

/// A directory that everybody may look into.
pub(crate) fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("there is room for a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
        .expect("it is ours to open");
    directory
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    Ran {
        code: status.code().unwrap_or_else(|| panic!("{command:?} ended by {status}")),
        out: String::from_utf8(stdout).expect("output is text"),
        err: String::from_utf8(stderr).expect("errors are text"),
    }
}

impl Ran {
    /// Fails the test unless it ended with `code` and all of `words` stand in its error.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing: {self:#?}");
        }
    }

    /// Its output, of a command that must have gone well.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }
}
