//! The build itself: the pinned compiler, the pinned linker, our flags and no others.

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{
    paths,
    process::words,
    recipe::{CARGO, FLAGS, PACKAGE, TARGET},
    remap, strip,
    toolchain::Toolchain,
};
use crate::checkout::Checkout;

/// The object these sources give, free of DWARF and of this machine's paths.
pub(crate) fn object(checkout: &Checkout, toolchain: &Toolchain, target: &Path) -> Result<Vec<u8>> {
    let mut flags: Vec<OsString> = FLAGS.iter().map(Into::into).collect();
    flags.extend(remap::flags(checkout, toolchain, target)?);
    let mut cargo = toolchain.cargo(checkout.root());
    cargo
        .args(CARGO)
        .arg("--target-dir")
        .arg(target)
        // The pinned release takes unstable flags, as it does for the kernel's own Rust.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(&OsString::from("\x1f")));
    let status = cargo.status().with_context(|| format!("cannot start {}", words(&cargo)))?;
    if !status.success() {
        bail!("the build of {PACKAGE} failed ({status}); the compiler's own words are above");
    }
    let linked = target.join(TARGET).join("release").join(PACKAGE);
    let linked = fs::read(&linked)
        .with_context(|| format!("the build left no object at {}", linked.display()))?;
    let object = strip::debug(&linked)?;
    paths::refuse(&object, &paths::of_this_machine(checkout, toolchain))?;
    Ok(object)
}
