//! Questions to the daemon, and how long it takes to answer them.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{daemon::Daemon, tool::words};

/// What `diagnose` ends with where something is wrong.
const FINDINGS: i32 = 3;
/// Between two questions that are asked for the time they take.
const PAUSE: Duration = Duration::from_millis(100);

/// What a diagnosis says of the leak.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Told {
    /// How many are in `CLOSE_WAIT`.
    pub(super) close_wait: u64,
    /// How many of them are old.
    pub(super) old: u64,
    /// How many more there are in a second.
    pub(super) growth: Option<f64>,
    /// Who holds them.
    pub(super) held_by: Option<String>,
    /// Descriptors in use, and how many there may be.
    pub(super) descriptors: Option<(u64, u64)>,
    /// Events lost.
    pub(super) lost: u64,
    /// How long the answer took.
    pub(super) seconds: f64,
}

#[derive(Deserialize)]
struct Diagnosis {
    lost: u64,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    kind: String,
    count: u64,
    counts: std::collections::BTreeMap<String, u64>,
    growth: Option<Growth>,
    exhaustion: Option<Exhaustion>,
    evidence: Vec<Line>,
}

#[derive(Deserialize)]
struct Growth {
    per_second: f64,
}

#[derive(Deserialize)]
struct Exhaustion {
    used: u64,
    limit: u64,
}

#[derive(Deserialize)]
struct Line {
    label: String,
    text: String,
}

/// Asks `/api/v1/diagnosis`.
pub(super) fn told(daemon: &Daemon) -> Result<Told> {
    let begun = Instant::now();
    let answer = daemon.get("/api/v1/diagnosis")?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Told { seconds, ..parse(&answer)? })
}

fn parse(answer: &str) -> Result<Told> {
    let Diagnosis { lost, findings } =
        serde_json::from_str(answer).context("the daemon's diagnosis is not as expected")?;
    let leak = findings.into_iter().find(|found| found.kind == "close_wait_leak");
    let Some(leak) = leak else { return Ok(Told { lost, ..Told::default() }) };
    let held = leak.evidence.into_iter().find(|line| line.label == "held by");
    Ok(Told {
        close_wait: leak.counts.get("close_wait").copied().unwrap_or(0),
        old: leak.count,
        growth: leak.growth.map(|growth| growth.per_second),
        held_by: held.map(|line| line.text),
        descriptors: leak.exhaustion.map(|bound| (bound.used, bound.limit)),
        lost,
        seconds: 0.0,
    })
}

/// Seconds that `tcp-trace diagnose --json` takes, from its start to its end.
pub(super) fn diagnose(program: &Path, daemon: &Daemon) -> Result<f64> {
    let mut command = Command::new(program);
    command.arg("--socket").arg(daemon.socket()).args(["diagnose", "--json"]);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let words = words(&command);
    let begun = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {words}"))?;
    let seconds = begun.elapsed().as_secs_f64();
    if output.status.code() != Some(FINDINGS) {
        bail!("{words} ended with {}, and should have found the leak", output.status);
    }
    let text = String::from_utf8(output.stdout).context("it printed no text")?;
    parse(&text).with_context(|| format!("{words} printed no diagnosis"))?;
    Ok(seconds)
}

/// How long a small question has to wait, asked again and again for `span`: seconds, ascending.
pub(super) fn waits(daemon: &Daemon, span: Duration) -> Result<Vec<f64>> {
    let (begun, mut waits) = (Instant::now(), Vec::new());
    while begun.elapsed() < span {
        let asked = Instant::now();
        daemon.get("/api/v1/status")?;
        waits.push(asked.elapsed().as_secs_f64());
        thread::sleep(PAUSE);
    }
    waits.sort_by(f64::total_cmp);
    Ok(waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leak_is_read_among_other_findings() {
        let answer = r#"{"lost":2,"findings":[
            {"kind":"orphans","count":1,"counts":{},"growth":null,"exhaustion":null,"evidence":[]},
            {"kind":"close_wait_leak","count":7,"counts":{"close_wait":9},
             "growth":{"per_second":1.5,"over_seconds":3},
             "exhaustion":{"of":"file descriptors","used":20,"limit":30,"seconds_left":1.0},
             "evidence":[{"label":"held by","text":"x 7 as fd 4","connections":[]}]}]}"#;
        let expected = Told {
            close_wait: 9,
            old: 7,
            growth: Some(1.5),
            held_by: Some("x 7 as fd 4".to_owned()),
            descriptors: Some((20, 30)),
            lost: 2,
            seconds: 0.0,
        };
        assert_eq!(parse(answer).unwrap(), expected);
        assert_eq!(parse(r#"{"lost":0,"findings":[]}"#).unwrap(), Told::default());
        assert!(parse("{}").is_err());
    }
}
