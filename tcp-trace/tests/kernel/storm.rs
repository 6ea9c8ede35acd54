//! Many connections of every kind at once, in two namespaces, judged to the last by what the kernel
//! says: its table, its counters, and who made what.
//!
//! `TCP_TRACE_STORM` is how many (10,000), `TCP_TRACE_SEED` which.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use tcp_trace::api::{Reconciled, Status};

use crate::{daemon::Daemon, owners::Attached, programs::held_by};

#[path = "storm/batches.rs"]
mod batches;
#[path = "storm/figures.rs"]
mod figures;
#[path = "storm/owned.rs"]
mod owned;
#[path = "storm/random.rs"]
pub(crate) mod random;
#[path = "storm/site.rs"]
mod site;
#[path = "storm/table.rs"]
mod table;
#[path = "storm/veth.rs"]
pub(crate) mod veth;
#[path = "storm/weather.rs"]
mod weather;
#[path = "storm/worker.rs"]
mod worker;

use self::{
    figures::Figures,
    table::RECONCILED,
    weather::{Storm, size},
    worker::Kind,
};

/// Room for every connection of a storm, and for its records while nobody reads.
const ROOM: [&str; 2] = ["--max-closed=1000000", "--buffer-size=8388608"];

/// What is hooked is known once its record is read; a guest without acceleration takes its time.
const AT_ONCE: Duration = Duration::from_secs(25);

#[test]
#[ignore = "needs root"]
fn a_storm_is_told_to_the_last_connection() {
    let (left, right) = Storm::ground();
    let daemon = Daemon::start(&[&left, &right], &ROOM);
    let before = Figures::now(&daemon, &[&left, &right]);
    let mut storm = Storm::new(left, right);
    let start = Instant::now();
    storm.blow(size());
    println!("{} connections in {:?}", storm.connects(), start.elapsed());

    // Where everything is hooked, there is nothing left to be found by looking.
    let hooked = Attached::of(&daemon).all;
    let patience = if hooked { AT_ONCE } else { RECONCILED };
    // A request whose last ACK found no room in the accept queue is silent, and is taken for given
    // up until a snapshot shows it.
    table::judge(&daemon, &storm.netns(), RECONCILED);
    owned::judge(&daemon, &storm, patience);
    figures::judge(&daemon, &storm.netns(), &before, storm.of_kind(Kind::GivenUp));
    let status: Status = serde_json::from_str(&daemon.get("/api/v1/status")).unwrap();
    let Reconciled { state, found, gone } = status.reconciled;
    // Nothing is put right but what the kernel says it has kept from us.
    let missed: u64 = daemon.metrics().nonzero("tcp_trace_probe_misses_total").values().sum();
    let excuses = table::excuses(&daemon);
    let corrected = state + found + gone;
    assert!(!hooked || corrected <= missed, "{:?} corrected; {excuses}", status.reconciled);
}

/// Between the two namespaces and within each: a softirq interrupts programs of every kind, and what
/// it reports finds somebody at the batch.
#[test]
#[ignore = "needs root"]
fn each_record_of_a_storm_comes_once_whoever_interrupts_whom() {
    for mode in ["--mode=full", "--mode=folded"] {
        let (left, right) = Storm::ground();
        let daemon = Daemon::start(&[&left, &right], &[ROOM[0], ROOM[1], mode]);
        let mut storm = Storm::new(left, right);
        // Drains fall into every part of it.
        for _ in 0..4 {
            storm.blow(heavy() / 2);
        }
        println!("{mode}: {} connections", storm.connects());
        batches::judge(&daemon, mode == "--mode=folded");
    }
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_is_killed_at_full_load_leaves_its_place_to_the_next() {
    let (left, right) = Storm::ground();
    let mut daemon = Daemon::start(&[&left, &right], &ROOM);
    let mut storm = Storm::new(left, right);
    let begun = storm.connects();
    let half = heavy() / 2;
    std::thread::scope(|scope| {
        let (workers, left, right) = (&mut storm.workers, &storm.left, &storm.right);
        let running: Vec<_> =
            workers.iter_mut().map(|worker| scope.spawn(|| worker.make(half / 4))).collect();
        until_opened(&daemon, u64::try_from(half).unwrap() / 10);
        let held = held_by(daemon.pid());
        held.judge_attached();
        daemon.signal(Signal::KILL);
        daemon.wait();
        held.until_gone();
        daemon.restart_with(&[left, right], &ROOM);
        for worker in running {
            worker.join().unwrap();
        }
    });

    // It began anew, and with what was there.
    assert!(opened(&daemon) < storm.connects() - begun, "counters begin anew");
    table::judge(&daemon, &storm.netns(), RECONCILED);
    let (before, given_up) = (Figures::now(&daemon, &storm.netns()), storm.of_kind(Kind::GivenUp));
    storm.blow(half);
    let given_up = storm.of_kind(Kind::GivenUp) - given_up;
    figures::judge(&daemon, &storm.netns(), &before, given_up);
    table::judge(&daemon, &storm.netns(), RECONCILED);
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_is_stopped_at_full_load_counts_on_and_finds_its_way_back() {
    const STOPPED: Duration = Duration::from_secs(10);
    let (left, right) = Storm::ground();
    let daemon = Daemon::start(&[&left, &right], &["--buffer-size=65536"]);
    let before = Figures::now(&daemon, &[&left, &right]);
    let mut storm = Storm::new(left, right);
    storm.blow(heavy() / 10);
    daemon.signal(Signal::STOP);
    let start = Instant::now();
    // A part at a time, so that the load goes on for as long as nobody reads.
    for _ in 0..8 {
        storm.blow(heavy() / 10);
    }
    sleep(STOPPED.saturating_sub(start.elapsed()));
    daemon.signal(Signal::CONT);
    storm.blow(heavy() / 10);

    figures::judge(&daemon, &storm.netns(), &before, storm.of_kind(Kind::GivenUp));
    table::judge(&daemon, &storm.netns(), RECONCILED);
    let lost = daemon.metrics().count("tcp_trace_events_lost_total{stage=\"output_enospc\"}");
    assert!(lost > 0, "the buffers were too large for this storm");
}

/// Connections of the storms that are about the daemon and not about each connection.
fn heavy() -> usize {
    size().min(4_000)
}

fn opened(daemon: &Daemon) -> u64 {
    daemon.metrics().count("tcp_trace_connections_opened_total{direction=\"outbound\"}")
}

fn until_opened(daemon: &Daemon, count: u64) {
    crate::deadline::until(
        || format!("{} of {count} are opened", opened(daemon)),
        || (opened(daemon) >= count).then_some(()),
    );
}
