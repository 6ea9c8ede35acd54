//! Whether this is root, and whether sudo can make it so.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::tool::SUDO;

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Fails where no program can be run as root: better before a build than after it.
pub(crate) fn expect_a_way_to_root() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let sudo = SUDO.required().context("this must run as root: log in as root, or install sudo");
    sudo.map(drop)
}

/// `program`, to be run as root: by sudo, which may ask for the password, unless this is root.
///
/// The variables `keep` get through to it.
pub(crate) fn as_root(program: &Path, keep: &[OsString]) -> Result<Command> {
    expect_a_way_to_root()?;
    if is_root() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new(SUDO.name);
    if !keep.is_empty() {
        let mut argument = OsString::from("--preserve-env=");
        argument.push(keep.join(OsStr::new(",")));
        command.arg(argument);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// What makes a program root without asking anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elevation {
    /// Nothing: this is root.
    None,
    /// `sudo -n`.
    Sudo,
}

impl Elevation {
    /// Tries it; the error says why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        if is_root() {
            return Ok(Self::None);
        }
        let Some(sudo) = SUDO.path() else {
            return Err("this is not root, and sudo is missing".into());
        };
        let tried = Command::new(sudo)
            .args(["-n", "true"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match tried {
            Ok(status) if status.success() => Ok(Self::Sudo),
            _ => {
                Err("this is not root, and sudo wants a password (`sudo -v` gives it once)".into())
            }
        }
    }

    /// `program`, to be run so.
    pub(crate) fn command(self, program: &Path) -> Command {
        match self {
            Self::None => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "--"]).arg(program);
                command
            }
        }
    }

    /// What makes cargo run test programs so.
    pub(crate) fn cargo_arguments(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Sudo => &["--config", "target.'cfg(unix)'.runner = ['sudo', '-n', '--']"],
        }
    }
}
