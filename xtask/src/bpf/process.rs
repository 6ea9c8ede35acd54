//! Other programs, started in an environment of their own.

use std::{
    env,
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

pub(crate) use crate::tool::words;

/// `name`, run in `root` with nothing of the caller's environment that could reach the object:
/// no flags, wrappers, profiles or library paths.
pub(crate) fn program(name: &str, root: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root).env_clear().envs(env::vars_os().filter(|(key, _)| is_kept(key)));
    // A missing toolchain is to be named, not to be fetched unasked.
    command.env("RUSTUP_AUTO_INSTALL", "0");
    command
}

/// What `command` prints; `None` if it cannot be started or fails.
pub(crate) fn answer(mut command: Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// What `command` prints, its complaints going to the terminal.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let words = words(&command);
    command.stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot start {words}"))?;
    if !output.status.success() {
        bail!("{words} failed ({}); its own words are above", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{words} printed no UTF-8"))
}

/// What programs need to be found, to reach the network and to talk to a terminal.
fn is_kept(key: &OsStr) -> bool {
    const NAMES: [&str; 15] = [
        "PATH",
        "HOME",
        "USERPROFILE",
        "SYSTEMROOT",
        "TMPDIR",
        "TEMP",
        "TMP",
        "TERM",
        "NO_COLOR",
        "CARGO_BUILD_JOBS",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "SSH_AUTH_SOCK",
    ];
    const PREFIXES: [&str; 4] = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_TERM_"];
    let Some(key) = key.to_str() else {
        return false;
    };
    NAMES.contains(&key)
        || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || key.to_ascii_lowercase().ends_with("_proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_the_compiler_is_kept() {
        for key in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "LD_LIBRARY_PATH",
            "AYA_BPF_TARGET_ARCH",
        ] {
            assert!(!is_kept(OsStr::new(key)), "{key}");
        }
    }

    #[test]
    fn the_network_stays_reachable() {
        for key in ["PATH", "https_proxy", "HTTPS_PROXY", "CARGO_NET_OFFLINE", "CARGO_HOME"] {
            assert!(is_kept(OsStr::new(key)), "{key}");
        }
    }
}
