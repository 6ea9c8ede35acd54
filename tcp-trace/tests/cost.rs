//! What an event costs, in allocations: counted, so that it is the same on every machine.

use allocation_counter::measure;
use tcp_trace::engine::bench::{Bench, Mix};

/// Events of a count.
const EVENTS: u64 = 100_000;

/// Connections opened in a second, and as many accepted: so few that those warming up also see
/// mini-sockets end that are only inferred, a minute after they came.
const RATE: u64 = 500;

/// Allocations for each event once everything is as large as it gets: connections come and go, and
/// the closed ones that are kept are all there.
fn allocations_per_event(mix: Mix) -> f64 {
    // Of a folded life there is one record: as many records come as otherwise.
    let rate = if mix == Mix::Folded { 10 * RATE } else { RATE };
    let mut bench = Bench::new(mix, 1_000, rate);
    bench.populate(1_000);
    let mut warm = 0;
    while warm < 4 * EVENTS {
        warm += bench.prepare(EVENTS);
        bench.take();
    }
    let events = bench.prepare(EVENTS);
    let counted = measure(|| bench.take());
    #[expect(clippy::cast_precision_loss, reason = "both are small")]
    let each = counted.count_total as f64 / events as f64;
    println!("{mix:?}: {each:.4} allocations for each of {events} events");
    each
}

#[test]
fn state_changes_allocate_nothing() {
    assert!(allocations_per_event(Mix::States) < 0.02);
}

#[test]
fn calls_and_time_wait_allocate_nothing() {
    assert!(allocations_per_event(Mix::Calls) < 0.02);
}

/// Those that wait lie in places that are used again, and their steps are never put in a row.
#[test]
fn folded_connections_allocate_nothing() {
    assert!(allocations_per_event(Mix::Folded) < 0.02);
}

/// The segments of a connection have a place of their own, which is made with the first of them; those
/// of a handshake lie in it.
#[test]
fn segments_allocate_once_a_connection() {
    assert!(allocations_per_event(Mix::All) < 0.25);
}
