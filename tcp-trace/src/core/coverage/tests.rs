//! Readings made by hand.

use super::*;

fn mibs(figures: &[(Mib, u64)]) -> Mibs {
    let mut all = Mibs::default();
    for (mib, value) in figures {
        all.set(*mib, *value);
    }
    all
}

fn passive(value: u64) -> Mibs {
    mibs(&[(Mib::PassiveOpens, value)])
}

fn ours(passive: u64) -> Ours {
    let mut matrix = Matrix::default();
    for _ in 0..passive {
        matrix.raise(S::Listen, S::SynRecv);
    }
    Ours::new(&[], &matrix, Hooked::default())
}

fn ratio(coverage: &Coverage, counter: Counter) -> Option<f64> {
    let found = coverage.ratios().into_iter().find(|(name, _)| *name == counter.name());
    found.map(|(_, ratio)| ratio)
}

#[track_caller]
fn assert_ratio(coverage: &Coverage, expected: f64) {
    let found = ratio(coverage, Counter::PassiveOpens).unwrap();
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

#[test]
fn nothing_is_said_before_a_reading_and_one_where_nothing_has_happened() {
    let mut coverage = Coverage::default();
    assert!(coverage.ratios().is_empty());
    coverage.take(&[(1, passive(50))], false, ours(7));
    assert_ratio(&coverage, 1.0);
}

#[test]
fn both_sides_count_from_the_first_reading() {
    let mut coverage = Coverage::default();
    coverage.take(&[(1, passive(50)), (2, passive(1))], false, ours(7));
    coverage.take(&[(1, passive(54)), (2, passive(1))], false, ours(10));
    assert_ratio(&coverage, 0.75);
    coverage.take(&[(1, passive(54)), (2, passive(5))], false, ours(23));
    assert_ratio(&coverage, 2.0);
}

#[test]
fn a_new_namespace_begins_at_zero_and_a_gone_one_stays_counted() {
    let mut coverage = Coverage::default();
    coverage.take(&[(1, passive(50))], false, ours(0));
    coverage.take(&[(1, passive(50)), (2, passive(6))], false, ours(6));
    assert_ratio(&coverage, 1.0);
    coverage.depart(2);
    coverage.depart(3);
    coverage.take(&[(1, passive(52))], false, ours(8));
    assert_eq!(coverage.kernels().get(Mib::PassiveOpens), Some(8));
    assert_ratio(&coverage, 1.0);
}

#[test]
fn a_number_that_passed_to_another_namespace_is_another_namespace() {
    let mut coverage = Coverage::default();
    coverage.take(&[(2, passive(50))], false, ours(0));
    coverage.take(&[(2, passive(60))], false, ours(10));
    coverage.take(&[(2, passive(3))], false, ours(13));
    assert_eq!(coverage.kernels().get(Mib::PassiveOpens), Some(13));
    assert_ratio(&coverage, 1.0);
}

#[test]
fn a_gauge_may_fall_without_being_another_namespaces() {
    let reading = |open| mibs(&[(Mib::CurrEstab, open), (Mib::PassiveOpens, 5)]);
    let mut coverage = Coverage::default();
    coverage.take(&[(1, reading(9))], false, ours(0));
    coverage.take(&[(1, reading(2))], false, ours(0));
    assert_ratio(&coverage, 1.0);
}

#[test]
fn where_the_kernel_counts_nothing_it_is_still_a_number() {
    let mut coverage = Coverage::default();
    coverage.take(&[(1, passive(0))], false, ours(0));
    coverage.take(&[(1, passive(0))], false, ours(3));
    assert_ratio(&coverage, 4.0);
}

#[test]
fn what_cannot_be_compared_is_not() {
    let mut coverage = Coverage::default();
    coverage.take(&[(1, passive(0))], true, ours(0));
    assert!(coverage.ratios().is_empty(), "the kernel's side is not whole");
    coverage.take(&[(1, passive(0))], false, ours(0));
    assert_eq!(ratio(&coverage, Counter::TimeWait), None, "not hooked");
}

#[test]
fn each_counter_is_made_of_the_right_changes() {
    let mut matrix = Matrix::default();
    for (old, new, times) in [
        (S::Close, S::SynSent, 1),
        (S::Listen, S::SynRecv, 2),
        (S::SynSent, S::Close, 3),
        (S::SynRecv, S::Close, 4),
        (S::Established, S::Close, 5),
        (S::CloseWait, S::Close, 6),
        (S::LastAck, S::Close, 7),
    ] {
        (0..times).for_each(|_| matrix.raise(old, new));
    }
    let mut counters = vec![0; wire::COUNTER_SLOTS];
    for (slot, count) in [
        (wire::COUNTER_CONNECTS, 20),
        (wire::COUNTER_TIME_WAIT_BORN, 30),
        (wire::COUNTER_TIME_WAIT_BORN_FIN_WAIT2, 31),
        (wire::COUNTER_RETRANSMITS, 40),
        (wire::COUNTER_SYNACK_RETRANSMITS, 41),
    ] {
        counters[slot] = count;
    }
    let all = Hooked { connects: true, time_wait: true, retransmits: true, ..Hooked::default() };
    let counts = |hooked| {
        let ours = Ours::new(&counters, &matrix, hooked);
        Counter::ALL.map(|counter| ours.get(counter))
    };
    assert_eq!(counts(all), [20, 2, 7, 11, 81, 61].map(Some));
    let few = [Some(1), Some(2), Some(7), Some(11), None, None];
    assert_eq!(counts(Hooked::default()), few);
}

#[test]
fn a_short_wait_counts_as_a_mini_socket_too() {
    let reading = |long, short| mibs(&[(Mib::TimeWait, long), (Mib::TimeWaitKilled, short)]);
    let ours = |born| {
        let mut counters = vec![0; wire::COUNTER_SLOTS];
        counters[wire::COUNTER_TIME_WAIT_BORN] = born;
        Ours::new(&counters, &Matrix::default(), Hooked { time_wait: true, ..Hooked::default() })
    };
    let mut coverage = Coverage::default();
    coverage.take(&[(1, reading(0, 0))], false, ours(0));
    coverage.take(&[(1, reading(3, 1))], false, ours(4));
    assert_eq!(ratio(&coverage, Counter::TimeWait), Some(1.0));
}

#[test]
fn names_and_places_are_unique() {
    let mut places: Vec<_> = Mib::ALL.iter().map(|mib| mib.place()).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), Mib::ALL.len());
}
