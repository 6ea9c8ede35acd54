//! `cargo xtask dashboards`: the dashboards, rules and alerts in `dashboards/`, rendered and proven.
//!
//! | module | has |
//! |---|---|
//! | `mixin` | what the mixin gives, and whether the files in git are that |
//! | `board` | a dashboard, as its checks read it |
//! | `promql` | queries: their macros |
//! | `lint` | rules for dashboards |
//! | `named`, `closure` | tests: that dashboards and rules name what is exported, all of it |
//! | `rules` | promtool's word on rules and alerts, and their tests |
//! | `types` | Grafana's own types |
//! | `releases` | the Prometheus servers that are asked |
//! | `server` | one of them, running |
//! | `scene` | `tcp-trace demo`, a daemon that watches it, and what was scraped |
//! | `watcher` | that daemon, behind TLS and a password |
//! | `alarms` | the alerts it must raise, and no other |
//! | `queries` | every query of every panel and variable, asked for real |
//! | `trouble` | a flood, and a daemon that is killed and comes back |
//! | `continuity` | whether what was scraped goes on through that |
//! | `pictures` | what came back, drawn |

mod alarms;
mod board;
#[cfg(test)]
mod closure;
mod continuity;
mod lint;
mod mixin;
#[cfg(test)]
mod named;
mod pictures;
mod promql;
mod queries;
mod releases;
mod rules;
mod scene;
mod server;
mod trouble;
mod types;
mod watcher;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use board::Board;
use clap::Subcommand;

use crate::{archive::run as run_command, cargo::cargo, checkout::Checkout, privilege};

/// What to do with them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write what the mixin gives: dashboards and rules.
    Render,
    /// Prove that they are what the mixin gives, well made, and answered by a real Prometheus.
    Check(Args),
    /// A part of `check` that takes root: a scene, its daemon, and Prometheus servers that watch it.
    #[command(hide = true)]
    Live(scene::Args),
}

/// What to check.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what needs neither root nor a running server
    #[arg(long)]
    still: bool,
    /// Draw the dashboards as they were answered, into `dashboards/pictures/`
    #[arg(long, conflicts_with = "still")]
    pictures: bool,
}

/// Does it.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Render => mixin::write(&Checkout::find()?)?,
        Command::Check(args) => return check(&Checkout::find()?, args),
        Command::Live(args) => scene::run(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every check, whatever came of those before it.
fn check(checkout: &Checkout, args: &Args) -> Result<ExitCode> {
    if !args.still {
        privilege::expect_a_way_to_root()?;
    }
    let mut failed = 0_u32;
    let mut step = |name: &str, outcome: Result<String>| match outcome {
        Ok(note) => println!("{name:<10} passed  {note}"),
        Err(error) => {
            failed += 1;
            println!("{name:<10} FAILED  {error:#}");
        }
    };
    step("rendered", mixin::verify(checkout));
    step("rules", rules::check(checkout));
    step("types", types::check(checkout));
    step("lint", Board::all(checkout).and_then(|boards| lint::check(&boards)));
    step("names", tests(checkout));
    if !args.still {
        for release in releases::ALL {
            let answered = scene::take(checkout, &release, args.pictures);
            step(release.name, answered.with_context(|| format!("Prometheus {}", release.name)));
        }
    }
    if failed > 0 {
        println!("\n{failed} failed");
        return Ok(ExitCode::FAILURE);
    }
    println!("\nall passed");
    Ok(ExitCode::SUCCESS)
}

/// Of these checks, those that need neither root nor a network nor npm.
pub(crate) fn at_rest(checkout: &Checkout) -> Result<String> {
    let rendered = mixin::verify(checkout).context("what is rendered")?;
    let rules = rules::check(checkout).context("rules")?;
    let lint = Board::all(checkout).and_then(|boards| lint::check(&boards)).context("lint")?;
    Ok(format!("{rendered} rendered, {rules}, {lint}"))
}

/// The tests of this module: whoever runs all tests has run them too.
fn tests(checkout: &Checkout) -> Result<String> {
    let mut command = cargo(checkout);
    command.args(["test", "--quiet", "--package", "xtask", "dashboards::"]);
    run_command(&mut command)?;
    Ok("every metric is shown, and none that is not exported".to_owned())
}

/// Where the dashboards lie.
fn home(checkout: &Checkout) -> PathBuf {
    checkout.root().join("dashboards")
}

/// An error with a line for each of `faults`, if there are any.
fn none_of(faults: &[String], good: String) -> Result<String> {
    if !faults.is_empty() {
        bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(good)
}
