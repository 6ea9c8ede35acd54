//! `diagnose`, and what it goes by.

use std::time::Duration;

use clap::Args;

use super::{Tracing, parse_span};

/// What `diagnose` goes by.
#[derive(Clone, Debug, Args)]
pub(crate) struct Judge {
    /// How long a socket must have stood still to be stuck, e.g. 60s, 5m [default: the daemon's, 60s]
    #[arg(long, value_name = "AGE", value_parser = parse_span)]
    pub(crate) older_than: Option<Duration>,
    /// How many stuck sockets of one process and service make a finding [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) at_least: Option<u64>,
    /// Percentage of the ports to a destination, or of another bound, that is too much [default: 70]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) share: Option<u8>,
    /// How far back failed connections, resets and the like are counted, up to 5m [default: 5m]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) window: Option<Duration>,
    /// How many failed connects in that time make a finding [default: 10]
    #[arg(long, value_name = "N")]
    pub(crate) failures: Option<u64>,
    /// Print the API's object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `diagnose`.
#[derive(Debug, Args)]
pub(crate) struct Diagnose {
    #[command(flatten)]
    pub(crate) judge: Judge,
    /// Diagnose again and again, every so often, until Ctrl-C
    #[arg(
        long,
        value_name = "EVERY",
        value_parser = parse_span,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5s"
    )]
    pub(crate) watch: Option<Duration>,
    /// Look on for this long first, e.g. 30s: growth needs time. Without a daemon at least 5s
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    pub(crate) span: Option<Duration>,
    #[command(flatten)]
    pub(crate) tracing: Tracing,
}
