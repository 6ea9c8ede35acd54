//! `bpf/BUILD.toml`: what the object in git was built from, and with what.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{digest::sha256, inputs::Inputs, recipe::Recipe, toolchain::Toolchain};
use crate::checkout::Checkout;

const HEADER: &str = "\
# What tcp-trace.bpf.o beside this file was built from, and with what.
#
# The object is in git so that tcp-trace builds with stable Rust alone; this file is what lets
# anyone prove that the object comes from these sources: `cargo xtask bpf verify`.
#
# Written by `cargo xtask bpf build`, never by hand. After a change to anything listed here, run
# that and commit both files together (\"re-bless the object\").

";

/// The contents of the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Blessing {
    /// The object.
    pub(crate) object: Object,
    /// The machine it was built on.
    pub(crate) builder: Builder,
    /// The pins it was built by.
    pub(crate) recipe: Recipe,
    /// The sources it was built from.
    pub(crate) inputs: Inputs,
}

/// The object's bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Object {
    /// Their digest.
    pub(crate) sha256: String,
    /// Their number.
    pub(crate) size: usize,
}

impl Object {
    /// Of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { sha256: sha256(bytes), size: bytes.len() }
    }
}

/// What a rebuild must share with the build, beyond the recipe, for the bytes to be the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Builder {
    /// The compiler's own LLVM, which links too.
    llvm: String,
    /// The machine that compiled; macros run on it.
    host: String,
}

impl Builder {
    /// This machine.
    pub(crate) fn of(toolchain: &Toolchain) -> Self {
        Self { llvm: toolchain.llvm.clone(), host: toolchain.host.clone() }
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        format!("LLVM {} on {}", self.llvm, self.host)
    }
}

impl Blessing {
    /// The one in the tree.
    pub(crate) fn read(checkout: &Checkout) -> Result<Self> {
        let path = checkout.blessing();
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}; `cargo xtask bpf build` writes it", path.display())
        })?;
        toml::from_str(&text).with_context(|| {
            format!(
                "{} has a form unknown to this program; `cargo xtask bpf build` writes it anew",
                path.display()
            )
        })
    }

    /// Puts it into the tree.
    pub(crate) fn write(&self, checkout: &Checkout) -> Result<()> {
        let path = checkout.blessing();
        fs::write(&path, self.text()?).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> Result<String> {
        let body = toml::to_string_pretty(self).context("cannot write the blessing as TOML")?;
        Ok(format!("{HEADER}{body}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_tree_is_as_this_program_writes_it() {
        let checkout = Checkout::own();
        let blessing = Blessing::read(&checkout).unwrap();
        assert_eq!(blessing.text().unwrap(), checkout.text("bpf/BUILD.toml").unwrap());
    }
}
