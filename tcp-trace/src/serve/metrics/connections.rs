//! Metrics about connections: how many, how long, how they began and ended.

use prometheus::proto::MetricType;

use super::{Metric, Samples, Scrape};
use crate::core::{
    close::{CloseReason, ClosedBy},
    direction::Direction,
    errno,
    tcp_state::{TcpState, Transition},
};

/// Value of `closed_by` where neither side closed, or nobody can tell.
const NOBODY: &str = "none";

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_connections",
        kind: MetricType::GAUGE,
        labels: &["state"],
        help: "TCP sockets that stand in each state now, exact even where events were lost; of those \
               open before tracing began, the tracer's own network namespace and those it was \
               named are counted. \
               close_wait that grows and never falls is a leak: the peer has closed, our process \
               has not. fin_wait2 and time_wait count mini-sockets along, new_syn_recv is half-open \
               handshakes; close is no state to count and stays 0.",
        fill: connections,
    },
    Metric {
        name: "tcp_trace_state_transitions_total",
        kind: MetricType::COUNTER,
        labels: &["from", "to"],
        help: "State changes as the kernel counted them, exact even where events were lost. The \
               rate of established to close_wait less that of close_wait to last_ack is how fast \
               unclosed sockets pile up. A child of a listener is born listen to syn_recv.",
        fill: transitions,
    },
    Metric {
        name: "tcp_trace_state_duration_seconds",
        kind: MetricType::HISTOGRAM,
        labels: &["state"],
        help: "How long sockets stood in a state, taken when they leave it: one that is stuck is \
               not in here until it moves, so watch tcp_trace_close_wait_oldest_seconds for those. \
               fin_wait2 and time_wait count a mini-socket only where the moment of its end was \
               seen: where no hook tells of mini-sockets (status says so) time_wait stays empty, \
               and fin_wait2 has those that a FIN or RST on the wire ended.",
        fill: state_durations,
    },
    Metric {
        name: "tcp_trace_connections_opened_total",
        kind: MetricType::COUNTER,
        labels: &["direction"],
        help: "Connections begun: outbound by connect(), whatever came of it; inbound when a \
               listener's child is born, which is at the end of its handshake.",
        fill: opened,
    },
    Metric {
        name: "tcp_trace_connections_closed_total",
        kind: MetricType::COUNTER,
        labels: &["reason", "closed_by"],
        help: "Connections ended, by why and by who closed first (none: neither side did, as in a \
               time-out, or the evidence does not tell). abort_unread_data means that our process \
               closed without reading what it had been sent.",
        fill: closed,
    },
    Metric {
        name: "tcp_trace_handshake_duration_seconds",
        kind: MetricType::HISTOGRAM,
        labels: &["direction"],
        help: "From SYN to ESTABLISHED; outbound, that is one round trip plus the time lost to \
               retransmitted SYNs (1 s and more). Inbound ones begin with the peer's SYN, where that \
               was seen: not with SYN cookies, nor where half-open handshakes are not hooked.",
        fill: handshakes,
    },
    Metric {
        name: "tcp_trace_teardown_duration_seconds",
        kind: MetricType::HISTOGRAM,
        labels: &["closed_by"],
        help: "From the first FIN to CLOSE, by who sent it. Long ones under closed_by=\"remote\" \
               are ours to answer for: the peer had closed and waited for our close().",
        fill: teardowns,
    },
    Metric {
        name: "tcp_trace_connect_errors_total",
        kind: MetricType::COUNTER,
        labels: &["error"],
        help: "Connections that failed before they were established, by the error connect() gives. \
               eaddrnotavail means that no local port is left towards the destination.",
        fill: connect_errors,
    },
];

fn connections(scrape: &Scrape<'_>, samples: &mut Samples) {
    for state in TcpState::ALL {
        let count = scrape.figures.gauges.get(state.index()).copied().unwrap_or(0);
        samples.count(&[state.name()], count);
    }
}

/// Every change that Linux makes, seen or not, and any other that was seen all the same.
fn transitions(scrape: &Scrape<'_>, samples: &mut Samples) {
    for (from, to, count) in scrape.figures.matrix.iter() {
        if count > 0 || from.transition(to) != Transition::Illegal {
            samples.count(&[from.name(), to.name()], count);
        }
    }
}

fn state_durations(scrape: &Scrape<'_>, samples: &mut Samples) {
    for state in TcpState::ALL {
        if let Some(durations) = scrape.figures.statistics.state_durations.get(state.index()) {
            samples.histogram(&[state.name()], durations);
        }
    }
}

fn opened(scrape: &Scrape<'_>, samples: &mut Samples) {
    let matrix = &scrape.figures.matrix;
    for direction in Direction::ALL {
        let count = match direction {
            Direction::Inbound => matrix.get(TcpState::Listen, TcpState::SynRecv),
            Direction::Outbound => matrix.get(TcpState::Close, TcpState::SynSent),
            // A beginning that was counted has a direction.
            Direction::Unknown => 0,
        };
        samples.count(&[direction.name()], count);
    }
}

fn closed(scrape: &Scrape<'_>, samples: &mut Samples) {
    for reason in CloseReason::ALL {
        for by in ClosedBy::ALL.map(Some).into_iter().chain([None]) {
            let count = scrape.figures.statistics.closed_count(reason, by);
            samples.count(&[reason.name(), by.map_or(NOBODY, ClosedBy::name)], count);
        }
    }
}

fn handshakes(scrape: &Scrape<'_>, samples: &mut Samples) {
    let inbound = &scrape.figures.statistics.inbound_handshakes;
    samples.histogram(&[Direction::Inbound.name()], inbound);
    let outbound = &scrape.figures.statistics.outbound_handshakes;
    samples.histogram(&[Direction::Outbound.name()], outbound);
}

fn teardowns(scrape: &Scrape<'_>, samples: &mut Samples) {
    for (by, durations) in ClosedBy::ALL.into_iter().zip(&scrape.figures.statistics.teardowns) {
        samples.histogram(&[by.name()], durations);
    }
}

fn connect_errors(scrape: &Scrape<'_>, samples: &mut Samples) {
    let names = errno::CONNECT_ERRORS.into_iter().map(|(_, name)| name.to_ascii_lowercase());
    let counts = scrape.figures.statistics.connect_errors;
    for (name, count) in names.chain(["other".to_owned()]).zip(counts) {
        samples.count(&[&name], count);
    }
}
