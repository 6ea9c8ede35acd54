//! What the very first scrape says: a series that appears only with its first event cannot be
//! rated, and an alert on it stays silent.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::broadcast;

use super::*;
use crate::{
    core::{
        clock::{Ts, WallOffset},
        table::Limits,
    },
    engine::{
        figures::World,
        tracer::{Identity, KernelFigures, Tracer},
    },
};

/// Metrics that have no sample before something is known, and why.
const LATER: [(&str, &str); 2] = [
    ("tcp_trace_coverage_ratio", "there is nothing to compare before the kernel's counts are read"),
    ("tcp_trace_kernel_counts_total", "as above; 0 would be a lie where they cannot be read"),
];

#[test]
fn every_metric_is_there_before_anything_has_happened() {
    let seen = fake::figures();
    let identity = Identity { process_limit: 50, hooks: seen.hooks, ..Identity::default() };
    let inbox = (broadcast::channel(1).0, Arc::default());
    let wall = WallOffset { epoch_ns: 0 };
    let tracer = Tracer::new(identity, Limits::default(), inbox, Ts(0), wall);
    // Programs are attached before anything is served.
    let kernel = KernelFigures { programs: seen.programs, ..KernelFigures::default() };
    let first = text(&tracer.figures_of(World::default(), Ts(1), &kernel));
    let later = BTreeMap::from(LATER);
    for metric in table() {
        let (plain, labelled) = (format!("{} ", metric.name), format!("{}{{", metric.name));
        let counted = format!("{}_count", metric.name);
        let has_sample = samples(&first).iter().any(|sample| {
            [&plain, &labelled, &counted].iter().any(|start| sample.starts_with(start.as_str()))
        });
        let expected = !later.contains_key(metric.name);
        assert_eq!(has_sample, expected, "{}", metric.name);
    }
    lint(&first);
}
