//! Whether each record of a storm came, and came once: against what the programs counted before they
//! wrote it.

use crate::{daemon::Daemon, deadline::until_good};

/// Of so many changes one may come out of its turn: that of a program which stood still for longer than
/// records wait for each other, because its task was preempted (from 7.0) or its CPU is a guest's.
const LATE: u64 = 1000;

/// State changes that were counted, and those that were told.
fn counted_and_told(daemon: &Daemon) -> (u64, u64) {
    let metrics = daemon.metrics();
    let told = metrics.count("tcp_trace_events_total{kind=\"state\"}");
    (metrics.matrix().values().sum(), told)
}

/// Waits until every change has been told.
#[track_caller]
pub(super) fn judge(daemon: &Daemon) {
    let look = || match counted_and_told(daemon) {
        (counted, told) if counted == told && counted > 0 => {
            println!("{counted} changes counted and told");
            Ok(())
        }
        (counted, told) => Err(format!("{counted} changes counted, {told} told")),
    };
    let waits = (std::time::Duration::from_secs(20), std::time::Duration::from_millis(200));
    until_good(waits.0, waits.1, look).unwrap();
    let metrics = daemon.metrics();
    assert!(metrics.nonzero("tcp_trace_events_lost_total").is_empty());
    assert_eq!(metrics.count("tcp_trace_perf_record_lost_total"), 0);
    let (late, all) = (metrics.count("tcp_trace_late_records_total"), counted_and_told(daemon).0);
    assert!(late <= all / LATE, "{late} of {all} came late");
}
