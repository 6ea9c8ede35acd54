//! Metrics about the server that gives the metrics.

use prometheus::proto::MetricType;

use super::Metric;
use crate::serve::tally::{Dropped, Refused};

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_web_requests_refused_total",
        kind: MetricType::COUNTER,
        labels: &["reason"],
        help: "Requests that were not looked at. unauthenticated: no password or a wrong one; \
               password_queue: too many of one address wait to be checked; rate_limit: more than the \
               web configuration lets in; unproved: the API, where nobody has to prove who they are; \
               foreign_host: the API under another name than this host's; scrape_queue: too many \
               scrapes at once.",
        fill: |scrape, samples| {
            for (why, count) in Refused::ALL.into_iter().zip(scrape.web.refused) {
                samples.count(&[why.name()], count);
            }
        },
    },
    Metric {
        name: "tcp_trace_web_connections_dropped_total",
        kind: MetricType::COUNTER,
        labels: &["reason"],
        help: "Connections to the daemon that were let go. no_place: others needed their place, \
               which takes 128 at a time; tls_handshake: no TLS came of it, for want of a \
               certificate that is good, or it is no TLS at all.",
        fill: |scrape, samples| {
            for (why, count) in Dropped::ALL.into_iter().zip(scrape.web.dropped) {
                samples.count(&[why.name()], count);
            }
        },
    },
    Metric {
        name: "tcp_trace_web_config_reload_successful",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "1 while what is in force is what the web configuration file says, or there is none; \
               0 after it has become wrong: then the last good one stays in force, and the log says \
               what is wrong.",
        fill: |scrape, samples| samples.count(&[], u64::from(!scrape.web.reload_failed)),
    },
    Metric {
        name: "tcp_trace_web_config_reload_success_timestamp_seconds",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "When the web configuration that is in force was read, in seconds since the Unix epoch; \
               0 without a file.",
        fill: |scrape, samples| samples.value(&[], scrape.web.loaded_at),
    },
];
