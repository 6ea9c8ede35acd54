//! What the metrics say of leaks, counted up at each look.

use std::collections::{BTreeMap, BTreeSet};

use super::Casebook;
use crate::core::{
    diagnosis::{
        close_wait::{self, Cause},
        finding::Kind,
        ports,
        survey::Survey,
    },
    event::Comm,
    table::Table,
};

/// Process names whose leaks are counted apart, unless told otherwise.
pub(super) const NAMES: usize = 50;
/// The name under which all others' are counted.
const OTHER: &str = "other";

/// What metrics say of leaks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaks {
    /// Sockets in `CLOSE_WAIT` that are leaked now, by process name and cause.
    pub leaked: BTreeMap<(Comm, &'static str), u64>,
    /// Those that came to be, likewise; of names beyond those that are counted apart, as `other`.
    pub total: BTreeMap<(Comm, &'static str), u64>,
    /// Until descriptors run out, by process name; infinite where none is in sight.
    pub exhaustion: BTreeMap<Comm, f64>,
    /// The share of the ports in use, of the destinations with the largest, as text.
    pub ports: Vec<(String, f64)>,
    /// Destinations beyond those.
    pub ports_folded: u64,
    /// The largest share of those beyond.
    pub ports_largest_folded: f64,
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
        }
        let leak = [Kind::CloseWaitLeak, Kind::HeldAfterFork, Kind::ClosedDescriptors];
        for finding in report.findings.iter().filter(|finding| leak.contains(&finding.kind)) {
            let name = finding.who.map_or(Comm::from_text("unknown"), |who| who.comm());
            let left = finding.exhaustion.and_then(|exhaustion| exhaustion.left);
            let left = left.map_or(f64::INFINITY, |left| left.as_secs_f64());
            let known = leaks.exhaustion.entry(name).or_insert(f64::INFINITY);
            *known = known.min(left);
        }
        let other = Comm::from_text(OTHER);
        // Whoever has leaked keeps its series: a counter must not move from one to another.
        let mut apart: BTreeSet<_> = leaks.total.keys().map(|(name, _)| *name).collect();
        apart.remove(&other);
        let mut folded = BTreeSet::new();
        for ((name, cause), now) in &leaks.leaked {
            let known = before.leaked.get(&(*name, *cause)).copied().unwrap_or(0);
            let counted = if apart.contains(name) || apart.len() < self.leak_names {
                apart.insert(*name);
                *name
            } else {
                folded.insert(*name);
                other
            };
            *leaks.total.entry((counted, *cause)).or_default() += now.saturating_sub(known);
        }
        leaks.names_folded = folded.len() as u64;
        let shares = ports::shares(self, survey);
        leaks.ports = shares.shown;
        (leaks.ports_folded, leaks.ports_largest_folded) = (shares.folded, shares.largest_folded);
        self.leaks = leaks;
    }
}
