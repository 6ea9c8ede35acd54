//! What a scrape must survive: a flood of connections, and a daemon that is killed and comes back.
//!
//! Over all of it no counter steps back but at the restart, nothing is told twice, Prometheus
//! rejects nothing, and nobody is missing for longer than the daemon was gone.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    continuity::{self, Outage, Series},
    none_of,
    scene::INTERVAL,
    server::Server,
    watcher::Watcher,
};
use crate::{child::Running, namespace::Network};

/// How long the flood lasts, at least.
const FLOOD: Duration = Duration::from_secs(16);
/// Connections between two looks at the clock.
const WAVE: u32 = 10_000;
/// Time for that many: the slowest machine that is worth it makes 300 a second.
const WAVE_LIMIT: Duration = Duration::from_secs(35);
/// How long the daemon is gone, before it starts anew.
const DOWN: Duration = Duration::from_secs(6);
/// Before, between and after: a few scrapes in peace.
const PEACE: Duration = Duration::from_secs(10);
/// What Prometheus counts of samples that it would not have.
const REJECTED: [&str; 3] = [
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_target_scrapes_sample_out_of_bounds_total",
];
/// Words of its log about the same.
const COMPLAINTS: [&str; 4] = ["ingesting", "duplicate", "out of order", "append failed"];
/// What connects, in the kernel's own figures.
const CONNECTED: &str = "tcp_trace_state_transitions_total{from=\"syn_sent\",to=\"established\"}";

/// Makes the trouble, and judges what `server` saw of it; a note of what there was.
pub(super) fn make(server: &Server, watcher: &mut Watcher, players: &Network) -> Result<String> {
    let begun = now()?;
    thread::sleep(PEACE);
    let before = connected(watcher)?;
    let (made, took) = flood(players)?;
    let counted = connected(watcher)? - before;
    if counted < made {
        bail!("the flood made {made} connections, and {counted} were counted");
    }
    thread::sleep(PEACE);
    let from = now()?;
    watcher.kill()?;
    thread::sleep(DOWN);
    watcher.begin()?;
    let outage = Outage { from, to: now()? };
    thread::sleep(PEACE);

    let window = format!("{:.0}s", (now()? - begun).ceil());
    let matrix =
        server.ask("/api/v1/query", &[("query", &format!("{{job=\"tcp-trace\"}}[{window}]"))])?;
    let series = Series::all(&matrix["result"])?;
    let mut faults = continuity::faults(&series, outage);
    faults.extend(computed(server, &series, &window)?);
    faults.extend(rejected(server)?);
    let kept = format!(
        "{made} connections in {:.0} s and {:.1} s without a daemon: {} series whole",
        took.as_secs_f64(),
        outage.to - outage.from,
        series.len()
    );
    none_of(&faults, kept)
}

/// Connections in the players' namespace, and the time they took.
fn flood(players: &Network) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    let mut made = 0;
    while begun.elapsed() < FLOOD {
        let mut command = Command::new("/proc/self/exe");
        command.args(["cps-load", &WAVE.to_string(), "rst", "free", "--here"]);
        players.hold(command.stdin(Stdio::null()).stdout(Stdio::null()));
        let status = Running::start(command)?.wait(WAVE_LIMIT)?;
        if !status.success() {
            bail!("the flood failed ({status}); its own words are above");
        }
        made += u64::from(WAVE);
    }
    Ok((made, begun.elapsed()))
}

fn connected(watcher: &Watcher) -> Result<u64> {
    let metrics = watcher.metrics()?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(CONNECTED));
    value.and_then(|value| value.trim().parse().ok()).context("nobody counts who has connected")
}

/// What Prometheus itself computes of the counters.
fn computed(server: &Server, series: &[Series], window: &str) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut counters: Vec<_> =
        series.iter().filter(|series| series.is_counter()).map(|series| &*series.name).collect();
    counters.sort_unstable();
    counters.dedup();
    let mut restarts = 0;
    for name in counters {
        let of = format!("{name}{{job=\"tcp-trace\"}}");
        let never = [
            format!("min_over_time(rate({of}[{}s])[{window}:{INTERVAL}s]) < 0", 5 * INTERVAL),
            format!("resets({of}[{window}]) > 1"),
        ];
        for query in never {
            let found = ask(server, &query)?;
            faults.extend((found > 0).then(|| format!("{found} series of {query}")));
        }
        restarts += ask(server, &format!("resets({of}[{window}]) == 1"))?;
    }
    if restarts == 0 {
        faults.push("no counter has been reset: the daemon was not started anew".to_owned());
    }
    Ok(faults)
}

/// How many series a query gives.
fn ask(server: &Server, query: &str) -> Result<usize> {
    let data = server.ask("/api/v1/query", &[("query", query)])?;
    data["result"].as_array().map(Vec::len).context("a query gives no vector")
}

/// What Prometheus would not have.
fn rejected(server: &Server) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let metrics = server.text("/metrics")?;
    for name in REJECTED {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        match value.map(str::trim) {
            Some("0") => {}
            Some(count) => faults.push(format!("{name} is {count}")),
            None => faults.push(format!("Prometheus has no {name}")),
        }
    }
    let targets = server.ask("/api/v1/targets", &[("state", "active")])?;
    let targets = targets["activeTargets"].as_array().map(Vec::as_slice).unwrap_or_default();
    if targets.len() != 1 {
        faults.push(format!("there are {} targets", targets.len()));
    }
    for target in targets {
        if target["health"] != "up" || target["lastError"] != "" {
            faults.push(format!("the target is {}: {}", target["health"], target["lastError"]));
        }
    }
    let log = server.log();
    let complains = |line: &&str| {
        let line = line.to_lowercase();
        COMPLAINTS.iter().any(|words| line.contains(words))
    };
    faults.extend(log.lines().filter(complains).map(str::to_owned));
    Ok(faults)
}

/// Seconds since 1970, as Prometheus stamps samples.
fn now() -> Result<f64> {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    Ok(now.context("the clock stands before 1970")?.as_secs_f64())
}
