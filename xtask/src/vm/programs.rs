//! The programs in the guest: the project's own, linked so that they need nothing else, and the
//! host's, with the libraries they need.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use crate::{
    archive::run,
    cargo::{cargo, executables},
    checkout::Checkout,
    tool::{Tool, words},
};

/// What all of them are built for; a cross build keeps the flags from build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The test program.
const TESTS: &str = "kernel";
/// The program that measures: this one.
const BENCH: &str = "xtask";
/// The program under test.
const PROGRAM: &str = "tcp-trace";

/// The guest's shell and its commands.
const BUSYBOX: Tool = Tool { name: "busybox", install: "apt-get install busybox-static" };
/// Says which libraries a program needs.
const LDD: Tool = Tool { name: "ldd", install: "apt-get install libc-bin" };
/// What init and tests start.
const TOOLS: [Tool; 6] = [
    crate::tool::IP,
    Tool { name: "tc", install: "apt-get install iproute2" },
    Tool { name: "ss", install: "apt-get install iproute2" },
    Tool { name: "setpriv", install: "apt-get install util-linux" },
    Tool { name: "stdbuf", install: "apt-get install coreutils" },
    crate::tool::TCPSTATES,
];
/// What is measured or measures.
const BENCH_TOOLS: [Tool; 3] = [crate::tool::IPERF3, crate::tool::TCPLIFE, crate::tool::TCPTRACER];
/// What `stdbuf` puts into the programs it starts.
const LIBSTDBUF: &str = "/usr/libexec/coreutils/libstdbuf.so";

/// The project's own programs.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    program: PathBuf,
    /// What works with it, and its name in the guest.
    other: (PathBuf, &'static str),
}

impl Programs {
    /// Builds it and its tests.
    pub(super) fn build(checkout: &Checkout, cache: &Path) -> Result<Self> {
        let tests = ["test", "--no-run", "--package", PROGRAM, "--test", TESTS];
        Self::build_as(checkout, cache, &tests, TESTS)
    }

    /// Builds it and this program, which measures it.
    pub(super) fn build_for_bench(checkout: &Checkout, cache: &Path) -> Result<Self> {
        let both = ["build", "--package", PROGRAM, "--package", BENCH, "--bins"];
        Self::build_as(checkout, cache, &both, BENCH)
    }

    fn build_as(
        checkout: &Checkout,
        cache: &Path,
        arguments: &[&str],
        other: &'static str,
    ) -> Result<Self> {
        let mut command = cargo(checkout);
        command
            .args(arguments)
            .args(["--release", "--target", TARGET, "--target-dir"])
            .arg(cache.join("build"))
            .arg("--message-format=json-render-diagnostics")
            .env("RUSTFLAGS", flags())
            // Smaller is quicker to boot.
            .envs([
                ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
                ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
            ])
            .stderr(Stdio::inherit());
        let words = words(&command);
        let output = command.output().with_context(|| format!("cannot start {words}"))?;
        if !output.status.success() {
            bail!("{words} failed ({}); its own words are above", output.status);
        }
        let mut built = executables(&String::from_utf8_lossy(&output.stdout));
        let mut take = |name: &str| {
            built.remove(name).with_context(|| format!("{words} did not say where it put {name}"))
        };
        Ok(Self { program: take(PROGRAM)?, other: (take(other)?, other) })
    }

    /// Puts them into the guest. The tests know the program by the path it was built at.
    pub(super) fn put(&self, archive: &mut Archive) -> Result<()> {
        let program = read(&self.program)?;
        archive.program(&self.program, &program);
        archive.program(Path::new("/vm/tcp-trace"), &program);
        let (path, name) = &self.other;
        archive.program(&Path::new("/vm").join(name), &read(path)?);
        Ok(())
    }
}

/// Those of the caller, and that no library is looked for at run time.
fn flags() -> String {
    let given = env::var("RUSTFLAGS").unwrap_or_default();
    format!("{given} -C target-feature=+crt-static").trim_start().to_owned()
}

/// Puts the host's programs into the guest, at the same paths; those of a bench, too, if it is one.
pub(super) fn put_tools(archive: &mut Archive, is_bench: bool) -> Result<()> {
    let busybox = BUSYBOX.required()?;
    if !libraries(&busybox)?.is_empty() {
        bail!(
            "{} needs libraries, which init does not have; {}",
            busybox.display(),
            "install the static one with `apt-get install busybox-static`"
        );
    }
    archive.program(Path::new("/bin/busybox"), &read(&busybox)?);
    let mut files = BTreeMap::new();
    let of_bench = is_bench.then_some(BENCH_TOOLS);
    for tool in TOOLS.into_iter().chain(of_bench.into_iter().flatten()) {
        let path = tool.required()?;
        files.extend(libraries(&path)?.into_iter().map(|library| (library.clone(), library)));
        // Where the tests look for it, wherever it is linked to.
        let directory = if tool.name == "ip" || tool == crate::tool::TCPSTATES {
            "/usr/sbin"
        } else {
            "/usr/bin"
        };
        files.insert(Path::new(directory).join(tool.name), path);
    }
    files.insert(LIBSTDBUF.into(), LIBSTDBUF.into());
    for (to, from) in files {
        archive.program(&to, &read(&from)?);
    }
    Ok(())
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    // It fails on a program that needs none.
    let said = run(Command::new(LDD.required()?).arg(program)).unwrap_or_default();
    parse(&said).with_context(|| format!("a library of {} is not there", program.display()))
}

/// Paths in the output of `ldd`; nothing if one is not found.
fn parse(said: &str) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in said.lines() {
        if line.contains("not found") {
            return None;
        }
        let words = line.split_ascii_whitespace();
        found.extend(words.filter(|word| word.starts_with('/')).map(PathBuf::from).next_back());
    }
    Some(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        let messages = r#"{"target":{"name":"tcp_trace"},"executable":null}
{"target":{"name":"tcp-trace"},"executable":"/t/release/tcp-trace"}
{"target":{"name":"kernel"},"executable":"/t/release/deps/kernel-1"}
{"reason":"build-finished"}"#;
        let found = executables(messages);
        assert_eq!(found.len(), 2);
        assert_eq!(found["kernel"], Path::new("/t/release/deps/kernel-1"));
    }

    #[test]
    fn libraries_are_found_and_missed() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)
\tlibelf.so.1 => /lib/x86_64-linux-gnu/libelf.so.1 (0x00007f0a)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f0b)";
        let found = ["/lib/x86_64-linux-gnu/libelf.so.1", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(said).unwrap(), found.map(PathBuf::from));
        assert_eq!(parse("\tlibx.so => not found"), None);
        assert_eq!(parse("\tnot a dynamic executable"), Some(Vec::new()));
    }
}
