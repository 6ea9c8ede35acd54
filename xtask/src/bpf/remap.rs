//! Which paths of this machine the compiler must rename, lest they end up in the object.
//!
//! BTF's line table names every source file, with the text of the line where the file can be read
//! at link time. The checkout becomes `.`, which the linker can still read from where it runs, so
//! the verifier's log shows our lines; the rest becomes names that lie nowhere.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{lockfile, process::output, recipe::TARGET, toolchain::Toolchain};
use crate::checkout::Checkout;

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    manifest_path: PathBuf,
}

/// The flags that rename them, for a build into `target`.
pub(crate) fn flags(
    checkout: &Checkout,
    toolchain: &Toolchain,
    target: &Path,
) -> Result<Vec<OsString>> {
    // Of several prefixes that fit, rustc takes the last.
    let mut renamed = vec![
        (checkout.root().to_owned(), ".".to_owned()),
        (target.to_owned(), "target".to_owned()),
        (toolchain.source(), "rust".to_owned()),
    ];
    renamed.extend(dependencies(checkout, toolchain)?);
    let flags = renamed.iter().flat_map(|(from, to)| {
        // A prefix must fit whether or not the compiler has resolved symbolic links.
        let real = from.canonicalize().ok().filter(|real| real != from);
        [Some(flag(from, to)), real.map(|real| flag(&real, to))]
    });
    Ok(flags.flatten().collect())
}

/// Every dependency's directory, wherever a registry, a mirror or vendoring has put it.
fn dependencies(checkout: &Checkout, toolchain: &Toolchain) -> Result<Vec<(PathBuf, String)>> {
    let closure = lockfile::closure(checkout)?;
    let mut cargo = toolchain.cargo(checkout.root());
    cargo.args(["metadata", "--locked", "--format-version=1", "--filter-platform", TARGET]);
    let metadata: Metadata = serde_json::from_str(&output(cargo)?)
        .context("cargo metadata answered in a form unknown to this program")?;
    let named = |package: Package| {
        let name = format!("{}-{}", package.name, package.version);
        let wanted = closure.contains_key(&lockfile::title(&package.name, &package.version));
        let directory = package.manifest_path.parent()?.to_owned();
        (wanted && package.source.is_some()).then_some((directory, name))
    };
    Ok(metadata.packages.into_iter().filter_map(named).collect())
}

fn flag(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}
