//! Metrics about what state changes do not tell: mini-sockets, half-open requests, segments,
//! corrections.

use prometheus::proto::MetricType;

use super::{Metric, Samples, Scrape};
use crate::core::{event::TimeWaitEnd, statistics::SegmentCounts};

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_time_wait_started_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Connections that a mini-socket took over, in TIME_WAIT or in FIN_WAIT2 before it: \
               those that this host closed first. Exact where the kernel's mini-sockets are \
               hooked, else inferred.",
        fill: |scrape, samples| samples.count(&[], started(scrape)),
    },
    Metric {
        name: "tcp_trace_time_wait_ended_total",
        kind: MetricType::COUNTER,
        labels: &["reason"],
        help: "Ends of mini-sockets. expired: their time ran out; reused: a new connection between \
               the same ends took the place; killed: from outside, or with the network namespace; \
               reset: a RST came, or data nobody can read; unknown: the end was not seen.",
        fill: ended,
    },
    Metric {
        name: "tcp_trace_time_wait_overflow_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Connections that went without TIME_WAIT because no mini-socket could be had: raise \
               sysctl net.ipv4.tcp_max_tw_buckets. Stays 0 where mini-sockets are not hooked.",
        fill: |scrape, samples| {
            let told = scrape.figures.statistics.time_wait_refused;
            let figures = &scrape.figures;
            let refused = if figures.sources.time_wait { figures.time_wait.refused } else { told };
            samples.count(&[], refused);
        },
    },
    Metric {
        name: "tcp_trace_events_unmatched_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Events beside the state changes (mini-sockets, RSTs, retransmits) about sockets that \
               the table does not hold: they were there before tracing, or had just been forgotten. \
               Counted in the kernel's own figures all the same.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.statistics.of_strangers),
    },
    Metric {
        name: "tcp_trace_owner_lookups_refused_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Owners whose executable, cgroup, unit and container were not looked up because too \
               many waited already.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.unplaced),
    },
    Metric {
        name: "tcp_trace_half_open",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Handshakes that are half done: the peer's SYN has come, its last ACK has not. Many \
               that never end are a SYN flood, or answers that do not reach the peer.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.half_open.open),
    },
    Metric {
        name: "tcp_trace_half_open_expired_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Half-open handshakes that were never completed.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.half_open.expired),
    },
    Metric {
        name: "tcp_trace_segments_placed_total",
        kind: MetricType::COUNTER,
        labels: &["place"],
        help: "Segments of handshakes and teardowns, by where they went. connection: into its \
               timeline; ended: into that of a connection that had just ended; nobody: no socket \
               of this host was meant, or none answered; no_room: too many waited for their \
               connection, as in a SYN flood.",
        fill: |scrape, samples| {
            let SegmentCounts { joined, after_end, strangers, refused, .. } =
                scrape.figures.statistics.segments;
            samples.count(&["connection"], joined);
            samples.count(&["ended"], after_end);
            samples.count(&["nobody"], strangers);
            samples.count(&["no_room"], refused);
        },
    },
    Metric {
        name: "tcp_trace_segments_pending",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Segments that wait for their connection to be known.",
        fill: |scrape, samples| {
            samples.count(&[], scrape.figures.statistics.segments.pending);
        },
    },
    Metric {
        name: "tcp_trace_synack_retransmits_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "SYN-ACKs sent again because no ACK had come.",
        fill: |scrape, samples| {
            samples.count(&[], scrape.figures.statistics.synack_retransmits);
        },
    },
    Metric {
        name: "tcp_trace_resets_total",
        kind: MetricType::COUNTER,
        labels: &["direction"],
        help: "RSTs: sent by this host for a socket of its own, and received ones that ended a \
               connection.",
        fill: |scrape, samples| {
            samples.count(&["sent"], scrape.figures.statistics.resets_sent);
            samples.count(&["received"], scrape.figures.statistics.resets_received);
        },
    },
    Metric {
        name: "tcp_trace_segments_retransmitted_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Segments sent again while a SYN or a FIN was in flight.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.statistics.retransmits),
    },
    Metric {
        name: "tcp_trace_reconciled_total",
        kind: MetricType::COUNTER,
        labels: &["kind"],
        help: "What snapshots of all sockets have put right. state: a connection stood elsewhere; \
               found: a socket was not known; gone: a connection was no longer there. Above 0 only \
               after events were lost.",
        fill: |scrape, samples| {
            let reconciled = scrape.figures.statistics.reconciled;
            samples.count(&["state"], reconciled.state);
            samples.count(&["found"], reconciled.found);
            samples.count(&["gone"], reconciled.gone);
        },
    },
];

fn started(scrape: &Scrape<'_>) -> u64 {
    let figures = &scrape.figures;
    if figures.sources.time_wait {
        figures.time_wait.born()
    } else {
        figures.statistics.time_wait_started
    }
}

fn ended(scrape: &Scrape<'_>, samples: &mut Samples) {
    let figures = &scrape.figures;
    let told = figures.statistics.time_wait_ended;
    for (way, told) in TimeWaitEnd::ALL.into_iter().zip(told) {
        let count = if figures.sources.time_wait { figures.time_wait.ended(way) } else { told };
        samples.count(&[way.name()], count);
    }
    // The kernel's own count knows every end.
    let unseen = told.last().copied().filter(|_| !figures.sources.time_wait);
    samples.count(&["unknown"], unseen.unwrap_or(0));
}
