//! `cargo xtask bench cps`: new connections per second, with and without each tracer.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    load::{self, Close, Load},
    machine::Machine,
    means::Means,
    placement::Placement,
    rounds::{self, Round},
    table::{self, Line},
    tracer::Tracer,
    unrest,
};
use crate::{daemon::Serve, namespace};

/// How to measure it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections in each run
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Rounds, each of them one run with every tracer and two with none
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How the client closes
    #[arg(long, value_name = "HOW", value_enum, default_value = "rst")]
    close: Close,
    /// Where the two ends of each connection run: each place is measured for itself
    #[arg(
        long,
        value_name = "WHERE",
        value_enum,
        value_delimiter = ',',
        default_value = "apart,together"
    )]
    placement: Vec<Placement>,
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
    let tracers = Tracer::all(Serve::states(&program));
    let obstacles: Vec<_> = tracers.iter().map(Tracer::obstacle).collect();
    let ready: Vec<_> = tracers
        .iter()
        .zip(&obstacles)
        .filter(|(_, obstacle)| obstacle.is_none())
        .map(|(tracer, _)| tracer)
        .collect();
    println!("\n{}", heading(args));
    let (mut lost, mut figures) = (0, Vec::new());
    for &placement in &args.placement {
        let rounds = measure(args, placement, &ready)?;
        let lines = lines(&rounds, &tracers, &obstacles);
        println!("\nclient and server {}:", placement.phrase());
        print!("{}", table::text(&lines));
        for note in unrest::notes(&rounds) {
            println!("\n{note}");
        }
        figures.push(as_json(args, placement, &rounds, &lines));
        let events = lines.iter().filter_map(|line| line.verdict.as_ref().ok()?.events);
        lost += events.map(|events| events.lost).sum::<u64>();
    }
    args.means.write(&figures)?;
    if lost > 0 {
        bail!("tcp-trace lost {lost} events; it must lose none under this load");
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(rounds: &[Round], tracers: &[Tracer], obstacles: &[Option<String>]) -> Vec<Line> {
    let mut lines = vec![Line {
        name: "nothing",
        verdict: rounds::nothing(rounds).ok_or_else(|| "there were no rounds".to_owned()),
    }];
    lines.extend(tracers.iter().zip(obstacles).map(|(tracer, obstacle)| {
        let missing = || obstacle.clone().unwrap_or_else(|| "not measured".into());
        Line {
            name: tracer.name(),
            verdict: rounds::verdict(rounds, tracer.name()).ok_or_else(missing),
        }
    }));
    lines
}

fn measure(args: &Args, placement: Placement, tracers: &[&Tracer]) -> Result<Vec<Round>> {
    let load = args.load(placement);
    let load = || load::measure(load, None);
    // The first run on a machine at rest is not like those after it.
    rounds::alone(&load)?;
    let mut done = Vec::new();
    for number in 0..args.rounds {
        let round = rounds::run(&load, tracers, number.try_into()?)?;
        let runs: Vec<_> =
            round.runs.iter().map(|run| format!("{} {:.0}", run.tracer, run.rate)).collect();
        println!(
            "round {} of {}: nothing {:.0}, {}, nothing {:.0}",
            number + 1,
            args.rounds,
            round.nothing[0],
            runs.join(", "),
            round.nothing[1]
        );
        done.push(round);
    }
    Ok(done)
}

impl Args {
    fn load(&self, placement: Placement) -> Load {
        Load { count: self.count, close: self.close, placement, here: false }
    }
}

fn heading(args: &Args) -> String {
    let Args { count, rounds, close, .. } = args;
    let close = if *close == Close::Rst { "RST" } else { "FIN" };
    format!(
        "machine: {}\n\
         load:    {count} connections a run, one after the other, on the loopback of a network \
         namespace of its own: connect, 2 bytes, 1 byte back, {close}\n\
         rounds:  {rounds}, each with every tracer once between two runs of nothing; kept is the \
         rate against the mean of those two\n\
         tracers: the whole host, all defaults; output of tcpstates and tcplife to /dev/null\n\
         figures: medians; events and losses of all rounds together\n",
        Machine::here()
    )
}

fn as_json(args: &Args, placement: Placement, rounds: &[Round], lines: &[Line]) -> Value {
    let verdicts: serde_json::Map<_, _> = lines
        .iter()
        .map(|line| {
            let verdict = match &line.verdict {
                Ok(verdict) => json!(verdict),
                Err(why) => json!({ "not_measured": why }),
            };
            (line.name.to_owned(), verdict)
        })
        .collect();
    json!({
        "machine": Machine::here(),
        "load": args.load(placement),
        "network": "a namespace of its own",
        "rounds": rounds,
        "verdicts": verdicts,
    })
}
