//! `cargo xtask bench`: what tracing costs, measured beside what else one could run.
//!
//! | module | has |
//! |---|---|
//! | `cps` | the command: connections per second, with and without each tracer |
//! | `packets` | the command: what looking at segments costs, per packet, stream and connection |
//! | `diagnosis` | the command: a hundred thousand leaked sockets, diagnosed |
//! | `engine` | the command: what the daemon itself takes, per event and per connection |
//! | `load` | the connections, made by a process of their own |
//! | `placement` | its CPUs |
//! | `rival` | tcpstates and tcplife of libbpf-tools |
//! | `tracer` | everything that can run beside the load |
//! | `rounds` | who runs when |
//! | `statistics`, `table` | what the figures say |
//! | `unrest` | whether they can be trusted |
//! | `means` | the program that is measured, and where its figures go |
//! | `machine` | what they were measured on |

mod cps;
pub(crate) mod diagnosis;
mod engine;
pub(crate) mod load;
mod machine;
mod means;
pub(crate) mod packets;
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
    /// What looking at segments costs: a packet, a stream, a connection.
    Packets(packets::Args),
    /// How a diagnosis scales: very many leaked sockets, how long it takes and how right it is.
    Diagnosis(diagnosis::Args),
    /// What the daemon itself takes: an event, a connection, a scrape, its start, its rest.
    Engine(engine::Args),
}

/// Measures it.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Cps(args) => cps::run(args),
        Command::Packets(args) => packets::run(args),
        Command::Diagnosis(args) => diagnosis::run(args),
        Command::Engine(args) => engine::run(args),
    }
}
