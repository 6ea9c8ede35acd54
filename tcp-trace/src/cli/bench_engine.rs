//! `tcp-trace bench-engine`: a part of `cargo xtask bench engine`, for nobody else.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::print;
use crate::{
    engine::bench::{Bench, CLOSED, Mix},
    serve::metrics,
};

/// Connections that `list` shows by default.
const LISTED: usize = 50;
/// Events that pass before any are measured: the closed connections that are kept are all there.
const WARM_UP: u64 = 300_000;
/// Events prepared at a time: what they take of memory is not what the tracer takes.
const BATCH: u64 = 100_000;

/// `bench-engine`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchEngine {
    /// Which hooks there are
    #[arg(long, value_enum, default_value = "all")]
    mix: Hooks,
    /// Connections that are there all the time
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    live: u32,
    /// Events to take
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Connections opened in a second of the events' own time, and as many accepted
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(50..))]
    rate: u64,
    /// Closed connections to keep: what each takes is told where there are more than by default
    #[arg(long, value_name = "N", default_value_t = CLOSED)]
    kept: usize,
    /// How often to ask
    #[arg(long, value_name = "N", default_value_t = 5)]
    times: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Hooks {
    /// State changes
    States,
    /// And calls, requests, `TIME_WAIT`
    Calls,
    /// And segments
    All,
    /// Each life in one record
    Folded,
}

/// What it comes to.
#[derive(Serialize)]
struct Told {
    /// Connections that were there.
    live: u32,
    /// Events that were taken.
    events: u64,
    /// Microseconds of processor time for each of them, batch by batch.
    event_us: Vec<f64>,
    /// Resident bytes before and after the connections that stay came.
    resident_before: u64,
    resident_after: u64,
    /// Resident bytes for each closed connection that is kept, where that was asked for.
    kept_bytes: Option<f64>,
    /// Milliseconds until figures are copied out and written in both formats.
    figures_ms: Vec<f64>,
    render_ms: Vec<f64>,
    /// Milliseconds until `list`, `status` and `diagnose` have their answer.
    list_ms: Vec<f64>,
    status_ms: Vec<f64>,
    diagnose_ms: Vec<f64>,
    /// By how much an event is held back, at least and at most.
    held_back_ms: (f64, f64),
}

/// Measures, and prints every figure as JSON.
pub(super) fn run(args: &BenchEngine) -> anyhow::Result<ExitCode> {
    let mix = match args.mix {
        Hooks::States => Mix::States,
        Hooks::Calls => Mix::Calls,
        Hooks::All => Mix::All,
        Hooks::Folded => Mix::Folded,
    };
    let live = usize::try_from(args.live)?;
    let mut bench = Bench::keeping(mix, live, args.rate, args.kept);
    let resident_before = resident()?;
    bench.populate(u64::from(args.live));
    let resident_after = resident()?;
    let mut told = Told {
        live: args.live,
        events: 0,
        event_us: Vec::new(),
        resident_before,
        resident_after,
        kept_bytes: None,
        figures_ms: Vec::new(),
        render_ms: Vec::new(),
        list_ms: Vec::new(),
        status_ms: Vec::new(),
        diagnose_ms: Vec::new(),
        held_back_ms: Bench::held_back_ms(),
    };
    if args.events > 0 {
        take(&mut bench, args.events, &mut told);
    }
    if args.kept > CLOSED {
        told.kept_bytes = Some(weigh(&mut bench, args.kept)?);
    }
    for _ in 0..args.times {
        ask(&mut bench, &mut told)?;
    }
    print::json(&told)?;
    Ok(ExitCode::SUCCESS)
}

fn take(bench: &mut Bench, events: u64, told: &mut Told) {
    let mut warm = 0;
    while warm < WARM_UP {
        warm += bench.prepare(BATCH);
        bench.take();
    }
    while told.events < events {
        let made = bench.prepare(BATCH);
        let ((), spent) = timed(|| bench.take());
        told.events += made;
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        told.event_us.push(spent.as_secs_f64() * 1e6 / made as f64);
    }
}

/// Resident bytes for each closed connection, from the first that are kept to `all` of them: what else
/// such a stream takes is there with the first.
fn weigh(bench: &mut Bench, all: usize) -> anyhow::Result<f64> {
    let mut fill = |upto| {
        while bench.kept() < upto {
            bench.prepare(BATCH);
            bench.take();
        }
        anyhow::Ok((bench.kept(), resident()?))
    };
    let (few, before) = fill(all / 5)?;
    let (many, after) = fill(all)?;
    #[expect(clippy::cast_precision_loss, reason = "memory has fewer bytes than that")]
    let each = after.saturating_sub(before) as f64 / many.saturating_sub(few).max(1) as f64;
    Ok(each)
}

fn ask(bench: &mut Bench, told: &mut Told) -> anyhow::Result<()> {
    const SILENT: &str = "the tracer gave no answer";
    let ms = |spent: Duration| spent.as_secs_f64() * 1e3;
    let (figures, spent) = timed(|| bench.figures());
    told.figures_ms.push(ms(spent));
    let figures = figures.context(SILENT)?;
    let (texts, spent) = timed(|| metrics::in_both_formats(&figures));
    told.render_ms.push(ms(spent));
    drop(texts?);
    let (list, spent) = timed(|| bench.list(LISTED));
    told.list_ms.push(ms(spent));
    drop(list.context(SILENT)?);
    let (status, spent) = timed(|| bench.status());
    told.status_ms.push(ms(spent));
    drop(status.context(SILENT)?);
    let (diagnosis, spent) = timed(|| bench.diagnose());
    told.diagnose_ms.push(ms(spent));
    drop(diagnosis.context(SILENT)?);
    Ok(())
}

/// What it gives, and the processor time that it took: others who run meanwhile do not count.
fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
    };
    let begun = now();
    let given = what();
    (given, now().saturating_sub(begun))
}

/// Bytes of this process that are in memory.
fn resident() -> anyhow::Result<u64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes = kilobytes.context("the kernel tells no resident memory")?;
    Ok(kilobytes.parse::<u64>()? << 10)
}
