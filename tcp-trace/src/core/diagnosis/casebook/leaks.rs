//! What the metrics say of leaks, counted up at each look.

use std::collections::BTreeMap;

use super::Casebook;
use crate::core::{
    diagnosis::{
        close_wait::{self, Cause},
        ports,
        survey::Survey,
    },
    event::Comm,
    table::Table,
};

/// Process names whose leaks are counted apart.
const NAMES: usize = 256;

/// What metrics say of leaks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaks {
    /// Sockets in `CLOSE_WAIT` that are leaked now, by process name and cause.
    pub leaked: BTreeMap<(Comm, &'static str), u64>,
    /// Those that came to be, likewise.
    pub total: BTreeMap<(Comm, &'static str), u64>,
    /// Until descriptors run out, by process name; infinite where none is in sight.
    pub exhaustion: BTreeMap<Comm, f64>,
    /// The share of the ports in use, of the destinations with the largest, as text.
    pub ports: Vec<(String, f64)>,
    /// Destinations beyond those.
    pub ports_folded: u64,
    /// Process names beyond those that are counted apart.
    pub names_folded: u64,
    /// Groups and routes that were folded into others at the last look.
    pub folded: u64,
    /// Findings at the last look, by kind.
    pub findings: BTreeMap<&'static str, u64>,
}

impl Casebook {
    /// What the metrics are to say, by the thresholds that always hold.
    pub(super) fn tally(&mut self, table: &Table, survey: &Survey) {
        let report = self.report(table, survey, &self.thresholds);
        let before = std::mem::take(&mut self.leaks);
        let mut leaks = Leaks { total: before.total, folded: survey.folded, ..Leaks::default() };
        for finding in &report.findings {
            *leaks.findings.entry(finding.kind.name()).or_default() += 1;
        }
        for leak in close_wait::leaks(self, survey, &self.thresholds) {
            let name = leak.owner.map_or(Comm::from_text("unknown"), |owner| owner.comm);
            for (cause, pile) in Cause::ALL.into_iter().zip(&leak.group.piles) {
                *leaks.leaked.entry((name, cause.name())).or_default() += pile.count;
            }
            let left = leak.exhaustion.and_then(|exhaustion| exhaustion.left);
            let left = left.map_or(f64::INFINITY, |left| left.as_secs_f64());
            let known = leaks.exhaustion.entry(name).or_insert(f64::INFINITY);
            *known = known.min(left);
        }
        for (key, now) in &leaks.leaked {
            let known = before.leaked.get(key).copied().unwrap_or(0);
            if leaks.total.len() < NAMES * Cause::ALL.len() || leaks.total.contains_key(key) {
                *leaks.total.entry(*key).or_default() += now.saturating_sub(known);
            } else {
                leaks.names_folded += 1;
            }
        }
        (leaks.ports, leaks.ports_folded) = ports::shares(self, survey);
        self.leaks = leaks;
    }
}
