//! `cargo xtask vm`: the root tests on Debian's kernels, each in a guest of its own, with a verdict
//! that can be read from its last line.
//!
//! | module | has |
//! |---|---|
//! | `line` | the lines of kernels, and where Debian keeps each |
//! | `packages`, `unpack` | a line's newest kernel: chosen, fetched, unpacked |
//! | `modules`, `programs`, `cpio`, `initramfs` | what a guest boots into; `init.sh` is its first process |
//! | `boot`, `console` | a guest, and what it says |
//! | `bench` | what is measured in guests in place of tests |
//! | `verdict`, `matrix`, `table` | what that comes to, for one guest and for all |

mod bench;
mod boot;
mod console;
mod cpio;
mod initramfs;
mod line;
mod matrix;
mod modules;
mod packages;
mod programs;
mod table;
mod unpack;
mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::checkout::Checkout;
use boot::Machine;
use initramfs::{Run, Task};
use line::Line;
use matrix::Setting;
use programs::Programs;
use unpack::Kernel;
use verdict::Verdict;

/// Everything, the way that tcp-trace chooses by itself.
const AUTO: &str = "auto";
/// The ways to hook state changes that every kernel here must offer.
const FORCED: [&str; 3] = ["tracepoint", "fentry", "kprobe"];
/// What must come out the same whichever way is forced: the scenarios of single connections.
const SCENARIOS: [&str; 5] = ["orderly::", "refused::", "reset::", "owners::", "time_wait::"];

/// What to run where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Lines of kernels: 5.10, 6.1, 6.12, 6.18, 7.2 [default: all]
    #[arg(value_name = "KERNEL", value_parser = line::parse)]
    kernels: Vec<&'static Line>,
    /// Run only tests whose names contain this (repeatable)
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// Hook state changes only so (repeatable)
    #[arg(long, value_name = "HOW", value_parser = [AUTO, FORCED[0], FORCED[1], FORCED[2]])]
    backend: Vec<String>,
    /// Give a shell in the guest in place of tests; `exit` ends it
    #[arg(long, conflicts_with_all = ["test", "backend", "json"])]
    shell: bool,
    /// Measure in the guests, one after the other, in place of tests
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["test", "backend", "shell", "jobs"])]
    bench: Option<bench::What>,
    /// Look for newer kernels, too, where some are here already
    #[arg(long)]
    refresh: bool,
    /// Guests at the same time [default: two for each CPU]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Longest that one guest may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    timeout: u64,
    /// Use KVM, where it works
    #[arg(long)]
    kvm: bool,
    /// Save the results there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Fetches, builds, boots, and says what came of it; fails if anything did.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let checkout = Checkout::find()?;
    let cache = checkout.root().join("target/vm");
    let machine = Machine {
        kvm: args.kvm,
        limit: Duration::from_secs(args.timeout),
        logs: cache.join("logs"),
    };
    machine.check()?;
    let lines: Vec<_> =
        if args.kernels.is_empty() { line::ALL.iter().collect() } else { args.kernels.clone() };
    if args.shell && lines.len() != 1 {
        bail!("--shell is for one kernel: `cargo xtask vm --shell 6.1`");
    }
    // One waits for the network, the other for the compiler.
    let (programs, kernels) = thread::scope(|scope| {
        let kernels = scope.spawn(|| fetch(&cache, &lines, args.refresh));
        let build = if args.bench.is_some() { Programs::build_for_bench } else { Programs::build };
        (build(&checkout, &cache), kernels.join())
    });
    let programs = programs?;
    let Ok(mut kernels) = kernels else { bail!("fetching kernels broke down") };
    if args.shell {
        let Some((_, kernel)) = kernels.pop() else { bail!("there is no kernel") };
        return shell(&machine, &cache, &kernel?, &programs);
    }
    if let Some(what) = args.bench {
        return bench::run(&machine, &cache, kernels, &programs, what, args.json.as_deref());
    }
    let runs = runs(&args.backend, &args.test);
    let setting = Setting { machine: &machine, cache: &cache, programs: &programs, runs: &runs };
    let verdicts = matrix::run(&setting, kernels, args.jobs.unwrap_or_else(jobs));
    report(&verdicts, args.json.as_deref())
}

/// Two for each CPU: a guest has two of its own, but its tests wait more than they work.
fn jobs() -> usize {
    thread::available_parallelism().map_or(1, |count| 2 * count.get())
}

/// One after the other: they come from the same archive.
fn fetch(
    cache: &Path,
    lines: &[&'static Line],
    refresh: bool,
) -> Vec<(&'static Line, Result<Kernel>)> {
    lines.iter().map(|line| (*line, Kernel::find(cache, line, refresh))).collect()
}

/// The whole suite as users would have it, then the scenarios each way.
fn runs(backends: &[String], filters: &[String]) -> Vec<Run> {
    let every = [AUTO].into_iter().chain(FORCED).map(str::to_owned);
    let chosen: Vec<_> = if backends.is_empty() { every.collect() } else { backends.to_vec() };
    let run = |backend: String| {
        let filters = match (filters.is_empty(), backend.as_str()) {
            (false, _) => filters.to_vec(),
            (true, AUTO) => Vec::new(),
            (true, _) => SCENARIOS.map(str::to_owned).to_vec(),
        };
        Run { backend, filters }
    };
    chosen.into_iter().map(run).collect()
}

fn shell(
    machine: &Machine,
    cache: &Path,
    kernel: &Kernel,
    programs: &Programs,
) -> Result<ExitCode> {
    let path = cache.join("initramfs-shell");
    fs::write(&path, initramfs::build(kernel, programs, &Task::Shell)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{} boots; /vm/tcp-trace and /vm/kernel are there", kernel.release);
    machine.shell(kernel, &path)?;
    Ok(ExitCode::SUCCESS)
}

fn report(verdicts: &[Verdict], json: Option<&Path>) -> Result<ExitCode> {
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(verdicts).context("results make no JSON")?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print!("\n{}", table::text(verdicts));
    let tests: usize = verdicts.iter().map(|verdict| verdict.tests().count()).sum();
    let bad: Vec<_> = verdicts.iter().filter(|verdict| !verdict.is_good()).collect();
    if tests == 0 && bad.is_empty() {
        bail!("no test has such a name; `cargo test --test kernel -- --list` has them all");
    }
    if bad.is_empty() {
        println!("vm: {tests} tests on {} kernels: good", verdicts.len());
        return Ok(ExitCode::SUCCESS);
    }
    let lines: Vec<_> = bad.iter().map(|verdict| verdict.line.as_str()).collect();
    println!("vm: FAILED on {}", lines.join(", "));
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_forced_on_the_scenarios_only() {
        let all = runs(&[], &[]);
        assert_eq!(all.len(), 4);
        assert!(all[0].filters.is_empty());
        assert!(all[1..].iter().all(|run| run.filters.len() == SCENARIOS.len()));
    }

    #[test]
    fn a_filter_holds_for_each_backend_that_is_asked_for() {
        let some = runs(&["kprobe".into()], &["linger".into()]);
        assert_eq!(some, [Run { backend: "kprobe".into(), filters: vec!["linger".into()] }]);
    }
}
