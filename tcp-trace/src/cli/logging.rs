//! The log, on standard error; the kernel programs' own lines come this way, too.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt as _};

/// Starts the log at `level`. Libraries speak only of trouble, whatever the level.
pub(super) fn start(level: LevelFilter, daemon: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("warn,tcp_trace={level},tcp_trace_ebpf={level}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Under systemd the journal stamps lines itself, and a person at a prompt knows what time it is.
    if daemon && std::env::var_os("JOURNAL_STREAM").is_none() {
        log.finish().try_init()?;
    } else {
        log.without_time().finish().try_init()?;
    }
    Ok(())
}
