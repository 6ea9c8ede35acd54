//! The pins: with what, and how, the object is built.

use serde::{Deserialize, Serialize};

/// The package that is built.
pub(crate) const PACKAGE: &str = "tcp-trace-ebpf";
/// The one release of rustc that builds it.
pub(crate) const RUSTC: &str = "1.95.0";
/// The one release of bpf-linker that links it; it links with rustc's own LLVM.
pub(crate) const LINKER: &str = "0.10.4";
/// The machine it is built for: the kernel's.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The architecture whose register layout kprobes read. Stated, because it would else be that of
/// the building machine.
pub(crate) const ARCH: &str = "x86_64";
/// Beginning of the name of every section that is removed.
pub(crate) const STRIPPED: &str = ".debug_";

/// The compiler's flags, less those that rename paths.
pub(crate) const FLAGS: [&str; 3] =
    ["-Cdebuginfo=2", "-Clink-arg=--btf", "--cfg=bpf_target_arch=\"x86_64\""];

/// What cargo is asked for.
pub(crate) const CARGO: [&str; 8] = [
    "build",
    "--locked",
    "-Zbuild-std=core",
    "--release",
    "--target",
    TARGET,
    "--package",
    PACKAGE,
];

/// The pins as they are written down beside the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Recipe {
    rustc: String,
    bpf_linker: String,
    target: String,
    arch: String,
    cargo: String,
    rustflags: Vec<String>,
    stripped: String,
}

impl Recipe {
    /// The pins of this source tree.
    pub(crate) fn current() -> Self {
        let renamed = [
            "--remap-path-prefix=<checkout>=.",
            "--remap-path-prefix=<source of std>=rust",
            "--remap-path-prefix=<each dependency>=<name>-<version>",
        ];
        Self {
            rustc: RUSTC.into(),
            bpf_linker: LINKER.into(),
            target: TARGET.into(),
            arch: ARCH.into(),
            cargo: format!("RUSTC_BOOTSTRAP=1 cargo {}", CARGO.join(" ")),
            rustflags: FLAGS.into_iter().chain(renamed).map(Into::into).collect(),
            stripped: format!("{STRIPPED}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_name_the_recorded_architecture() {
        assert!(FLAGS[2].contains(ARCH));
    }
}
