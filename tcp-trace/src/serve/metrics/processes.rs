//! Metrics by the name of the owning process.
//!
//! Names are chosen by the processes themselves, so their number is capped by the tracer and what
//! lies beyond is folded into [`OTHER`]. One rule keeps every series unique: figures that come
//! under one label value are added up. It holds for two names that become the same text once what
//! is no UTF-8 is replaced, for a process that calls itself `other`, and for one that has emptied
//! its name (to Prometheus, an empty value is no label at all).

use std::{collections::BTreeMap, time::Duration};

use prometheus::proto::MetricType;

use super::{Metric, Samples, Scrape};
use crate::{
    core::tcp_state::TcpState,
    engine::figures::{Figures, ProcessFigures},
};

/// Value of `process` for all names beyond the limit.
pub(super) const OTHER: &str = "other";

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_process_connections",
        kind: MetricType::GAUGE,
        labels: &["process", "state"],
        help: "Connections whose owner is known, by the owner's name and state: which process \
               holds the sockets in CLOSE_WAIT. The names with the most connections stand for \
               themselves, the rest together as process=\"other\".",
        fill: connections,
    },
    Metric {
        name: "tcp_trace_close_wait_oldest_seconds",
        kind: MetricType::GAUGE,
        labels: &["process"],
        help: "Age of the process's oldest connection in CLOSE_WAIT, 0 where it has none. Hours \
               mean that a close() is missing: nothing but the process, or its end, removes such \
               a socket. Of one that was there before tracing, for how long at least: as long as \
               its peer has been silent.",
        fill: oldest_close_wait,
    },
    Metric {
        name: "tcp_trace_process_names_folded",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Process names that are together in process=\"other\" now; above 0, raise the limit \
               if you miss one of them.",
        fill: folded,
    },
];

/// The figures under each label value: [`OTHER`] always, since a series that comes and goes breaks
/// alerts.
fn by_label(figures: &Figures) -> BTreeMap<&str, ProcessFigures> {
    let mut sums = BTreeMap::from([(OTHER, figures.other_processes.clone())]);
    for process in &figures.processes {
        let label = if process.name.is_empty() { OTHER } else { &process.name };
        let sum = sums.entry(label).or_default();
        for (sum, count) in sum.by_state.iter_mut().zip(process.by_state) {
            *sum = sum.saturating_add(count);
        }
        sum.oldest_close_wait = sum.oldest_close_wait.max(process.oldest_close_wait);
    }
    sums
}

fn connections(scrape: &Scrape<'_>, samples: &mut Samples) {
    for (label, process) in by_label(scrape.figures) {
        for state in TcpState::ALL {
            samples.count(&[label, state.name()], process.in_state(state));
        }
    }
}

fn oldest_close_wait(scrape: &Scrape<'_>, samples: &mut Samples) {
    for (label, process) in by_label(scrape.figures) {
        let age = process.oldest_close_wait.unwrap_or(Duration::ZERO);
        samples.value(&[label], age.as_secs_f64());
    }
}

fn folded(scrape: &Scrape<'_>, samples: &mut Samples) {
    samples.count(&[], scrape.figures.folded_processes);
}
