//! The pinned programs on this machine.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    process::{answer, program},
    recipe::{LINKER, RUSTC},
};

/// A rustc of the pinned release, with the source of std, and the pinned linker.
#[derive(Debug)]
pub(crate) struct Toolchain {
    select: Option<String>,
    sysroot: PathBuf,
    /// LLVM of the compiler, and so of the linker.
    pub(crate) llvm: String,
    /// The machine the compiler runs on.
    pub(crate) host: String,
}

/// What the pinned build lacks here, and the commands that bring it.
#[derive(Debug)]
pub(crate) struct Missing(Vec<String>);

impl Toolchain {
    /// Looks for them; `root` matters because rustup lets a directory choose its compiler.
    pub(crate) fn find(root: &Path) -> Result<Self, Missing> {
        let mut missing = Vec::new();
        let compiler = compiler(root);
        match &compiler {
            None => missing.push(format!(
                "rustc {RUSTC} with the source of std \
                 (rustup toolchain install {RUSTC} --profile minimal --component rust-src)"
            )),
            Some(found) if !found.source().join("library/core/src/lib.rs").is_file() => {
                missing.push(format!(
                    "the source of std of rustc {RUSTC} \
                     (rustup component add rust-src --toolchain {RUSTC})"
                ));
            }
            Some(_) => {}
        }
        let linker = linker(root);
        if linker.as_deref() != Some(LINKER) {
            let instead =
                linker.map(|version| format!(", not {version} as here")).unwrap_or_default();
            missing.push(format!(
                "bpf-linker {LINKER}{instead} (cargo install bpf-linker --version {LINKER} --locked)"
            ));
        }
        match compiler {
            Some(toolchain) if missing.is_empty() => Ok(toolchain),
            _ => Err(Missing(missing)),
        }
    }

    /// Where std's source lies.
    pub(crate) fn source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    /// The pinned cargo, run in `root`.
    pub(crate) fn cargo(&self, root: &Path) -> Command {
        let mut cargo = program("cargo", root);
        cargo.args(self.select.as_deref());
        // The linker looks here for the compiler's LLVM.
        let libraries = self.sysroot.join("lib");
        cargo
            .env("LD_LIBRARY_PATH", &libraries)
            .env("DYLD_FALLBACK_LIBRARY_PATH", &libraries)
            // These win over what the user's own cargo configuration says.
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", "bpf-linker")
            .env("CARGO_INCREMENTAL", "0")
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "");
        cargo
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Missing {}

/// A rustc of the pinned release: rustup's by name, else the default one if it is that release.
fn compiler(root: &Path) -> Option<Toolchain> {
    [Some(format!("+{RUSTC}")), None].into_iter().find_map(|select| {
        let rustc = |args: &[&str]| {
            let mut rustc = program("rustc", root);
            rustc.args(select.as_deref()).args(args);
            answer(rustc)
        };
        let version = rustc(&["-vV"])?;
        if field(&version, "release: ")? != RUSTC {
            return None;
        }
        let llvm = field(&version, "LLVM version: ")?.to_owned();
        let host = field(&version, "host: ")?.to_owned();
        let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
        Some(Toolchain { select: select.clone(), sysroot, llvm, host })
    })
}

/// The version of the bpf-linker that rustc would start.
fn linker(root: &Path) -> Option<String> {
    let mut linker = program("bpf-linker", root);
    linker.arg("--version");
    Some(answer(linker)?.trim().strip_prefix("bpf-linker ")?.to_owned())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}
