//! Metrics about what is wrong: the findings in figures, for alerts.
//!
//! Process names are capped as everywhere (see [`super::processes`]): what is beyond stands under
//! [`OTHER`], which is always there.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::proto::MetricType;

use super::{Metric, Samples, Scrape, processes::OTHER};
use crate::core::{
    diagnosis::{Cause, Kind},
    event::Comm,
};

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_close_wait_leaked",
        kind: MetricType::GAUGE,
        labels: &["process", "cause"],
        help: "Sockets in CLOSE_WAIT that are leaked now: older than the threshold (serve \
               --older-than), and no pool at its plateau. not_closed: nothing is left to read and \
               close() is missing; not_read: data or the end of file wait to be read; \
               not_accepted: they stand in the accept queue; send_blocked: the peer does not take \
               what is written.",
        fill: leaked,
    },
    Metric {
        name: "tcp_trace_close_wait_leaks_total",
        kind: MetricType::COUNTER,
        labels: &["process", "cause"],
        help: "Sockets that came to be leaked in CLOSE_WAIT, by the process names that leaked \
               first; the rest together as process=\"other\".",
        fill: leaks,
    },
    Metric {
        name: "tcp_trace_fd_exhaustion_seconds",
        kind: MetricType::GAUGE,
        labels: &["process"],
        help: "Seconds until a process that leaks has used all file descriptors it may have, at \
               the present growth; +Inf where none is in sight.",
        fill: exhaustion,
    },
    Metric {
        name: "tcp_trace_time_wait_port_usage_ratio",
        kind: MetricType::GAUGE,
        labels: &["destination"],
        help: "Share of the local ports to a destination that connect() cannot choose now, of the \
               destinations with the largest, and as other the largest of the rest; at 1 it fails with \
               EADDRNOTAVAIL. Ports in TIME_WAIT count unless tcp_tw_reuse lets them be used again.",
        fill: ports,
    },
    Metric {
        name: "tcp_trace_time_wait_port_destinations_folded",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Destinations with a smaller share of their local ports in use than those shown.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.leaks.ports_folded),
    },
    Metric {
        name: "tcp_trace_diagnosis_findings",
        kind: MetricType::GAUGE,
        labels: &["kind"],
        help: "What tcp-trace diagnose would say now, by kind of finding.",
        fill: findings,
    },
    Metric {
        name: "tcp_trace_diagnosis_folded",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "What the diagnosis does not keep apart: connections of services and destinations \
               beyond its bounds, and process names beyond those whose leaks are counted apart.",
        fill: |scrape, samples| {
            let leaks = &scrape.figures.leaks;
            samples.count(&[], leaks.folded.saturating_add(leaks.names_folded));
        },
    },
];

/// The label of a name: itself where it stands for itself, else [`OTHER`].
fn label(name: Comm, kept: &BTreeSet<&str>) -> String {
    let text = name.text();
    if kept.contains(&*text) { text.into_owned() } else { OTHER.to_owned() }
}

/// The names that stand for themselves, [`OTHER`] among them.
fn kept<'a>(scrape: &'a Scrape<'_>) -> BTreeSet<&'a str> {
    let names = scrape.figures.processes.iter().map(|process| process.name.as_str());
    names.filter(|name| !name.is_empty()).chain([OTHER]).collect()
}

fn leaked(scrape: &Scrape<'_>, samples: &mut Samples) {
    let kept = kept(scrape);
    let mut sums = BTreeMap::new();
    for name in &kept {
        sums.extend(Cause::ALL.map(|cause| (((*name).to_owned(), cause.name()), 0)));
    }
    for ((name, cause), count) in &scrape.figures.leaks.leaked {
        *sums.entry((label(*name, &kept), *cause)).or_default() += count;
    }
    for ((name, cause), count) in sums {
        samples.count(&[&name, cause], count);
    }
}

/// A counter must not move from one series to another: whoever has leaked keeps a series, which the
/// diagnosis bounds.
fn leaks(scrape: &Scrape<'_>, samples: &mut Samples) {
    let mut sums = BTreeMap::new();
    let total = &scrape.figures.leaks.total;
    let names: BTreeSet<_> = total.keys().map(|(name, _)| counted(*name)).collect();
    for name in names.into_iter().chain([OTHER.to_owned()]) {
        sums.extend(Cause::ALL.map(|cause| ((name.clone(), cause.name()), 0)));
    }
    for ((name, cause), count) in total {
        *sums.entry((counted(*name), *cause)).or_default() += count;
    }
    for ((name, cause), count) in sums {
        samples.count(&[&name, cause], count);
    }
}

/// An empty value is no label at all.
fn counted(name: Comm) -> String {
    let text = name.text();
    if text.is_empty() { OTHER.to_owned() } else { text.into_owned() }
}

fn exhaustion(scrape: &Scrape<'_>, samples: &mut Samples) {
    let kept = kept(scrape);
    let mut least: BTreeMap<_, _> =
        kept.iter().map(|name| ((*name).to_owned(), f64::INFINITY)).collect();
    for (name, left) in &scrape.figures.leaks.exhaustion {
        let known = least.entry(label(*name, &kept)).or_insert(f64::INFINITY);
        *known = known.min(*left);
    }
    for (name, left) in least {
        samples.value(&[&name], left);
    }
}

fn ports(scrape: &Scrape<'_>, samples: &mut Samples) {
    for (destination, share) in &scrape.figures.leaks.ports {
        samples.value(&[destination], *share);
    }
    samples.value(&[OTHER], scrape.figures.leaks.ports_largest_folded);
}

fn findings(scrape: &Scrape<'_>, samples: &mut Samples) {
    for kind in Kind::ALL {
        let count = scrape.figures.leaks.findings.get(kind.name()).copied().unwrap_or(0);
        samples.count(&[kind.name()], count);
    }
}
