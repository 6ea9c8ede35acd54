//! The search for paths that got through into the object.

use std::env;

use anyhow::{Result, bail};

use super::toolchain::Toolchain;
use crate::checkout::Checkout;

/// Where people and machines keep their files: in no object at all.
pub(crate) const ANYWHERE: [&str; 6] =
    ["/root/", "/home/", "/Users/", "/.cargo/", "/.rustup/", "registry/src/"];

/// The directories this build has used.
pub(crate) fn of_this_machine(checkout: &Checkout, toolchain: &Toolchain) -> Vec<String> {
    let mut used = here(checkout);
    used.push(toolchain.source().display().to_string());
    used
}

/// The directories this machine is known by without its compiler.
pub(crate) fn here(checkout: &Checkout) -> Vec<String> {
    let variables = ["HOME", "CARGO_HOME", "RUSTUP_HOME"].into_iter().filter_map(env::var_os);
    let mut here: Vec<_> = variables.filter_map(|value| value.into_string().ok()).collect();
    here.push(checkout.root().display().to_string());
    here.push(env::temp_dir().display().to_string());
    here
}

/// Fails if `object` has one of [`ANYWHERE`], one of `used`, or any string that begins like an
/// absolute path.
pub(crate) fn refuse(object: &[u8], used: &[String]) -> Result<()> {
    let used = used.iter().map(|path| path.trim_end_matches('/'));
    let found: Vec<_> = strings(object)
        .filter(|text| {
            ANYWHERE.iter().any(|path| text.contains(path))
                || used.clone().any(|path| !path.is_empty() && names(text, path))
                || text.split('\0').any(is_absolute)
        })
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    bail!(
        "the object would carry paths of the machine it was built on: {}; teach \
         xtask/src/bpf/remap.rs to rename them",
        found.join(", ")
    )
}

/// Runs of printable characters, as long as a path needs at least.
fn strings(object: &[u8]) -> impl Iterator<Item = &str> {
    object
        .split(|byte| !(byte.is_ascii_graphic() || *byte == b' '))
        .filter(|run| run.len() >= 4)
        .filter_map(|run| str::from_utf8(run).ok())
}

/// Whether `text` has `path` itself or something below it; neither a longer name nor, as `/src`
/// would be in `crate/src/lib.rs`, the middle of another path.
fn names(text: &str, path: &str) -> bool {
    let part = |neighbour: char| neighbour.is_alphanumeric() || "._-".contains(neighbour);
    text.match_indices(path)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + path.len()..].starts_with(part))
}

/// Whether `text` is like `/some/where`; a line of source begins with `//` at most.
fn is_absolute(text: &str) -> bool {
    let Some(path) = text.strip_prefix('/') else {
        return false;
    };
    path.starts_with(|first: char| first.is_ascii_alphanumeric()) && path[1..].contains('/')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_blessed_object_has_no_path_of_any_machine() {
        let checkout = Checkout::own();
        let object = fs::read(checkout.object()).unwrap();
        refuse(&object, &here(&checkout)).unwrap();
    }

    #[test]
    fn each_kind_of_path_is_found() {
        let used = ["/srv/build".to_owned()];
        for text in [
            "a /home/someone/x",
            "x/.cargo/y",
            "registry/src/index",
            "in /srv/build/src",
            "/nix/store/rust",
        ] {
            let object = format!("\0\x01{text}\0tail");
            let error = refuse(object.as_bytes(), &used).unwrap_err().to_string();
            assert!(error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn section_names_renamed_paths_and_comments_pass() {
        let used = ["/tmp", "/src", "/"].map(String::from);
        let object = b"\0tp_btf/inet_sock_set_state\0./tcp-trace-ebpf/src/a.rs\0// a/b\0/tmpx\0";
        refuse(object, &used).unwrap();
    }
}
