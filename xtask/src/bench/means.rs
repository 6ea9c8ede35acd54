//! What every measurement works with: the program that is measured, and where its figures go.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    cargo::{Profile, build},
    checkout::Checkout,
    privilege,
    tool::words,
};

/// Flags of every measurement.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Means {
    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this tcp-trace and build none
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

impl Means {
    /// The program that is measured: built, unless one was named.
    pub(super) fn program(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => Ok(program.clone()),
            None => build(&Checkout::find()?, Profile::Release),
        }
    }

    /// Likewise, as root from here on: what builds as an ordinary user starts over with sudo.
    pub(super) fn program_as_root(&self) -> Result<PathBuf> {
        privilege::expect_a_way_to_root()?;
        let program = self.program()?;
        if !privilege::is_root() {
            become_root(self.program.is_none().then_some(&*program))?;
        }
        Ok(program)
    }

    /// Writes the figures, if anybody wants them.
    pub(super) fn write(&self, figures: &impl Serialize) -> Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(figures).context("figures make no JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Starts over with sudo, and with what has been built, if anything has.
fn become_root(built: Option<&Path>) -> Result<()> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let mut command = privilege::as_root(&this, &[])?;
    command.args(env::args_os().skip(1));
    if let Some(program) = built {
        command.arg("--program").arg(program);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", words(&command)))
}
