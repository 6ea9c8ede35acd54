//! The project's own chores: `cargo xtask <command>`.
//!
//! Each command is one module with a `run`; this file only chooses between them.

mod bpf;

use std::process::ExitCode;

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
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bpf(command) => bpf::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
