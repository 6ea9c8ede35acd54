//! Whether each record of a storm came, and came once: against what the programs counted before they
//! wrote it.

use crate::{daemon::Daemon, deadline::until_good};

/// Of so many changes one may come out of its turn: that of a program which stood still for longer than
/// records wait for each other, because its task was preempted (from 7.0) or its CPU is a guest's.
const LATE: u64 = 1000;

/// Likewise, may one be counted and not told where connections are folded: of one whose end no program
/// was run for, once its socket is used again within the second; or of a place that two take at once.
const UNTOLD: u64 = 1000;

/// State changes that were counted, and those that were told.
fn counted_and_told(daemon: &Daemon) -> (u64, u64) {
    let metrics = daemon.metrics();
    let told = metrics.count("tcp_trace_events_total{kind=\"state\"}");
    (metrics.matrix().values().sum(), told)
}

/// Waits until every change has been told.
#[track_caller]
pub(super) fn judge(daemon: &Daemon, is_folded: bool) {
    let look = || match counted_and_told(daemon) {
        (counted, told) if counted == told && counted > 0 => Ok(()),
        (counted, told) => Err(format!("{counted} changes counted, {told} told")),
    };
    let waits = (std::time::Duration::from_secs(20), std::time::Duration::from_millis(200));
    let waited = until_good(waits.0, waits.1, look);
    let (counted, told) = counted_and_told(daemon);
    println!("{counted} changes counted, {told} told");
    let untold = counted.checked_sub(told).expect("none is told twice");
    assert!(waited.is_ok() || is_folded && untold <= counted / UNTOLD, "{waited:?}");
    let metrics = daemon.metrics();
    assert!(metrics.nonzero("tcp_trace_events_lost_total").is_empty());
    assert_eq!(metrics.count("tcp_trace_perf_record_lost_total"), 0);
    let late = metrics.count("tcp_trace_late_records_total");
    assert!(late <= counted / LATE, "{late} of {counted} came late");
}
