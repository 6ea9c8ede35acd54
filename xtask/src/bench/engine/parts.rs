//! What the program's hidden command `bench-engine` tells: a process of its own for each figure, so
//! that none finds the memory of another.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::super::statistics::Spread;
use crate::tool::words;

/// Events that pass.
#[derive(Debug, Serialize)]
pub(super) struct Stream {
    /// Of which hooks.
    pub(super) mix: &'static str,
    /// How many.
    pub(super) events: u64,
    /// Microseconds of processor time for each, over batches.
    pub(super) event_us: Spread,
    /// How long one is held back, at least and at most.
    pub(super) held_back_ms: (f64, f64),
}

/// Connections that are there.
#[derive(Debug, Serialize)]
pub(super) struct Crowd {
    /// By which hooks they are known.
    pub(super) mix: &'static str,
    /// How many.
    pub(super) live: u32,
    /// Resident bytes for each.
    pub(super) bytes: f64,
    /// Milliseconds of processor time.
    pub(super) scrape_ms: f64,
    pub(super) list_ms: f64,
    pub(super) status_ms: f64,
    pub(super) diagnose_ms: f64,
}

/// Resident bytes for each of `kept` closed connections.
pub(super) fn closed(program: &Path, mix: &'static str, kept: u32) -> Result<(&'static str, f64)> {
    let told = ask(program, mix, 1_000, 0, &["--kept", &kept.to_string()])?;
    Ok((mix, told.kept_bytes.context("no connection was closed")?))
}

/// As the program has them.
#[derive(Deserialize)]
struct Told {
    events: u64,
    event_us: Vec<f64>,
    resident_before: u64,
    resident_after: u64,
    kept_bytes: Option<f64>,
    figures_ms: Vec<f64>,
    render_ms: Vec<f64>,
    list_ms: Vec<f64>,
    status_ms: Vec<f64>,
    diagnose_ms: Vec<f64>,
    held_back_ms: (f64, f64),
}

/// Lets `events` events pass.
pub(super) fn stream(program: &Path, mix: &'static str, events: u64) -> Result<Stream> {
    let told = ask(program, mix, 10_000, events, &[])?;
    let event_us = Spread::of(told.event_us).context("no event was taken")?;
    Ok(Stream { mix, events: told.events, event_us, held_back_ms: told.held_back_ms })
}

/// Brings in `live` connections and asks about them.
pub(super) fn crowd(program: &Path, mix: &'static str, live: u32) -> Result<Crowd> {
    let told = ask(program, mix, live, 0, &[])?;
    let middle = |figures: Vec<f64>| Spread::of(figures).map(|spread| spread.median);
    let ms = |figures| middle(figures).context("nothing was asked");
    let grown = told.resident_after.saturating_sub(told.resident_before);
    #[expect(clippy::cast_precision_loss, reason = "memory has fewer bytes than that")]
    let bytes = grown as f64 / f64::from(live);
    Ok(Crowd {
        mix,
        live,
        bytes,
        scrape_ms: ms(told.figures_ms)? + ms(told.render_ms)?,
        list_ms: ms(told.list_ms)?,
        status_ms: ms(told.status_ms)?,
        diagnose_ms: ms(told.diagnose_ms)?,
    })
}

fn ask(program: &Path, mix: &str, live: u32, events: u64, more: &[&str]) -> Result<Told> {
    let mut command = Command::new(program);
    command.args(["bench-engine", "--mix", mix, "--live", &live.to_string()]);
    command.args(["--events", &events.to_string()]).args(more);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let words = words(&command);
    let output = command.output().with_context(|| format!("cannot start {words}"))?;
    if !output.status.success() {
        bail!("{words} failed ({}); its own words are above", output.status);
    }
    let told = serde_json::from_slice(&output.stdout);
    told.with_context(|| format!("{words} printed no figures"))
}
