//! `cargo xtask bench`: what tracing costs, measured beside what else one could run.
//!
//! | module | has |
//! |---|---|
//! | `cps` | the command: connections per second, with and without each tracer |
//! | `load` | the connections, made by a process of their own |
//! | `namespace`, `placement` | its network, and its CPUs |
//! | `rival` | tcpstates and tcplife of libbpf-tools |
//! | `tracer` | everything that can run beside the load |
//! | `rounds` | who runs when |
//! | `statistics`, `table` | what the figures say |
//! | `unrest` | whether they can be trusted |
//! | `machine` | what they were measured on |

mod cps;
pub(crate) mod load;
mod machine;
mod namespace;
mod placement;
mod rival;
mod rounds;
mod statistics;
mod table;
mod tracer;
mod unrest;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// New connections per second on loopback: with nothing, tcp-trace, tcpstates and tcplife.
    Cps(cps::Args),
}

/// Measures it.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Cps(args) => cps::run(args),
    }
}
