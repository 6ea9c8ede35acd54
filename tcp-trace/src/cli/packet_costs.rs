//! `tcp-trace packet-costs`: a part of `cargo xtask bench packets`, for nobody else.

use std::process::ExitCode;

use anyhow::anyhow;

use super::{args::PacketCosts, print};
use crate::kernel::packets::costs;

/// Measures, and prints every figure as JSON.
pub(super) fn run(args: &PacketCosts) -> anyhow::Result<ExitCode> {
    let costs = costs::measure(args.repeat, args.runs).map_err(|error| anyhow!(error))?;
    print::json(&costs)?;
    Ok(ExitCode::SUCCESS)
}
