//! What there is to measure, each by the command that also measures it alone.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{privilege, tool::words};

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Part {
    /// Connections per second beside each tracer (`bench cps`)
    Cps,
    /// What segments cost (`bench packets`)
    Packets,
    /// What the daemon itself takes (`bench engine`)
    Engine,
    /// Connections per second on other kernels, by fentry and kprobes (`vm --bench cps`)
    Vm,
    /// A hundred thousand leaked sockets, diagnosed (`bench diagnosis`); four minutes more
    Diagnosis,
}

/// Of all kernels the oldest that many run, and one of today.
const KERNELS: &str = "vm --bench cps 6.1 6.12";

impl Part {
    /// Its name.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Cps => "cps",
            Self::Packets => "packets",
            Self::Engine => "engine",
            Self::Vm => "vm",
            Self::Diagnosis => "diagnosis",
        }
    }

    /// The command: all of it, or a quick look.
    const fn command(self, quick: bool) -> &'static str {
        match (self, quick) {
            (Self::Cps, false) => "bench cps",
            (Self::Cps, true) => {
                "bench cps --count 8000 --rounds 2 --scene rst-1-apart,fin-2-together \
                 --tracer counters,states,full,folded,segments,tcpstates,tcplife"
            }
            // New connections are measured elsewhere.
            (Self::Packets, false) => {
                "bench packets --rounds 3 --seconds 2 --count 10000 --placement apart"
            }
            (Self::Packets, true) => {
                "bench packets --rounds 1 --seconds 1 --count 2000 --placement apart --repeat 100000"
            }
            (Self::Engine, false) => "bench engine",
            (Self::Engine, true) => "bench engine --events 300000 --seconds 30",
            (Self::Vm, false) => KERNELS,
            (Self::Vm, true) => "vm --bench cps 6.12",
            (Self::Diagnosis, false) => "bench diagnosis",
            (Self::Diagnosis, true) => "bench diagnosis --count 5000",
        }
    }

    /// Measures it with a process of its own, which leaves its figures in the file `json`.
    pub(super) fn measure(self, program: &Path, json: &Path, quick: bool) -> Result<()> {
        let this = env::current_exe().context("cannot tell where this program is")?;
        // Guests are nobody's business but their own, and what runs in them is built here.
        let mut command = match self {
            Self::Vm => Command::new(this),
            _ => privilege::as_root(&this, &[])?,
        };
        command.args(self.command(quick).split_ascii_whitespace()).arg("--json").arg(json);
        if self != Self::Vm {
            command.arg("--program").arg(program);
        }
        command.stdin(Stdio::inherit());
        let words = words(&command);
        println!("\n{words}");
        let status = command.status().with_context(|| format!("cannot start {words}"))?;
        if !status.success() {
            bail!("{words} failed ({status})");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    #[test]
    fn every_command_is_one_that_there_is() {
        for part in Part::value_variants() {
            for quick in [false, true] {
                let words = part.command(quick).split_ascii_whitespace();
                let words = ["xtask"].into_iter().chain(words).chain(["--json", "figures"]);
                Cli::command().try_get_matches_from(words).unwrap();
            }
        }
    }
}
