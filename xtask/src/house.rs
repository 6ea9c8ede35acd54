//! Tests of the source tree itself: rules that no compiler knows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::checkout::Checkout;

/// Most lines of a file before its tests.
const LINES: usize = 400;

fn members(checkout: &Checkout) -> Vec<String> {
    let workspace = checkout.toml("Cargo.toml").unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members.iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

fn sources(checkout: &Checkout) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for member in members(checkout) {
        collect(&checkout.root().join(member), &mut found);
    }
    assert!(found.len() > 50, "only {} source files were found", found.len());
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_member_has_the_shared_lints() {
    let checkout = Checkout::own();
    for member in members(&checkout) {
        let manifest = checkout.toml(&format!("{member}/Cargo.toml")).unwrap();
        let shared = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        let shared = shared.and_then(toml::Value::as_bool);
        assert_eq!(shared, Some(true), "{member}/Cargo.toml lacks [lints] workspace = true");
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let checkout = Checkout::own();
    let mut long = Vec::new();
    for path in sources(&checkout) {
        let inside = path.strip_prefix(checkout.root()).unwrap();
        if inside.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let tests = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        let lines = text[..tests].lines().count();
        if lines > LINES {
            long.push(format!("{}: {lines}", inside.display()));
        }
    }
    assert!(long.is_empty(), "more than {LINES} lines before the tests: {}", long.join(", "));
}

#[test]
fn every_ignored_test_is_one_that_root_runs() {
    let mark = "#[ignore";
    let checkout = Checkout::own();
    for path in sources(&checkout) {
        let text = fs::read_to_string(&path).unwrap();
        let marked: Vec<_> =
            text.lines().map(str::trim).filter(|line| line.starts_with(mark)).collect();
        if marked.is_empty() {
            continue;
        }
        let inside = path.strip_prefix(checkout.root()).unwrap().to_string_lossy();
        assert!(
            inside.starts_with("tcp-trace/tests/kernel"),
            "{inside}: only tests of tcp-trace/tests/kernel* are run with --ignored"
        );
        for line in marked {
            assert_eq!(line, "#[ignore = \"needs root\"]", "{}", path.display());
        }
    }
}
