//! Metrics of segments: what the packet programs have counted, which is exact whatever the buffers
//! lose.

use prometheus::proto::MetricType;
use tcp_trace_common::{SEGMENT_FATES, SEGMENT_HOOK_COUNT, SEGMENT_NOT_TCP};

use super::{Metric, Samples, Scrape};
use crate::{core::segment::Witness, kernel::segments::Way};

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_segments_total",
        kind: MetricType::COUNTER,
        labels: &["hook", "direction", "flag"],
        help: "TCP segments that passed the interfaces looked at, each at one hook for its \
               direction; on loopback each goes out and comes in. flag: syn and fin whatever else \
               is set, ack only where it ends a handshake or answers a FIN, other the rest. Behind \
               XDP they are counted as they arrive, at TC as the card or the stack has merged them.",
        fill: |scrape, samples| fates(scrape, samples, Kind::Segment),
    },
    Metric {
        name: "tcp_trace_packets_passed_over_total",
        kind: MetricType::COUNTER,
        labels: &["hook", "reason"],
        help: "Packets on the interfaces looked at that were not: not_tcp is everything else on \
               the wire, fragment a part of a packet without its TCP header, cut one that ends \
               before its headers do.",
        fill: |scrape, samples| fates(scrape, samples, Kind::PassedOver),
    },
    Metric {
        name: "tcp_trace_segments_folded_total",
        kind: MetricType::COUNTER,
        labels: &["hook"],
        help: "Segments that are counted and not shown in timelines, because more came than \
               --segment-rate lets through on a CPU: a flood, or a rate set too low.",
        fill: |scrape, samples| {
            for (number, hook) in Witness::HOOKS.iter().enumerate() {
                samples.count(&[hook.name()], scrape.figures.segment_counters.folded(number));
            }
        },
    },
    Metric {
        name: "tcp_trace_segment_interfaces",
        kind: MetricType::GAUGE,
        labels: &["direction", "by"],
        help: "Interfaces on which segments are looked at, by direction and by what sees them. \
               tcp-trace status names them, and says why.",
        fill: interfaces,
    },
];

/// Which fates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Segment,
    PassedOver,
}

fn fates(scrape: &Scrape<'_>, samples: &mut Samples, kind: Kind) {
    for (number, hook) in Witness::HOOKS.iter().enumerate().take(SEGMENT_HOOK_COUNT) {
        for (fate, name) in SEGMENT_FATES.iter().enumerate() {
            let count = scrape.figures.segment_counters.fate(number, fate);
            match kind {
                Kind::Segment if fate < SEGMENT_NOT_TCP => {
                    samples.count(&[hook.name(), hook.travel().name(), name], count);
                }
                Kind::PassedOver if fate >= SEGMENT_NOT_TCP => {
                    samples.count(&[hook.name(), name], count);
                }
                _ => {}
            }
        }
    }
}

fn interfaces(scrape: &Scrape<'_>, samples: &mut Samples) {
    let rows = &scrape.figures.segments.interfaces;
    for way in Way::ALL {
        let ingress = rows.iter().filter(|row| row.ingress == Some(way)).count();
        samples.count(&["in", way.name()], ingress as u64);
        if !way.is_xdp() {
            let egress = rows.iter().filter(|row| row.egress == Some(way)).count();
            samples.count(&["out", way.name()], egress as u64);
        }
    }
}
