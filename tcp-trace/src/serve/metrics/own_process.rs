//! The metrics that every Prometheus client gives about its own process.

use prometheus::proto::MetricType;

use super::{Metric, Samples};

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "process_cpu_seconds_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "CPU time the tracer's process has used, in user and kernel mode; the kernel \
               programs' time is in tcp_trace_probe_run_seconds_total.",
        fill: |scrape, samples| known(scrape.process.cpu_seconds, samples),
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Memory the tracer's process occupies.",
        fill: |scrape, samples| known(scrape.process.resident_bytes, samples),
    },
    Metric {
        name: "process_virtual_memory_bytes",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Address space of the tracer's process.",
        fill: |scrape, samples| known(scrape.process.virtual_bytes, samples),
    },
    Metric {
        name: "process_open_fds",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "File descriptors the tracer's process holds.",
        fill: |scrape, samples| known(scrape.process.open_fds, samples),
    },
    Metric {
        name: "process_max_fds",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "File descriptors the tracer's process may hold.",
        fill: |scrape, samples| known(scrape.process.max_fds, samples),
    },
    Metric {
        name: "process_start_time_seconds",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "When the tracer's process started, in seconds since the Unix epoch.",
        fill: |scrape, samples| known(scrape.process.start_time_seconds, samples),
    },
];

/// A figure that cannot be had is left out: 0 would be a lie.
fn known(figure: Option<f64>, samples: &mut Samples) {
    if let Some(figure) = figure {
        samples.value(&[], figure);
    }
}
