//! `cargo xtask bench cps`: new connections per second, with and without each tracer, and how much
//! longer each takes.
//!
//! | module | has |
//! |---|---|
//! | `scene` | what the load does, and where |
//! | `figures` | what it comes to, as JSON and for people |

mod figures;
mod scene;

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};

use super::{
    load,
    machine::Machine,
    means::Means,
    roster::Who,
    rounds::{self, Round},
    tracer::Tracer,
    unrest,
};
use crate::namespace;
pub(crate) use figures::Figures;
pub(super) use figures::Measured;
use figures::{Line, Outcome};
use scene::Scene;
#[cfg(test)]
pub(super) mod tests {
    pub(in crate::bench) use super::figures::{
        Outcome,
        tests::{figures, verdict},
    };
}

/// How to measure it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections in each run
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Rounds, each of them one run with every tracer and two with none
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Loads, each measured for itself: how the client closes (rst, fin), how many threads connect,
    /// and where the two ends of each connection run (together, apart, free)
    #[arg(
        long,
        value_name = "CLOSE-THREADS-WHERE",
        value_delimiter = ',',
        default_value = "rst-1-apart,rst-1-together,rst-2-together,fin-1-apart,fin-2-together"
    )]
    scene: Vec<Scene>,
    /// Who is measured
    #[arg(
        long,
        value_name = "WHO",
        value_enum,
        value_delimiter = ',',
        default_value = "counters,states,full,folded,auto,segments,tc,default,tcpstates,tcplife,\
                         tcptracer,bpftrace-count,bpftrace-print"
    )]
    tracer: Vec<Who>,
    #[command(flatten)]
    means: Means,
}

/// Builds, becomes root, measures, prints; fails if tcp-trace lost events.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let program = args.means.program_as_root()?;
    // Without it the rivals say themselves what is missing.
    if let Err(error) = namespace::provide_tracefs() {
        eprintln!("note: {error:#}");
    }
    let figures = measure(args, &program)?;
    print!("\n{}", figures.text("##"));
    args.means.write(&figures)?;
    let lost = figures.lost();
    if lost > 0 {
        bail!("tcp-trace lost {lost} events; it must lose none under this load");
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args, program: &Path) -> Result<Figures> {
    let tracers = args.tracer.iter().map(|who| who.tracer(program));
    let tracers: Vec<_> = tracers.collect::<Result<_>>()?;
    let mut obstacles = Vec::new();
    for tracer in &tracers {
        let obstacle = tracer.obstacle();
        println!("{}: {}", tracer.name(), obstacle.as_deref().unwrap_or("runs here"));
        obstacles.push(obstacle);
    }
    let ready: Vec<_> = tracers
        .iter()
        .zip(&obstacles)
        .filter(|(_, obstacle)| obstacle.is_none())
        .map(|(tracer, _)| tracer)
        .collect();
    let mut scenes = Vec::new();
    for &scene in &args.scene {
        let rounds = all_rounds(args, scene, &ready)?;
        scenes.push(Measured {
            scene,
            lines: lines(&rounds, &tracers, &obstacles),
            notes: unrest::notes(&rounds),
            rounds,
        });
    }
    let Args { count, rounds, .. } = *args;
    Ok(Figures { machine: Machine::here(), count, rounds, scenes })
}

fn lines(rounds: &[Round], tracers: &[Tracer], obstacles: &[Option<String>]) -> Vec<Line> {
    let line = |name: &str, verdict: Option<_>, why: Option<&String>| {
        let why = || why.cloned().unwrap_or_else(|| "there were no rounds".to_owned());
        let outcome = verdict.map_or_else(|| Outcome::NotMeasured(why()), Outcome::Measured);
        Line { name: name.to_owned(), outcome }
    };
    let nothing = line("nothing", rounds::nothing(rounds), None);
    let others = tracers.iter().zip(obstacles).map(|(tracer, obstacle)| {
        let name = tracer.name();
        line(name, rounds::verdict(rounds, name), obstacle.as_ref())
    });
    [nothing].into_iter().chain(others).collect()
}

fn all_rounds(args: &Args, scene: Scene, tracers: &[&Tracer]) -> Result<Vec<Round>> {
    let load = scene.load(args.count);
    let load = rounds::Load { afresh: true, run: &|network| load::measure(load, network) };
    // The first run on a machine at rest is not like those after it.
    rounds::alone(&load)?;
    let mut done = Vec::new();
    for number in 0..args.rounds {
        let round = rounds::run(&load, tracers, number.try_into()?)?;
        let runs: Vec<_> =
            round.runs.iter().map(|run| format!("{} {:.0}", run.tracer, run.sample.rate)).collect();
        println!(
            "{scene}: round {} of {}: nothing {:.0}; {}; nothing {:.0}",
            number + 1,
            args.rounds,
            round.nothing[0].rate,
            runs.join("; "),
            round.nothing[1].rate
        );
        done.push(round);
    }
    Ok(done)
}
