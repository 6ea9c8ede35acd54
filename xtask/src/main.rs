//! The project's own chores: `cargo xtask <command>`.
//!
//! Each command is one module with a `run`; this file only chooses between them.
//!
//! | module | has |
//! |---|---|
//! | `bpf`, `run`, `demo`, `test`, `bench`, `vm`, `dashboards` | the commands |
//! | `archive` | Debian's archive, beside the system's own lists |
//! | `checkout` | where everything lies in the source tree |
//! | `cargo` | cargo, started for one of its commands |
//! | `tool` | other programs: where they are, and how they are installed |
//! | `privilege` | whether this is root, and whether sudo can make it so |
//! | `child` | programs that are ended whatever happens |
//! | `daemon`, `http` | a `tcp-trace serve` of one's own, and questions to it |
//! | `namespace` | namespaces of one's own |
//! | `house` | tests of the source tree itself |

mod archive;
mod bench;
mod bpf;
mod cargo;
mod checkout;
mod child;
mod daemon;
mod dashboards;
mod demo;
#[cfg(test)]
mod house;
mod http;
mod namespace;
mod privilege;
mod run;
mod test;
mod tool;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the kernel object in `bpf/`, or prove that it is the one these sources give.
    #[command(subcommand)]
    Bpf(bpf::Command),
    /// Build tcp-trace and run its daemon, as root.
    Run(run::Args),
    /// Build tcp-trace and run its demo, as root: a scene of sick servers, traced and diagnosed.
    Demo(demo::Args),
    /// Run every check and every test that this host can run.
    Test(test::Args),
    /// Measure what tracing costs: all of it, or one part.
    Bench(bench::Bench),
    /// Run the root tests on Debian's kernels, from 5.10 on, under qemu.
    Vm(vm::Args),
    /// Render the dashboards and rules, or prove that they are right.
    #[command(subcommand)]
    Dashboards(dashboards::Command),
    /// The load of `bench cps`.
    #[command(hide = true)]
    CpsLoad(bench::load::Load),
    /// The load of `bench diagnosis`.
    #[command(hide = true)]
    LeakLoad(bench::diagnosis::leak::Load),
    /// A part of `test` that may need sudo: scrape a daemon and let promtool judge its metrics.
    #[command(hide = true)]
    CheckMetrics(test::metrics::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Bpf(command) => bpf::run(&command)?,
        Command::Run(args) => match run::run(&args)? {},
        Command::Demo(args) => match demo::run(&args)? {},
        Command::Test(args) => return test::run(&args),
        Command::Bench(args) => return bench::run(&args),
        Command::Vm(args) => return vm::run(&args),
        Command::Dashboards(command) => return dashboards::run(&command),
        Command::CpsLoad(load) => bench::load::run(load)?,
        Command::LeakLoad(load) => bench::diagnosis::leak::run(load)?,
        Command::CheckMetrics(args) => test::metrics::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
