//! `cargo xtask bench engine`: what the daemon itself takes, by events that are made up and by one at
//! rest.
//!
//! | module | has |
//! |---|---|
//! | `parts` | what the program's hidden command `bench-engine` tells |
//! | `rest` | a daemon that has nothing to do |
//! | `delay` | how soon a state change is watched |
//! | `threads` | what each of its threads takes |
//! | `text` | what it comes to, beside the goals |

mod delay;
mod parts;
mod rest;
mod text;
mod threads;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use serde::Serialize;

use super::{machine::Machine, means::Means};
use parts::{Crowd, Stream};
pub(super) use rest::Rest;

/// Connections that are there while others are asked for.
const SIZES: [u32; 4] = [100, 10_000, 100_000, 1_000_000];

/// Closed connections that are weighed.
const KEPT: u32 = 100_000;

/// How to measure it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events in each stream
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Seconds that a daemon is left alone; it takes a snapshot in every 30
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Start no daemon, for which this needs no root
    #[arg(long)]
    no_daemon: bool,
    #[command(flatten)]
    means: Means,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    streams: Vec<Stream>,
    crowds: Vec<Crowd>,
    /// Resident bytes for each closed connection that is kept, by the hooks there are.
    closed: Vec<(&'static str, f64)>,
    rest: Option<Rest>,
}

/// Builds, becomes root where a daemon is to start, measures, prints.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let program = if args.no_daemon { args.means.program() } else { args.means.program_as_root() }?;
    println!("\nmachine: {}\n", Machine::here());
    let figures = measure(args, &program)?;
    print!("{}", text::text(&figures));
    args.means.write(&figures)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args, program: &Path) -> Result<Figures> {
    let streams = ["states", "calls", "all"].into_iter();
    let streams = streams.map(|mix| parts::stream(program, mix, args.events));
    let crowds = ["calls", "all"].into_iter().flat_map(|mix| SIZES.map(|live| (mix, live)));
    let crowds = crowds.map(|(mix, live)| parts::crowd(program, mix, live));
    let closed = ["calls", "all"].into_iter().map(|mix| parts::closed(program, mix, KEPT));
    Ok(Figures {
        machine: Machine::here(),
        streams: streams.collect::<Result<_>>()?,
        crowds: crowds.collect::<Result<_>>()?,
        closed: closed.collect::<Result<_>>()?,
        rest: if args.no_daemon { None } else { Some(rest::measure(program, args.seconds)?) },
    })
}
