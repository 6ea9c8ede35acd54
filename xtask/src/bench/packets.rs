//! `cargo xtask bench packets`: what looking at segments costs.
//!
//! | module | has |
//! |---|---|
//! | `program` | nanoseconds per packet |
//! | `paths`, `stream` | bulk throughput on `lo` and veth |
//! | `figures`, `text` | what it comes to, as JSON and for people |

mod figures;
mod paths;
mod program;
mod stream;
mod text;

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, Result};

use super::{
    load::{self, Close},
    machine::Machine,
    means::Means,
    placement::Placement,
    rounds::{self, Round},
    tracer::{TcpTrace, Tracer},
};
use crate::{
    daemon::Serve,
    namespace::Network,
    tool::{IP, IPERF3},
};
pub(crate) use figures::Figures;
use figures::{Kind, Load, SEGMENTS, STATES};
pub(crate) use text::{Targets, text};

/// How to measure it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds, each of them one run with states, one with states and segments, and two with nothing
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that each stream lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Connections in each run
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Where the two ends of each connection run: each place is measured for itself
    #[arg(
        long,
        value_name = "WHERE",
        value_enum,
        value_delimiter = ',',
        default_value = "apart,together"
    )]
    placement: Vec<Placement>,
    /// Runs of each program on each frame
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    #[command(flatten)]
    means: Means,
}

/// Builds, becomes root, measures, prints.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    for tool in [IPERF3, IP] {
        tool.required()?;
    }
    let program = args.means.program_as_root()?;
    println!("\n{}", heading(args));
    let figures = measure(args, &program)?;
    print!("\n{}", text(&figures, Targets::MACHINE));
    args.means.write(&figures)?;
    Ok(ExitCode::SUCCESS)
}

fn heading(args: &Args) -> String {
    let Args { rounds, seconds, count, .. } = args;
    format!(
        "machine: {}\n\
         streams: iperf3, one of {seconds} s in writes of 128 KiB, each end on a CPU of its own; on \
         `lo`, and over veth where the receiver's end or the sender's is looked at\n\
         connections: {count} a run, one after the other, on loopback: connect, 2 bytes, 1 byte \
         back, RST\n\
         rounds:  {rounds}, each with either daemon once between two runs of nothing; kept is the \
         rate against the mean of those two\n\
         daemons: tcp-trace serve, all defaults, in the load's own network namespace\n",
        Machine::here()
    )
}

fn measure(args: &Args, program: &Path) -> Result<Figures> {
    println!("packets: each program runs by itself");
    let costs = program::measure(program, args.repeat)?;
    let mut loads = Vec::new();
    let ways = paths::make()?;
    for way in &ways {
        let (network, interface) = &way.looked_at;
        let tracers = tracers(program, network, interface);
        let run = |_: Option<&Network>| Ok(stream::measure(way, args.seconds)?.into());
        let load = rounds::Load { afresh: false, run: &run };
        let rounds = rounds(args, way.name, &load, &tracers)?;
        loads.extend(Load::of(Kind::Stream, way.name, rounds));
    }
    let network = &ways[0].looked_at.0;
    let tracers = tracers(program, network, "lo");
    for &placement in &args.placement {
        let (count, close) = (args.count, Close::Rst);
        let load = load::Load { count, close, placement, threads: 1, here: true };
        let run = |_: Option<&Network>| load::measure(load, Some(network));
        let load = rounds::Load { afresh: false, run: &run };
        let rounds = rounds(args, placement.word(), &load, &tracers)?;
        loads.extend(Load::of(Kind::Connections, placement.word(), rounds));
    }
    Ok(Figures { machine: Machine::here(), repeat: args.repeat, costs, loads })
}

/// Both daemons.
fn tracers(program: &Path, network: &Network, interface: &'static str) -> [Tracer; 2] {
    let states = Serve::states(program).within(network);
    let segments = states.clone().and_segments(interface);
    [(STATES, states), (SEGMENTS, segments)].map(|(name, serve)| {
        Tracer::TcpTrace(TcpTrace { name, serve, within: false, calls: false })
    })
}

fn rounds(
    args: &Args,
    place: &str,
    load: &rounds::Load<'_>,
    tracers: &[Tracer],
) -> Result<Vec<Round>> {
    // The first run on a machine at rest is not like those after it.
    rounds::alone(load)?;
    let tracers: Vec<_> = tracers.iter().collect();
    let mut done = Vec::new();
    for number in 0..args.rounds {
        let round = rounds::run(load, &tracers, number.try_into()?)
            .with_context(|| format!("cannot measure {place}"))?;
        let kept = tracers.iter().filter_map(|tracer| {
            let name = tracer.name();
            Some(format!("{name} {:.1} %", round.kept(name)? * 100.0))
        });
        let kept: Vec<_> = kept.collect();
        println!("{place}: round {} of {}: {}", number + 1, args.rounds, kept.join("; "));
        done.push(round);
    }
    Ok(done)
}
