//! Metrics about the comparison with the host: its sockets, and what it counts itself.

use prometheus::proto::MetricType;

use super::Metric;
use crate::core::coverage::Mib;

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_coverage_ratio",
        kind: MetricType::GAUGE,
        labels: &["counter"],
        help: "Own count over the kernel's own (/proc/net/snmp, /proc/net/netstat), both since \
               tracing began, over all traced network namespaces: 1 where they agree or nothing \
               has happened. Far below 1, events are not seen: look at \
               tcp_trace_probe_misses_total. active_opens and attempt_fails may exceed 1, as the \
               kernel leaves out what the process itself gave up; retransmits may stay below, as \
               it counts the segments of a large packet one by one. Absent where it cannot be \
               told. Read with every reconciliation, and after a scrape that finds it older than 5 \
               seconds.",
        fill: |scrape, samples| {
            for (counter, ratio) in scrape.figures.world.coverage.ratios() {
                samples.value(&[counter], ratio);
            }
        },
    },
    Metric {
        name: "tcp_trace_kernel_counts_total",
        kind: MetricType::COUNTER,
        labels: &["group", "name"],
        help: "What the kernel itself has counted since tracing began, summed over all traced \
               network namespaces, by its names in /proc/net/snmp and /proc/net/netstat.",
        fill: |scrape, samples| {
            let kernels = scrape.figures.world.coverage.kernels();
            for mib in Mib::ALL.into_iter().filter(|mib| mib.is_count()) {
                let (group, name) = mib.place();
                if let Some(count) = kernels.get(mib) {
                    samples.count(&[group, name], count);
                }
            }
        },
    },
    Metric {
        name: "tcp_trace_snapshots_total",
        kind: MetricType::COUNTER,
        labels: &["result"],
        help: "Lists of all TCP sockets of a network namespace that the table was compared with. \
               whole: all of them; cut: sockets may be missing from it, so none was taken to be \
               gone; failed: there was none, and the log says why.",
        fill: |scrape, samples| {
            let world = &scrape.figures.world;
            samples.count(&["whole"], world.whole);
            samples.count(&["cut"], world.cut);
            samples.count(&["failed"], world.failed);
        },
    },
    Metric {
        name: "tcp_trace_namespaces",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Network namespaces that are traced and could be looked into, the last time.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.world.namespaces),
    },
    Metric {
        name: "tcp_trace_namespaces_gone_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Traced network namespaces that went away, and their sockets with them.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.world.gone),
    },
];
