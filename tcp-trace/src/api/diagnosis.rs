//! `/api/v1/diagnosis`: findings as objects of the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Owner, owner, rfc3339};
use crate::core::{
    clock::WallOffset,
    diagnosis::{
        Advice as KnownAdvice, Finding as Known, Line as KnownLine, Report,
        Thresholds as KnownThresholds,
    },
};

/// `/api/v1/diagnosis`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// When (RFC 3339).
    pub at: String,
    /// What the host calls itself; empty in a replay.
    pub host: String,
    /// Where events come from: `live`, `recording` or `capture`.
    pub source: String,
    /// Since when it is traced (RFC 3339).
    pub tracing_since: String,
    /// For how many seconds.
    pub traced_seconds: f64,
    /// Events lost since then.
    pub lost: u64,
    /// From when on something was worth a finding.
    pub thresholds: Thresholds,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// Figures that are as they should be, in words.
    pub calm: Vec<String>,
    /// What looks like trouble and is none, in words.
    pub notes: Vec<String>,
    /// What could not be seen on this host, or not yet.
    pub unseen: Vec<String>,
}

/// From when on something is worth a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Seconds that a socket must have stood still in a state that should pass.
    pub older_than_seconds: f64,
    /// How many such sockets of one process and service make a finding.
    pub at_least: u64,
    /// The share of the ports to one destination, or of another bound, that is too much: 0 to 1.
    pub share: f64,
    /// How many seconds back failed connections, resets and the like are counted.
    pub window_seconds: f64,
    /// How many of those in that time make a finding.
    pub failures: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What: `close_wait_leak`, `port_pressure`, ….
    pub kind: String,
    /// What a person calls it.
    pub title: String,
    /// `serious` (something fails now, or will soon) or `warning`.
    pub severity: String,
    /// Whose doing, where known.
    pub process: Option<Owner>,
    /// Where to or from: `10.0.0.5:443`, or `port 8080` of this host's own.
    pub service: Option<String>,
    /// The cause by name, where there are several: `not_closed`, `rst_received`, ….
    pub cause: Option<String>,
    /// What goes on, in words that follow the process's name.
    pub says: String,
    /// How many sockets, ports or events.
    pub count: u64,
    /// Further figures by name.
    pub counts: BTreeMap<String, u64>,
    /// Since when (RFC 3339).
    pub since: Option<String>,
    /// Whether it began earlier: when was not seen.
    pub since_or_earlier: bool,
    /// How it grows; `null` where it does not, or that is not known yet.
    pub growth: Option<Growth>,
    /// How it grew, where it has stopped; else `null`.
    #[serde(default)]
    pub grown: Option<Grown>,
    /// What it uses up.
    pub exhaustion: Option<Exhaustion>,
    /// On what evidence; the first line sums up.
    pub evidence: Vec<Line>,
    /// The way out, and what is none.
    pub advice: Vec<Advice>,
    /// Commands that show more.
    pub see: Vec<String>,
    /// `high`, `medium` or `low`.
    pub confidence: String,
    /// What could not be seen, and would have told more.
    pub unseen: Vec<String>,
}

/// How a count grows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// By how many a second.
    pub per_second: f64,
    /// Over how many seconds that was seen.
    pub over_seconds: f64,
}

/// How a count grew that does so no longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grown {
    /// By how many a second.
    pub per_second: f64,
    /// Over how many seconds that was seen.
    pub over_seconds: f64,
    /// Until when (RFC 3339).
    pub until: String,
}

/// Something that there is only so much of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exhaustion {
    /// Of what: `file descriptors`, `local ports`, ….
    pub of: String,
    /// How much is in use.
    pub used: u64,
    /// How much there is.
    pub limit: u64,
    /// Seconds until it is all in use, at the present growth; `null` where it does not grow.
    pub seconds_left: Option<f64>,
}

/// One line of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What it is about: `cause`, `where`, `held by`, …; empty for the first.
    pub label: String,
    /// In plain words.
    pub text: String,
    /// Connections that it rests on: a few, for `show`.
    pub connections: Vec<String>,
}

/// A piece of advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// Whether it helps; `false` for what is often said to, and does not.
    pub helps: bool,
    /// In plain words.
    pub text: String,
}

/// What was traced.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    pub(crate) host: String,
    pub(crate) source: String,
    pub(crate) since: String,
    pub(crate) seconds: f64,
    pub(crate) lost: u64,
}

/// A report; where its owners live, [`super::locate`] adds.
pub(crate) fn diagnosis(
    report: &Report,
    thresholds: &KnownThresholds,
    traced: Traced,
    wall: WallOffset,
) -> Diagnosis {
    Diagnosis {
        at: rfc3339(wall, report.at),
        host: traced.host,
        source: traced.source,
        tracing_since: traced.since,
        traced_seconds: traced.seconds,
        lost: traced.lost,
        thresholds: Thresholds {
            older_than_seconds: thresholds.older_than.as_secs_f64(),
            at_least: thresholds.at_least,
            share: thresholds.share,
            window_seconds: thresholds.window.as_secs_f64(),
            failures: thresholds.failures,
        },
        findings: report.findings.iter().map(|found| finding(found, wall)).collect(),
        calm: report.calm.clone(),
        notes: report.notes.clone(),
        unseen: report.unseen.clone(),
    }
}

fn finding(known: &Known, wall: WallOffset) -> Finding {
    Finding {
        kind: known.kind.name().to_owned(),
        title: known.kind.title().to_owned(),
        severity: known.severity.name().to_owned(),
        process: known.who.map(|who| owner::owner(who.0)),
        service: known.service.clone(),
        cause: known.cause.map(str::to_owned),
        says: known.says.clone(),
        count: known.count,
        counts: known.counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        since: known.since.map(|since| rfc3339(wall, since)),
        since_or_earlier: known.since_or_earlier,
        growth: known.growth.map(|growth| Growth {
            per_second: growth.per_second,
            over_seconds: growth.over.as_secs_f64(),
        }),
        grown: known.grown.map(|grown| Grown {
            per_second: grown.growth.per_second,
            over_seconds: grown.growth.over.as_secs_f64(),
            until: rfc3339(wall, grown.until),
        }),
        exhaustion: known.exhaustion.map(|exhaustion| Exhaustion {
            of: exhaustion.of.to_owned(),
            used: exhaustion.used,
            limit: exhaustion.limit,
            seconds_left: exhaustion.left.map(|left| left.as_secs_f64()),
        }),
        evidence: known.evidence.iter().map(line).collect(),
        advice: known.advice.iter().map(advice).collect(),
        see: known.see.clone(),
        confidence: known.confidence.name().to_owned(),
        unseen: known.unseen.clone(),
    }
}

fn line(known: &KnownLine) -> Line {
    Line {
        label: known.label.to_owned(),
        text: known.text.clone(),
        connections: known.connections.iter().map(ToString::to_string).collect(),
    }
}

fn advice(known: &KnownAdvice) -> Advice {
    match known {
        KnownAdvice::Do(text) => Advice { helps: true, text: text.clone() },
        KnownAdvice::Not(text) => Advice { helps: false, text: text.clone() },
    }
}
