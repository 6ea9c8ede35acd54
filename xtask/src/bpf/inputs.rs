//! Everything in the source tree that the object's bytes depend on.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    digest::sha256,
    lockfile, manifest,
    recipe::{PACKAGE, Recipe},
};
use crate::checkout::Checkout;

/// The inputs, each by its digest or value, and one digest over them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inputs {
    /// Over the recipe and the listings below.
    pub(crate) sha256: String,
    /// Settings of the workspace's manifest.
    settings: BTreeMap<String, String>,
    /// The sources.
    files: BTreeMap<String, String>,
    /// The locked dependencies.
    crates: BTreeMap<String, String>,
}

impl Inputs {
    /// Those of `checkout`, built by `recipe`.
    pub(crate) fn read(checkout: &Checkout, recipe: &Recipe) -> Result<Self> {
        let crates = lockfile::closure(checkout)?;
        let settings = manifest::settings(checkout, &crates)?;
        let mut files = BTreeMap::new();
        for member in manifest::members(&crates) {
            let parts: &[&str] =
                if member == PACKAGE { &[""] } else { &["Cargo.toml", "build.rs", "src"] };
            for part in parts {
                let path = Path::new(member).join(part);
                list(checkout.root(), &path, &mut files)
                    .with_context(|| format!("cannot list the sources in {}", path.display()))?;
            }
        }
        let mut inputs = Self { sha256: String::new(), settings, files, crates };
        inputs.sha256 = inputs.digest(recipe)?;
        Ok(inputs)
    }

    /// The digest over everything listed, and over the recipe.
    pub(crate) fn digest(&self, recipe: &Recipe) -> Result<String> {
        let recipe = serde_json::to_string(recipe).context("cannot write the recipe as JSON")?;
        let mut canonical = format!("recipe {recipe}\n");
        for (name, value) in self.entries() {
            // Writing to a string cannot fail.
            let _ = writeln!(canonical, "{name} = {value}");
        }
        Ok(sha256(canonical.as_bytes()))
    }

    /// How many files and crates there are, for people.
    pub(crate) fn summary(&self) -> String {
        format!("{} files, {} crates", self.files.len(), self.crates.len())
    }

    /// What is not as in `before`, one item each.
    pub(crate) fn changes(&self, before: &Self) -> Vec<String> {
        let (now, before) = (self.entries(), before.entries());
        let changed = now.iter().filter_map(|(name, value)| match before.get(name) {
            None => Some(format!("{name} is new")),
            Some(old) if old != value => Some(format!("{name} has changed")),
            Some(_) => None,
        });
        let gone = before.keys().filter(|name| !now.contains_key(*name));
        changed.chain(gone.map(|name| format!("{name} is gone"))).collect()
    }

    fn entries(&self) -> BTreeMap<String, &str> {
        [("setting", &self.settings), ("file", &self.files), ("crate", &self.crates)]
            .into_iter()
            .flat_map(|(kind, map)| {
                map.iter().map(move |(name, value)| (format!("{kind} {name}"), value.as_str()))
            })
            .collect()
    }
}

/// Adds the file or directory `path`, relative to `root`; what does not exist is left out, as are
/// hidden files and editors' backups.
fn list(root: &Path, path: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    let full = root.join(path);
    if full.is_dir() {
        for entry in fs::read_dir(&full).with_context(|| full.display().to_string())? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            if !(text.starts_with('.') || text.ends_with('~') || text == "target") {
                list(root, &path.join(&name), files)?;
            }
        }
    } else if full.exists() {
        let bytes = fs::read(&full).with_context(|| full.display().to_string())?;
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        files.insert(parts.join("/"), sha256(&bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Checkout) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("Cargo.toml", "[profile.release]\ndebug = 1\n"),
            ("Cargo.lock", "[[package]]\nname = \"tcp-trace-ebpf\"\nversion = \"0.1.0\"\n"),
            ("tcp-trace-ebpf/Cargo.toml", ""),
            ("tcp-trace-ebpf/src/main.rs", "fn main() {}"),
            ("tcp-trace-ebpf/src/.main.rs.swp", "scratch"),
        ] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let checkout = Checkout::at(directory.path());
        (directory, checkout)
    }

    fn read(checkout: &Checkout) -> Inputs {
        Inputs::read(checkout, &Recipe::current()).unwrap()
    }

    #[test]
    fn a_changed_source_is_named() {
        let (_guard, checkout) = tree();
        let before = read(&checkout);
        fs::write(checkout.root().join("tcp-trace-ebpf/src/main.rs"), "").unwrap();
        fs::write(checkout.root().join("tcp-trace-ebpf/src/new.rs"), "").unwrap();
        let after = read(&checkout);
        assert_ne!(before.sha256, after.sha256);
        let expected = [
            "file tcp-trace-ebpf/src/main.rs has changed",
            "file tcp-trace-ebpf/src/new.rs is new",
        ];
        assert_eq!(after.changes(&before), expected);
        assert_eq!(before.changes(&after)[1], "file tcp-trace-ebpf/src/new.rs is gone");
    }

    #[test]
    fn files_of_other_members_and_scratch_files_are_no_inputs() {
        let (_guard, checkout) = tree();
        let before = read(&checkout);
        fs::write(checkout.root().join("README.md"), "text").unwrap();
        fs::write(checkout.root().join("tcp-trace-ebpf/src/.main.rs.swp"), "more").unwrap();
        assert_eq!(before, read(&checkout));
    }
}
