//! `cargo xtask vm --bench …`: what tracing costs on each kernel.
//!
//! The guest runs this very program, so that the measurement is the same as on a machine of one's
//! own. Without KVM its processor is made of software: only ratios mean anything there.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::{
    boot::Machine,
    console::is_emulators,
    initramfs::{self, Task},
    line::Line,
    programs::Programs,
    unpack::Kernel,
};
use crate::bench::{
    cps,
    packets::{Figures, Targets, text},
};

/// How often a guest boots again after trouble of the emulator's making: hooks come and go often.
const AGAIN: usize = 2;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum What {
    /// What looking at segments costs: a packet, a stream, a connection
    Packets,
    /// New connections beside each way to hook
    Cps,
}

impl What {
    /// The command in the guest: less of everything than elsewhere, for all of it is slow there.
    const fn command(self) -> &'static str {
        match self {
            Self::Packets => {
                "packets --rounds 3 --seconds 3 --count 2000 --placement apart,together \
                 --repeat 20000"
            }
            Self::Cps => {
                "cps --rounds 3 --count 2000 --scene rst-1-together,fin-1-together \
                 --tracer counters,states,full,fentry,kprobe,segments,tcplife,tcptracer"
            }
        }
    }

    /// What its figures say.
    fn text(self, json: &str) -> Result<String> {
        Ok(match self {
            Self::Packets => {
                let figures: Figures = serde_json::from_str(json)?;
                format!("{}\n\n{}", figures.machine(), text(&figures, Targets::GUEST))
            }
            Self::Cps => serde_json::from_str::<cps::Figures>(json)?.text("##"),
        })
    }
}

/// Measures on each kernel, alone on the machine; fails if it cannot be done on one of them.
pub(super) fn run(
    machine: &Machine,
    cache: &Path,
    kernels: Vec<(&'static Line, Result<Kernel>)>,
    programs: &Programs,
    what: What,
    json: Option<&Path>,
) -> Result<ExitCode> {
    let (mut measured, mut failed) = (serde_json::Map::new(), Vec::new());
    for (line, kernel) in kernels {
        let figures = kernel.and_then(|kernel| {
            println!("\n{}: {} boots", line.name, kernel.release);
            measure(machine, cache, &kernel, programs, what)
        });
        match figures {
            Ok((text, raw)) => {
                print!("\n{text}");
                measured.insert(line.name.to_owned(), raw);
            }
            Err(error) => {
                println!("{}: {error:#}", line.name);
                failed.push(line.name);
            }
        }
    }
    if let (Some(path), false) = (json, measured.is_empty()) {
        let text = serde_json::to_string_pretty(&measured).context("figures make no JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !failed.is_empty() {
        bail!("nothing was measured on {}", failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// The figures, and all that the guest has said of them.
fn measure(
    machine: &Machine,
    cache: &Path,
    kernel: &Kernel,
    programs: &Programs,
    what: What,
) -> Result<(String, serde_json::Value)> {
    let name = kernel.line.name;
    let path = cache.join(format!("initramfs-bench-{name}"));
    let task = Task::Bench(what.command().to_owned());
    fs::write(&path, initramfs::build(kernel, programs, &task)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut booted = machine.boot(kernel, &path)?;
    for _ in 0..AGAIN {
        let Some(trouble) = booted.trouble.as_deref().filter(|line| is_emulators(line)) else {
            break;
        };
        println!("{name}: {trouble}; that is the emulator's doing, so it boots once more");
        booted = machine.boot(kernel, &path)?;
    }
    let log = machine.logs.join(format!("{name}.log"));
    let told = || format!("its words are in {}", log.display());
    if let Some(trouble) = booted.trouble {
        return Err(anyhow::anyhow!(trouble).context(told()));
    }
    if booted.report.bench_code != Some(0) {
        // Where events were lost, say: there are figures all the same.
        println!("{name}: measuring did not end well; {}", told());
    }
    let Some(json) = booted.report.bench else { bail!("the guest measured nothing; {}", told()) };
    let text = what.text(&json).with_context(told)?;
    let raw = serde_json::from_str(&json).with_context(told)?;
    Ok((text, raw))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    #[test]
    fn what_the_guest_is_told_is_a_command() {
        for what in What::value_variants() {
            let words = what.command().split_ascii_whitespace();
            let files = ["--program", "/vm/tcp-trace", "--json", "/tmp/figures"];
            let words = ["xtask", "bench"].into_iter().chain(words).chain(files);
            Cli::command().try_get_matches_from(words).unwrap();
        }
    }
}
