//! `cargo xtask bench diagnosis`: a hundred thousand leaked sockets, and how long it takes to say so.
//!
//! | module | has |
//! |---|---|
//! | `leak` | the leak, made by a process of its own |
//! | `asking` | questions to the daemon, and how long they took |
//! | `process` | what the daemon itself takes |
//! | `figures` | what it comes to, as JSON and for people |

mod asking;
mod figures;
pub(crate) mod leak;
pub(super) mod process;

use std::{
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{machine::Machine, means::Means};
use crate::{
    daemon::{Daemon, Serve},
    namespace::Network,
};
use asking::{Told, diagnose, told, waits};
pub(super) use figures::Figures;
use figures::Look;
use leak::{Grown, Leak};
use process::{available, taken};

/// How old a socket is to be, by default, and two looks more.
const OLD: Duration = Duration::from_secs(70);
/// In which a round that looks at the host falls, by default.
const ROUND: Duration = Duration::from_secs(40);
/// Between two questions while the leak grows.
const GLANCE: Duration = Duration::from_secs(10);
/// What a leaked socket takes at most, in the kernel and in the daemon, with what is left for a
/// while of its other end.
const SOCKET: u64 = 10 << 10;
/// What is to stay free.
const RESERVE: u64 = 256 << 20;
/// Fewer are no scale.
const FEWEST: u32 = 1_000;

/// How to measure it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sockets to leak
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(i64::from(FEWEST)..=400_000))]
    count: u32,
    /// How many of them in a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How often to ask
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    #[command(flatten)]
    means: Means,
}

/// Builds, becomes root, measures, prints; fails where events were lost or the leak was not found.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let program = args.means.program_as_root()?;
    let count = affordable(args.count)?;
    let processes = leak::processes(count);
    println!("\n{}", heading(count, processes, args));
    let figures = measure(&program, count, processes, args)?;
    print!("\n{}", figures.text());
    args.means.write(&figures)?;
    if figures.lost > 0 {
        bail!("tcp-trace lost {} events; it must lose none under this load", figures.lost);
    }
    Ok(ExitCode::SUCCESS)
}

/// As many as there is memory for.
fn affordable(wanted: u32) -> Result<u32> {
    let Some(free) = available() else { return Ok(wanted) };
    let room = u32::try_from(free.saturating_sub(RESERVE) / SOCKET).unwrap_or(u32::MAX);
    if room >= wanted {
        return Ok(wanted);
    }
    if room < FEWEST {
        bail!("{} MiB of memory are available: not enough to leak anything", free >> 20);
    }
    println!(
        "note: {} MiB of memory are available, enough for {room} sockets and not for {wanted}",
        free >> 20
    );
    Ok(room)
}

fn heading(count: u32, processes: u32, args: &Args) -> String {
    let of = match processes {
        1 => "one process".to_owned(),
        several => format!("{several} processes, for none may have so many descriptors here"),
    };
    format!(
        "machine: {}\n\
         leak:    {count} sockets, {} a second, on loopback, of {of}: accepted, read to their \
         end, never closed\n\
         daemon:  tcp-trace serve, all defaults, in the leak's own network namespace; segments are \
         not looked at\n",
        Machine::here(),
        args.rate
    )
}

fn measure(program: &Path, count: u32, processes: u32, args: &Args) -> Result<Figures> {
    let network = Network::new()?;
    let daemon = Daemon::start(&Serve::states(program).within(&network))?;
    let empty = taken(daemon.pid())?;
    let mut leak = Leak::start(&network, count, args.rate, processes)?;
    let (grown, looks) = watch(&daemon, &mut leak)?;
    // The estimate as it stands when the last one has leaked: from then on it is one of the past.
    let at_the_end = told(&daemon)?;
    let growing = taken(daemon.pid())?;
    println!("{count} are there; until all of them are old");
    thread::sleep(OLD);
    let there = leak.close_waits()?;
    let settled = taken(daemon.pid())?;
    let waits = waits(&daemon, ROUND)?;
    let rested = taken(daemon.pid())?;
    let mut figures = Figures {
        machine: Machine::here(),
        count,
        there,
        grown,
        looks,
        told: at_the_end.growth,
        found: told(&daemon)?,
        api_seconds: Vec::new(),
        diagnose_seconds: Vec::new(),
        waits,
        cpu_growing: growing.cpu_since(&empty),
        cpu_at_rest: rested.cpu_since(&settled),
        memory_before: empty.memory,
        memory: rested.memory,
        memory_most: rested.memory_most,
        lost: at_the_end.lost,
    };
    for _ in 0..args.times {
        figures.api_seconds.push(told(&daemon)?.seconds);
        figures.diagnose_seconds.push(diagnose(program, &daemon)?);
    }
    drop(leak);
    daemon.stop()?;
    Ok(figures)
}

/// Looks on while it grows.
fn watch(daemon: &Daemon, leak: &mut Leak) -> Result<(Grown, Vec<Look>)> {
    let (begun, mut looks, mut last) = (Instant::now(), Vec::new(), Instant::now());
    loop {
        if let Some(grown) = leak.grown()? {
            return Ok((grown, looks));
        }
        if last.elapsed() < GLANCE {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        last = Instant::now();
        let Told { close_wait, growth, seconds, .. } = told(daemon)?;
        let at = begun.elapsed().as_secs_f64();
        println!("{at:.0} s: {}", figures::look(close_wait, growth, seconds));
        looks.push(Look { at, close_wait, growth, seconds });
    }
}
