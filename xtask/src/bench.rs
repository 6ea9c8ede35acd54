//! `cargo xtask bench`: what tracing costs, measured beside what else one could run.
//!
//! | module | has |
//! |---|---|
//! | `whole` | the command without another: all of them in one run, and what it comes to |
//! | `cps` | the command: connections per second, with and without each tracer |
//! | `packets` | the command: what looking at segments costs, per packet, stream and connection |
//! | `diagnosis` | the command: a hundred thousand leaked sockets, diagnosed |
//! | `engine` | the command: what the daemon itself takes, per event and per connection |
//! | `load` | the connections, made by a process of their own |
//! | `placement` | its CPUs |
//! | `rival` | the tools of others |
//! | `tracer`, `roster` | everything that can run beside the load |
//! | `rounds` | who runs when |
//! | `sample`, `statistics`, `table`, `bars` | what the figures say |
//! | `unrest` | whether they can be trusted |
//! | `means` | the program that is measured, and where its figures go |
//! | `machine` | what they were measured on |

mod bars;
pub(crate) mod cps;
pub(crate) mod diagnosis;
mod engine;
pub(crate) mod load;
mod machine;
mod means;
pub(crate) mod packets;
mod placement;
mod rival;
mod roster;
mod rounds;
mod sample;
mod statistics;
mod table;
mod tracer;
mod unrest;
mod whole;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What to measure: everything, unless one part is named.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    whole: whole::Args,
}

/// A part.
#[derive(Debug, Subcommand)]
enum Command {
    /// New connections per second on loopback: with nothing, tcp-trace in each mode, and its peers.
    Cps(cps::Args),
    /// What looking at segments costs: a packet, a stream, a connection.
    Packets(packets::Args),
    /// How a diagnosis scales: very many leaked sockets, how long it takes and how right it is.
    Diagnosis(diagnosis::Args),
    /// What the daemon itself takes: an event, a connection, a scrape, its start, its rest.
    Engine(engine::Args),
}

/// Measures it.
pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match &bench.command {
        None => whole::run(&bench.whole),
        Some(Command::Cps(args)) => cps::run(args),
        Some(Command::Packets(args)) => packets::run(args),
        Some(Command::Diagnosis(args)) => diagnosis::run(args),
        Some(Command::Engine(args)) => engine::run(args),
    }
}
