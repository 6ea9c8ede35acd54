//! Whether each record of a storm came, and came once: against what the programs counted before they
//! wrote it.

use crate::{daemon::Daemon, deadline::until_good};

/// What would say that a record came out of its turn or not at all.
const WRONG: [&str; 2] = ["tcp_trace_late_records_total", "tcp_trace_perf_record_lost_total"];

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
    for series in WRONG {
        assert_eq!(metrics.count(series), 0, "{series}");
    }
}
