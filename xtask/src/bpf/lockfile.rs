//! The locked dependencies of the kernel programs, apart from everything user space pulls in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{manifest, recipe::PACKAGE};
use crate::checkout::Checkout;

/// `Cargo.lock`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Lockfile {
    package: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// What stands for the checksum of a member of the workspace, whose files are listed instead.
pub(crate) const MEMBER: &str = "member";

/// How a locked package is called here: name and version.
pub(crate) fn title(name: &str, version: &str) -> String {
    format!("{name} {version}")
}

/// Every package that [`PACKAGE`] is built from or with, and its checksum.
pub(crate) fn closure(checkout: &Checkout) -> Result<BTreeMap<String, String>> {
    walk(&checkout.text("Cargo.lock")?, |member| {
        Ok(manifest::dependencies(&checkout.toml(&format!("{member}/Cargo.toml"))?))
    })
}

/// Follows the lockfile's edges; a member's only where `built` says that its manifest needs them,
/// because the lockfile also has its tests' dependencies and those optional for the daemon.
fn walk(
    lockfile: &str,
    built: impl Fn(&str) -> Result<BTreeSet<String>>,
) -> Result<BTreeMap<String, String>> {
    let lockfile: Lockfile =
        toml::from_str(lockfile).context("Cargo.lock has a form unknown to this program")?;
    let mut closure = BTreeMap::new();
    let mut queue = vec![PACKAGE];
    while let Some(wanted) = queue.pop() {
        let package = lockfile.resolve(wanted).with_context(|| {
            format!("Cargo.lock does not say which package `{wanted}` is; run `cargo check`")
        })?;
        let checksum = match (&package.checksum, &package.source) {
            (Some(checksum), _) => checksum,
            (None, Some(source)) => source,
            (None, None) => MEMBER,
        };
        let title = title(&package.name, &package.version);
        if closure.insert(title, checksum.to_owned()).is_some() {
            continue;
        }
        let built = (checksum == MEMBER).then(|| built(&package.name)).transpose()?;
        queue.extend(package.dependencies.iter().map(String::as_str).filter(|dependency| {
            let name = dependency.split(' ').next().unwrap_or_default();
            built.as_ref().is_none_or(|built| built.contains(name))
        }));
    }
    Ok(closure)
}

impl Lockfile {
    /// The package an edge leads to: `name`, `name version` or `name version (source)`, as much of
    /// it as is needed to tell it from others.
    fn resolve(&self, edge: &str) -> Option<&Package> {
        let mut parts = edge.split(' ');
        let (name, version) = (parts.next()?, parts.next());
        self.package.iter().find(|package| {
            package.name == name && version.is_none_or(|version| package.version == version)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
        version = 4
        [[package]]
        name = "tcp-trace"
        version = "0.1.0"
        dependencies = ["hyper", "tcp-trace-common"]
        [[package]]
        name = "tcp-trace-ebpf"
        version = "0.1.0"
        dependencies = ["aya-ebpf", "tcp-trace-common"]
        [[package]]
        name = "tcp-trace-common"
        version = "0.1.0"
        dependencies = ["zerocopy"]
        [[package]]
        name = "aya-ebpf"
        version = "0.2.1"
        source = "registry+x"
        checksum = "aa"
        dependencies = ["syn 2.0.0"]
        [[package]]
        name = "syn"
        version = "1.0.0"
        source = "registry+x"
        checksum = "bb"
        [[package]]
        name = "syn"
        version = "2.0.0"
        source = "registry+x"
        checksum = "cc"
        [[package]]
        name = "hyper"
        version = "1.0.0"
        source = "registry+x"
        checksum = "dd"
        [[package]]
        name = "zerocopy"
        version = "0.8.0"
        source = "registry+x"
        checksum = "ee"
    "#;

    fn closure(lockfile: &str) -> Result<BTreeMap<String, String>> {
        let built = ["aya-ebpf", "tcp-trace-common"].map(String::from);
        walk(lockfile, |_| Ok(built.clone().into()))
    }

    #[test]
    fn only_what_the_kernel_programs_need_is_listed() {
        let closure = closure(LOCK).unwrap();
        let expected = [
            ("aya-ebpf 0.2.1", "aa"),
            ("syn 2.0.0", "cc"),
            ("tcp-trace-common 0.1.0", MEMBER),
            ("tcp-trace-ebpf 0.1.0", MEMBER),
        ];
        assert_eq!(closure, expected.map(|(k, v)| (k.into(), v.into())).into());
    }

    #[test]
    fn a_bump_in_user_space_changes_nothing() {
        let bumped = LOCK.replace("\"dd\"", "\"d0\"").replace("\"ee\"", "\"e0\"");
        assert_eq!(closure(LOCK).unwrap(), closure(&bumped).unwrap());
    }

    #[test]
    fn a_package_that_is_not_locked_is_named() {
        let error = closure("version = 4\npackage = []").unwrap_err();
        assert!(error.to_string().contains("tcp-trace-ebpf"), "{error}");
    }
}
