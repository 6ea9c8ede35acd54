//! `cargo xtask demo`: `tcp-trace demo` from these sources, on this host.

use std::{convert::Infallible, ffi::OsString};

use anyhow::Result;

use crate::run::{build_for_root, turn_into};

/// What to give to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments of `tcp-trace demo`
    #[arg(last = true, value_name = "ARGUMENTS OF DEMO")]
    demo: Vec<OsString>,
}

/// Builds, and becomes the demo.
pub(crate) fn run(args: &Args) -> Result<Infallible> {
    let (_, mut command) = build_for_root()?;
    turn_into(command.arg("demo").args(&args.demo))
}
