//! What the manifests have a say in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use toml::{Table, Value};

use super::lockfile::MEMBER;
use crate::checkout::Checkout;

/// The dependencies a member is always built with.
pub(crate) fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let optional = |value: &Value| value.get("optional").and_then(Value::as_bool) == Some(true);
    // A dependency may be renamed; the lockfile has its own name.
    let package = |key: &String, value: &Value| {
        value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned()
    };
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flatten()
        .filter(|(_, value)| !optional(value))
        .map(|(key, value)| package(key, value))
        .collect()
}

/// The settings of the workspace's manifest that reach the object, as `dotted.key` and value.
pub(crate) fn settings(
    checkout: &Checkout,
    crates: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let root = checkout.toml("Cargo.toml")?;
    let mut inherited = BTreeSet::new();
    for member in members(crates) {
        inherited.extend(dependencies(&checkout.toml(&format!("{member}/Cargo.toml"))?));
    }
    Ok(relevant(&root, &inherited, &members(crates).collect()))
}

/// The members of the workspace among `crates`.
pub(crate) fn members(crates: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let local = crates.iter().filter(|(_, checksum)| *checksum == MEMBER);
    local.filter_map(|(title, _)| title.split(' ').next())
}

fn relevant(
    root: &Table,
    inherited: &BTreeSet<String>,
    members: &BTreeSet<&str>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (key, value) in root {
        flatten(key, value, &mut all);
    }
    all.retain(|key, _| {
        let parts: Vec<_> = key.split('.').collect();
        match parts.as_slice() {
            ["workspace", "dependencies", name, ..] => inherited.contains(*name),
            ["profile", "release", "package", name, ..] => *name == "*" || members.contains(name),
            ["profile", "release", ..]
            | ["workspace", "resolver"]
            | ["workspace", "package", "version" | "edition"] => true,
            _ => false,
        }
    });
    all
}

fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    if let Value::Table(table) = value {
        for (name, value) in table {
            flatten(&format!("{key}.{name}"), value, into);
        }
    } else {
        into.insert(key.to_owned(), value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::recipe::PACKAGE;

    #[test]
    fn optional_and_test_dependencies_are_left_out() {
        let manifest = r#"
            [dependencies]
            a = "1"
            b = { version = "1", optional = true }
            c = { package = "d", version = "1" }
            [dev-dependencies]
            e = "1"
            [build-dependencies]
            f = "1"
        "#;
        let names = dependencies(&manifest.parse().unwrap());
        assert_eq!(names, ["a", "d", "f"].map(String::from).into());
    }

    #[test]
    fn only_settings_that_reach_the_object_are_listed() {
        let root = r#"
            [workspace]
            resolver = "3"
            members = ["x"]
            [workspace.package]
            version = "0.1.0"
            license = "MIT"
            [workspace.lints.rust]
            missing_docs = "deny"
            [workspace.dependencies]
            tcp-trace-common = { path = "tcp-trace-common" }
            tokio = "1"
            [profile.dev]
            debug = 1
            [profile.release]
            debug = 1
            [profile.release.package.tcp-trace]
            opt-level = 1
            [profile.release.package.tcp-trace-ebpf]
            opt-level = 3
        "#;
        let inherited = ["tcp-trace-common".to_owned()].into();
        let settings = relevant(&root.parse().unwrap(), &inherited, &[PACKAGE].into());
        let expected = [
            ("profile.release.debug", "1"),
            ("profile.release.package.tcp-trace-ebpf.opt-level", "3"),
            ("workspace.dependencies.tcp-trace-common.path", "\"tcp-trace-common\""),
            ("workspace.package.version", "\"0.1.0\""),
            ("workspace.resolver", "\"3\""),
        ];
        assert_eq!(settings, expected.map(|(k, v)| (k.into(), v.into())).into());
    }
}
