//! Metrics about the tracing itself: whether the other figures can be trusted.

use std::{env::consts, time::Duration};

use prometheus::proto::MetricType;

use super::{Metric, Samples, Scrape};
use crate::{core::fold::Why, engine::figures::Figures, kernel::programs::ProgramRuns};

/// Metrics of this group.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_trace_build_info",
        kind: MetricType::GAUGE,
        labels: &["version", "target"],
        help: "Always 1; its labels name the running build.",
        fill: build_info,
    },
    Metric {
        name: "tcp_trace_events_total",
        kind: MetricType::COUNTER,
        labels: &["kind"],
        help: "Events that reached the tracer, by kind.",
        fill: |scrape, samples| named(&scrape.figures.events, samples),
    },
    Metric {
        name: "tcp_trace_events_lost_total",
        kind: MetricType::COUNTER,
        labels: &["stage"],
        help: "Events lost, by the place where they died. output_enospc: a perf buffer was full, \
               raise --buffer-size; table_full: no room for another connection; subscriber: one \
               reader of /api/v1/events was too slow, which concerns nobody else. Losses leave \
               gaps in timelines and durations, never in tcp_trace_connections or \
               tcp_trace_state_transitions_total.",
        fill: |scrape, samples| named(&scrape.figures.lost, samples),
    },
    Metric {
        name: "tcp_trace_stacks_total",
        kind: MetricType::COUNTER,
        labels: &["result"],
        help: "User stacks at connect() and accept(), by what has become of them (--stacks). Of \
               those taken in the kernel, each is named, or: process_ended and unreadable have no \
               names, panicked and dropped are lost, no_connection belongs to none that is known. \
               Not taken: left_out by the sample, no_user_stack, busy, failed. forgotten: of more \
               different stacks than are kept.",
        fill: |scrape, samples| {
            for (result, count) in &scrape.figures.stacks {
                samples.count(&[result], *count);
            }
        },
    },
    Metric {
        name: "tcp_trace_mode",
        kind: MetricType::GAUGE,
        labels: &["mode"],
        help: "1 for how connections are told now. full: step by step, as they go on; folded: \
               short ones in one record at their end, which costs the host less (--mode). Either \
               way, all counters and gauges are exact.",
        fill: |scrape, samples| {
            let folding = scrape.figures.folding.folding;
            for (mode, is_on) in [("folded", folding), ("full", !folding)] {
                samples.count(&[mode], u64::from(is_on));
            }
        },
    },
    Metric {
        name: "tcp_trace_folding",
        kind: MetricType::GAUGE,
        labels: &["reason"],
        help: "1 for why short connections are told in one record now; all 0 while every step is told \
               as it happens. chosen: --mode folded; rate: more events a second than --fold-above; \
               behind: a buffer was nearly full; loss: records were lost.",
        fill: |scrape, samples| {
            let standing = &scrape.figures.folding;
            let now = standing.why.filter(|_| standing.folding).map(Why::name);
            for reason in Why::NAMES {
                samples.count(&[reason], u64::from(now == Some(reason)));
            }
        },
    },
    Metric {
        name: "tcp_trace_mode_changes_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "How often telling short connections in one record has begun or ended (--mode).",
        fill: |scrape, samples| samples.count(&[], scrape.figures.folding.switches),
    },
    Metric {
        name: "tcp_trace_folded_connections_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Connections that were told in one record, with all their steps; their timelines \
               say so.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.statistics.folded),
    },
    Metric {
        name: "tcp_trace_folded_seconds_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Time spent telling short connections in one record: by choice, under a storm of \
               them, or after a loss (--mode).",
        fill: |scrape, samples| {
            let spent = Duration::from_nanos(scrape.figures.folding.folded_ns);
            samples.value(&[], spent.as_secs_f64());
        },
    },
    Metric {
        name: "tcp_trace_perf_record_lost_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Lost outputs as the perf buffers report them, each of one record or of a batch: \
               the same losses as stage output_enospc of tcp_trace_events_lost_total, which \
               counts records, told a second time and later, so never add the two.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.perf_record_lost),
    },
    Metric {
        name: "tcp_trace_late_records_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Records that came from their CPU too late to be put in order with the others; they \
               count, but their step may stand in the wrong place of a timeline.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.late_records),
    },
    Metric {
        name: "tcp_trace_longest_pass_seconds",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "The longest that the perf buffers have waited, since the start, because the tracer was \
               busy with what it had: the time from one drain to the wait before the next. What the \
               buffers cannot hold for so long is lost.",
        fill: |scrape, samples| samples.value(&[], scrape.figures.longest_pass.as_secs_f64()),
    },
    Metric {
        name: "tcp_trace_illegal_transitions_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "State changes that Linux does not make: events before them were missed, or the \
               kernel is stranger than tcp-trace knows. With no loss beside it, please report.",
        fill: |scrape, samples| {
            samples.count(&[], scrape.figures.statistics.illegal_transitions);
        },
    },
    Metric {
        name: "tcp_trace_incomplete_timelines_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "Connections whose timeline was found to have steps missing. Gauges are not \
               affected.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.statistics.gaps),
    },
    Metric {
        name: "tcp_trace_table_connections",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Connections and listeners held in memory.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.connections),
    },
    Metric {
        name: "tcp_trace_table_limit",
        kind: MetricType::GAUGE,
        labels: &[],
        help: "Connections and listeners that can be held; beyond it new ones are counted but have \
               no timeline.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.connections_limit),
    },
    Metric {
        name: "tcp_trace_probe_attached",
        kind: MetricType::GAUGE,
        labels: &["program", "hook", "backend"],
        help: "1 where the kernel program is attached to its hook, 0 where it is not: one backend \
               per feature is enough, the others are its fallbacks. tcp-trace doctor tells why one \
               is refused.",
        fill: attached,
    },
    Metric {
        name: "tcp_trace_probe_runs_total",
        kind: MetricType::COUNTER,
        labels: &["program"],
        help: "Runs of the attached kernel program; stays 0 while the kernel keeps no statistics \
               (sysctl kernel.bpf_stats_enabled).",
        fill: |scrape, samples| of_attached(scrape.figures, samples, |program| whole(program.runs)),
    },
    Metric {
        name: "tcp_trace_probe_run_seconds_total",
        kind: MetricType::COUNTER,
        labels: &["program"],
        help: "CPU time spent in the attached kernel program, which is what tracing costs the \
               connections themselves; stays 0 while sysctl kernel.bpf_stats_enabled is 0.",
        fill: |scrape, samples| {
            of_attached(scrape.figures, samples, |p| whole(p.run_time_ns) / 1e9);
        },
    },
    Metric {
        name: "tcp_trace_probe_misses_total",
        kind: MetricType::COUNTER,
        labels: &["program"],
        help: "Times the kernel skipped the attached program because it was running on that CPU \
               already, and no second one took its place. Of a state program each is a change \
               that nothing here has seen.",
        fill: |scrape, samples| {
            of_attached(scrape.figures, samples, |program| whole(program.misses));
        },
    },
    Metric {
        name: "tcp_trace_probe_caught_total",
        kind: MetricType::COUNTER,
        labels: &[],
        help: "State changes for which the kernel skipped the first program, because a softirq had \
               interrupted it, and which the second one took in its place.",
        fill: |scrape, samples| samples.count(&[], scrape.figures.counters.caught()),
    },
];

fn build_info(_: &Scrape<'_>, samples: &mut Samples) {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let target = format!("{}-{}-{libc}", consts::ARCH, consts::OS);
    samples.count(&[env!("CARGO_PKG_VERSION"), &target], 1);
}

/// Counts that come with their one label's value.
fn named(counts: &[(&str, u64)], samples: &mut Samples) {
    for (name, count) in counts {
        samples.count(&[name], *count);
    }
}

fn attached(scrape: &Scrape<'_>, samples: &mut Samples) {
    for hook in &scrape.figures.hooks {
        samples.count(&[&hook.program, &hook.hook, &hook.backend], u64::from(hook.attached));
    }
}

/// One figure of each attached program.
fn of_attached(figures: &Figures, samples: &mut Samples, figure: fn(&ProgramRuns) -> f64) {
    for program in &figures.programs {
        samples.value(&[&program.program], figure(program));
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format knows floating point only")]
fn whole(count: u64) -> f64 {
    count as f64
}
