//! Other programs: where they are on this machine, and how they are installed.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// Where programs for root lie; an ordinary user's `PATH` may lack them.
const ROOT_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program that some command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Its name.
    pub(crate) name: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
}

/// Formats Rust.
pub(crate) const RUSTFMT: Tool =
    Tool { name: "cargo-fmt", install: "rustup component add rustfmt" };
/// Lints Rust.
pub(crate) const CLIPPY: Tool =
    Tool { name: "cargo-clippy", install: "rustup component add clippy" };
/// Judges licences and sources of dependencies.
pub(crate) const CARGO_DENY: Tool =
    Tool { name: "cargo-deny", install: "cargo install cargo-deny --version 0.20.2 --locked" };
/// Judges metrics.
pub(crate) const PROMTOOL: Tool = Tool { name: "promtool", install: "apt-get install prometheus" };
/// Evaluates the mixin of the dashboards.
pub(crate) const JSONNET: Tool = Tool { name: "jsonnet", install: "apt-get install jsonnet" };
/// Makes certificates, and speaks TLS.
pub(crate) const OPENSSL: Tool = Tool { name: "openssl", install: "apt-get install openssl" };
/// Makes an ordinary user root.
pub(crate) const SUDO: Tool = Tool { name: "sudo", install: "apt-get install sudo" };
/// Traces state changes; a yardstick.
pub(crate) const TCPSTATES: Tool =
    Tool { name: "tcpstates", install: "apt-get install libbpf-tools" };
/// Makes streams, and measures them.
pub(crate) const IPERF3: Tool = Tool { name: "iperf3", install: "apt-get install iperf3" };
/// Makes interfaces.
pub(crate) const IP: Tool = Tool { name: "ip", install: "apt-get install iproute2" };
/// Says what passed; a yardstick.
pub(crate) const TSHARK: Tool = Tool { name: "tshark", install: "apt-get install tshark" };
/// Runs a server that leaks.
pub(crate) const PYTHON: Tool = Tool { name: "python3", install: "apt-get install python3" };
/// Likewise.
pub(crate) const NODE: Tool = Tool { name: "node", install: "apt-get install nodejs" };
/// Compiles a client that leaks, which `java` starts from its source.
pub(crate) const JAVAC: Tool =
    Tool { name: "javac", install: "apt-get install openjdk-17-jdk-headless" };
/// Waits for a server that leaks.
pub(crate) const NGINX: Tool = Tool { name: "nginx", install: "apt-get install nginx-light" };
/// Traces lives of connections; a yardstick.
pub(crate) const TCPLIFE: Tool = Tool { name: "tcplife", install: "apt-get install libbpf-tools" };
/// Traces beginnings and ends of connections; a yardstick.
pub(crate) const TCPTRACER: Tool =
    Tool { name: "tcptracer", install: "apt-get install libbpf-tools" };
/// Traces by a line of its own language; a yardstick.
pub(crate) const BPFTRACE: Tool = Tool { name: "bpftrace", install: "apt-get install bpftrace" };

impl Tool {
    /// Where it is, if it is.
    pub(crate) fn path(self) -> Option<PathBuf> {
        find(self.name, &env::var_os("PATH").unwrap_or_default())
    }

    /// Where it is; an error that tells how it is installed if it is not.
    pub(crate) fn required(self) -> Result<PathBuf> {
        self.path().with_context(|| self.missing())
    }

    /// One line for a user who lacks it.
    pub(crate) fn missing(self) -> String {
        format!("{} is missing; install it with `{}`", self.name, self.install)
    }

    /// Whether it runs. A rustup without the component has a `cargo-fmt` too: one that only
    /// complains.
    pub(crate) fn runs(self) -> bool {
        self.path().is_some_and(|path| {
            let output = Command::new(path).arg("--version").output();
            output.is_ok_and(|output| output.status.success())
        })
    }
}

/// Where the program `name` is, in the directories of `paths` or in those for root.
fn find(name: &str, paths: &OsStr) -> Option<PathBuf> {
    let directories = env::split_paths(paths).chain(ROOT_PATHS.into_iter().map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

/// `command` as it would be typed, without its environment and its program's directory.
pub(crate) fn words(command: &Command) -> String {
    let program = command.get_program();
    let program = Path::new(program).file_name().unwrap_or(program);
    let words = [program].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn programs_are_found_and_other_files_are_not() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a-tool-of-this-test");
        let paths = env::join_paths([Path::new("/nowhere"), directory.path()]).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(find("a-tool-of-this-test", &paths), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("a-tool-of-this-test", &paths), Some(path));
    }

    #[test]
    fn who_lacks_a_tool_is_told_how_to_get_it() {
        let line = PROMTOOL.missing();
        assert!(line.contains("promtool") && line.contains("apt-get install prometheus"), "{line}");
    }
}
