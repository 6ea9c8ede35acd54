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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Processes that leak.
    pub(super) leaks: usize,
    /// How many are in `CLOSE_WAIT`.
    pub(super) close_wait: u64,
    /// How many of them are old.
    pub(super) old: u64,
    /// How many more there are in a second, where that is told of all.
    pub(super) growth: Option<f64>,
    /// Who holds the first of them.
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
    let mut told = Told { lost, ..Told::default() };
    for leak in findings.into_iter().filter(|found| found.kind == "close_wait_leak") {
        let growth = leak.growth.map(|growth| growth.per_second);
        let before = if told.leaks == 0 { Some(0.0) } else { told.growth };
        told.growth = before.zip(growth).map(|(sum, growth)| sum + growth);
        told.leaks += 1;
        told.close_wait += leak.counts.get("close_wait").copied().unwrap_or(0);
        told.old += leak.count;
        let held = leak.evidence.into_iter().find(|line| line.label == "held by");
        told.held_by = told.held_by.or_else(|| held.map(|line| line.text));
        if let Some(bound) = leak.exhaustion {
            let (used, limit) = told.descriptors.unwrap_or_default();
            told.descriptors = Some((used + bound.used, limit + bound.limit));
        }
    }
    Ok(told)
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
            leaks: 1,
            close_wait: 9,
            old: 7,
            growth: Some(1.5),
            held_by: Some("x 7 as fd 4".to_owned()),
            descriptors: Some((20, 30)),
            lost: 2,
            seconds: 0.0,
        };
        assert_eq!(parse(answer).unwrap(), expected);
        // Of several processes, all together.
        let leak = |growth| {
            format!(
                r#"{{"kind":"close_wait_leak","count":7,"counts":{{"close_wait":9}},
                "growth":{growth},"exhaustion":null,"evidence":[]}}"#
            )
        };
        let growing = r#"{"per_second":1.5}"#;
        for (second, sum) in [(growing, Some(3.0)), ("null", None)] {
            let findings = [leak(growing), leak(second)].join(",");
            let told = parse(&format!(r#"{{"lost":0,"findings":[{findings}]}}"#)).unwrap();
            assert_eq!((told.leaks, told.close_wait, told.growth), (2, 18, sum));
        }
        assert_eq!(parse(r#"{"lost":0,"findings":[]}"#).unwrap(), Told::default());
        assert!(parse("{}").is_err());
    }
}
