//! The kernel object: built with a pinned compiler, kept in git, provable by rebuilding.
//!
//! | module | has |
//! |---|---|
//! | `recipe` | the pins and flags |
//! | `toolchain` | the pinned programs on this machine |
//! | `process` | how they are started: in an environment of their own |
//! | `compile` | the build itself |
//! | `remap` | which paths of this machine the compiler must rename |
//! | `strip` | the removal of DWARF |
//! | `paths` | the search for paths that got through |
//! | `inputs`, `lockfile`, `manifest` | everything the object's bytes depend on |
//! | `blessing` | `bpf/BUILD.toml` |
//! | `build`, `verify` | the two commands |

mod blessing;
mod build;
mod compile;
mod digest;
mod inputs;
mod lockfile;
mod manifest;
mod paths;
mod process;
mod recipe;
mod remap;
mod strip;
mod toolchain;
mod verify;

use anyhow::Result;
use clap::Subcommand;

use crate::checkout::Checkout;
pub(crate) use {recipe::PACKAGE, verify::Rebuild};

/// What to do with the kernel object.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build `bpf/tcp-trace.bpf.o` with the pinned compiler and linker, and bless it in
    /// `bpf/BUILD.toml`.
    Build,
    /// Check that the object and the sources are those of `bpf/BUILD.toml`; where the pinned
    /// compiler and linker are present, rebuild and compare every byte.
    Verify {
        /// Fail where the object cannot be rebuilt for comparison.
        #[arg(long)]
        require_rebuild: bool,
    },
}

/// Does it, in the checkout this was started in.
pub(crate) fn run(command: &Command) -> Result<()> {
    let checkout = Checkout::find()?;
    match command {
        Command::Build => build::run(&checkout),
        Command::Verify { require_rebuild } => verify(&checkout, *require_rebuild).map(drop),
    }
}

/// Proves the object, with a rebuild if it must be or can be.
pub(crate) fn verify(checkout: &Checkout, require_rebuild: bool) -> Result<Rebuild> {
    verify::run(checkout, require_rebuild)
}
