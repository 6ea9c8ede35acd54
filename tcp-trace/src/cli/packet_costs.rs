//! `tcp-trace packet-costs`: a part of `cargo xtask bench packets`, for nobody else.

use std::process::ExitCode;

use anyhow::anyhow;

use super::print;
use crate::kernel::packets::costs;

/// `packet-costs`.
#[derive(Debug, clap::Args)]
pub(crate) struct PacketCosts {
    /// Frames in each run
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Runs of each program on each frame
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

/// Measures, and prints every figure as JSON.
pub(super) fn run(args: &PacketCosts) -> anyhow::Result<ExitCode> {
    let costs = costs::measure(args.repeat, args.runs).map_err(|error| anyhow!(error))?;
    print::json(&costs)?;
    Ok(ExitCode::SUCCESS)
}
