//! Where everything lies in the source tree.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::bpf::PACKAGE;

/// The root of a source tree.
#[derive(Debug)]
pub(crate) struct Checkout(PathBuf);

impl Checkout {
    /// The tree this program was started for: by `cargo`, else the one around the current
    /// directory.
    pub(crate) fn find() -> Result<Self> {
        if let Some(member) = env::var_os("CARGO_MANIFEST_DIR")
            && let Some(root) = Path::new(&member).parent()
            && is_root(root)
        {
            return Ok(Self(root.to_owned()));
        }
        let here = env::current_dir().context("cannot tell the current directory")?;
        let root = here.ancestors().find(|directory| is_root(directory)).with_context(|| {
            format!(
                "neither {} nor a directory above it holds {PACKAGE}/Cargo.toml; run this inside \
                 a checkout of tcp-trace",
                here.display()
            )
        })?;
        Ok(Self(root.to_owned()))
    }

    /// A tree known to lie at `root`.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The tree this program was compiled from.
    #[cfg(test)]
    pub(crate) fn own() -> Self {
        Self(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned())
    }

    /// The tree's root.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// The kernel object.
    pub(crate) fn object(&self) -> PathBuf {
        self.0.join("bpf/tcp-trace.bpf.o")
    }

    /// What the kernel object was built from.
    pub(crate) fn blessing(&self) -> PathBuf {
        self.0.join("bpf/BUILD.toml")
    }

    /// Scratch space of the build, never shared with an ordinary `cargo build`.
    pub(crate) fn target(&self) -> PathBuf {
        self.0.join("target/bpf")
    }

    /// The text of a file in the tree.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        let path = self.0.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// A TOML file in the tree.
    pub(crate) fn toml(&self, path: &str) -> Result<toml::Table> {
        let text = self.text(path)?;
        text.parse().with_context(|| format!("{path} is not valid TOML"))
    }
}

fn is_root(directory: &Path) -> bool {
    directory.join(PACKAGE).join("Cargo.toml").is_file()
}
