//! `cargo xtask test`: everything that can be checked on one host, with a verdict that can be read
//! from its last line.
//!
//! | module | has |
//! |---|---|
//! | `steps` | the steps, in their order |
//! | `report` | their outcomes, and the table of them |
//! | `harness` | `cargo test`, and how many tests it really ran |
//! | `root` | the tests that need root |
//! | `hidden` | state changes that no tracer may be told of |
//! | `needs` | what some of those need that not every host has |
//! | `metrics` | promtool's judgement |

mod harness;
mod hidden;
pub(crate) mod metrics;
mod needs;
mod report;
mod root;
mod steps;

use std::process::ExitCode;

use anyhow::Result;

use crate::{checkout::Checkout, tool};
use report::Report;

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave out what needs root, and promtool where it is missing
    #[arg(long, conflicts_with = "strict")]
    unprivileged: bool,
    /// Fail where anything is left out: a rebuild of the kernel object, or a check by cargo-deny
    #[arg(long, env = "XTASK_STRICT")]
    strict: bool,
    /// Run only the tests whose names contain this, and no other check
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// What every step works with.
#[derive(Debug)]
struct Setting<'a> {
    args: &'a Args,
    checkout: &'a Checkout,
}

/// Takes every step, whatever came of those before it; fails if one does.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let checkout = Checkout::find()?;
    let setting = Setting { args, checkout: &checkout };
    for tool in [tool::RUSTFMT, tool::CLIPPY, tool::PROMTOOL, tool::JSONNET, tool::CARGO_DENY] {
        if !tool.runs() {
            println!("{}", tool.missing());
        }
    }
    let mut report = Report::default();
    for step in steps::of(args) {
        report.take(step, &setting);
    }
    print!("{report}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
