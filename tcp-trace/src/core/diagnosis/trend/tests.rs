//! Counts that grow, rest, grow again, breathe and flicker.

use proptest::prelude::*;

use super::*;

fn history(every: Duration, values: impl IntoIterator<Item = u64>) -> History {
    let mut history = History::default();
    let mut at = Ts(1_000_000_000);
    for value in values {
        history.push(at, value);
        at = at.after(every);
    }
    history
}

const STEP: Duration = Duration::from_secs(5);

#[test]
fn a_plateau_does_not_grow_whatever_its_ripple() {
    for values in [vec![8; 50], (0..50).map(|n| 8 + n % 3).collect(), vec![0; 50]] {
        assert_eq!(history(STEP, values.clone()).growth(), None, "{values:?}");
    }
    let warm_up = (0..200).map(|n: u64| n.min(20));
    assert_eq!(history(STEP, warm_up).recent(), None);
    let decline = (0..50).map(|n| 100 - n);
    assert_eq!(history(STEP, decline).growth(), None);
}

#[test]
fn too_few_samples_tell_nothing() {
    assert_eq!(history(STEP, [1, 50, 100, 200]).growth(), None);
    assert!(!history(STEP, [1, 50, 100, 200]).tells());
    assert_eq!(History::default().growth(), None);
}

#[test]
fn one_leak_every_ten_minutes_is_seen_within_an_hour() {
    let growth = history(STEP, (0..720).map(|n| n / 120)).growth().unwrap();
    assert!((growth.per_second * 600.0 - 1.0).abs() < 0.1, "{growth:?}");
    assert!(growth.over >= Duration::from_mins(55));
}

/// What is told as time goes on: since when each answer has been the same, and the answer.
fn course(
    every: Duration,
    counts: impl IntoIterator<Item = u64>,
    least: Duration,
) -> Vec<(u64, bool)> {
    let (mut history, mut told) = (History::default(), vec![(0, false)]);
    for (step, count) in counts.into_iter().enumerate() {
        let second = step as u64 * every.as_secs();
        history.push(Ts(1_000_000_000 * (second + 1)), count);
        let grows = history.growth_over(least).is_some();
        if told.last().is_some_and(|(_, before)| *before != grows) {
            told.push((second, grows));
        }
    }
    told
}

/// A leak of so many a second until `stop`, and again from `again` on.
fn interrupted(tenths: u64, stop: u64, again: u64) -> impl Fn(u64) -> u64 {
    move |second| (second.min(stop) + second.saturating_sub(again)) * tenths / 10
}

const SECOND: Duration = Duration::from_secs(1);
/// As long as growth must have lasted where old ones leave, and where none has.
const LEAST: [Duration; 2] = [Duration::from_secs(20), Duration::from_mins(1)];

#[test]
fn growth_that_stops_is_said_to_have_stopped_within_a_minute_and_one_that_returns_is_seen() {
    for (every, tenths, (stop, again)) in [
        (SECOND, 25, (120, 420)),
        (SECOND, 25, (3_600, 4_800)),
        (SECOND, 100, (600, 1_500)),
        (STEP, 25, (3_600, 10_800)),
        (STEP, 10_000, (300, 600)),
    ] {
        for least in LEAST {
            let count = interrupted(tenths, stop, again);
            let seconds = (0..again + 600).step_by(usize::try_from(every.as_secs()).unwrap());
            let told = course(every, seconds.map(&count), least);
            let what = format!("{tenths} tenths, {stop} s, {again} s: {told:?}");
            let [(0, false), (began, true), (stopped, false), (returned, true)] = told[..] else {
                panic!("{what}");
            };
            assert!(began <= least.as_secs() + 5, "{what}");
            assert!((stop..=stop + 45).contains(&stopped), "{what}");
            assert!((again..=again + least.as_secs() + 20).contains(&returned), "{what}");
        }
    }
}

#[test]
fn how_fast_it_grew_is_remembered_and_until_when() {
    let count = interrupted(25, 600, 1_000_000);
    let quiet = history(SECOND, (0..700).map(count));
    let grown = quiet.grown_over(Duration::from_mins(1)).unwrap();
    assert!((grown.growth.per_second / 2.5 - 1.0).abs() < 0.05, "{grown:?}");
    let until = grown.until.since(Ts(1_000_000_000)).as_secs();
    assert!((598..=602).contains(&until), "{grown:?}");
    // A day later, too.
    let day = history(STEP, (0..18_000).map(|n| (5 * n).min(600)));
    assert!(day.growth().is_none() && day.grown_over(Duration::ZERO).is_some());
    // What grew for a moment was no growth, and what grows again is not over.
    assert_eq!(quiet.grown_over(Duration::from_mins(11)), None);
    let again = history(SECOND, (0..700).map(interrupted(25, 300, 500)));
    assert!(again.growth().is_some() && again.grown_over(Duration::ZERO).is_none());
}

#[test]
fn a_slow_leak_that_stops_is_told_when_its_next_is_long_overdue() {
    // One a minute for two hours.
    let told = course(SECOND, (0..14_400).map(|n: u64| n.min(7_200) / 60), LEAST[1]);
    let [_, (_, true), (stopped, false)] = told[..] else { panic!("{told:?}") };
    assert!((7_320..7_200 + 600).contains(&stopped), "{told:?}");
}

#[test]
fn a_change_of_rate_is_told_within_half_a_minute_and_never_as_an_end() {
    for (before, after) in [(10_u64, 1_u64), (1, 10), (100, 60)] {
        let count = |n: u64| n.min(600) * before + n.saturating_sub(600) * after;
        let told = course(SECOND, (0..1_200).map(count), LEAST[1]);
        assert_eq!(told.len(), 2, "{told:?}");
        let growth = history(SECOND, (0..640).map(count)).growth().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let off = (growth.per_second / after as f64 - 1.0).abs();
        assert!(off < 0.05, "{before} to {after}: {growth:?}");
    }
}

#[test]
fn batches_do_not_flap() {
    for (size, every) in [(50, 300), (50, 60), (5, 30), (1, 600)] {
        let told = course(SECOND, (0..40 * every).map(|n| n / every * size), LEAST[1]);
        let last = told.last().copied().unwrap();
        assert!(last.1 && last.0 <= 8 * every, "{size} each {every} s: {told:?}");
    }
}

#[test]
fn what_breathes_does_not_grow() {
    for (middle, depth, period) in [
        (100.0_f64, 50.0_f64, 120.0),
        (100.0, 50.0, 300.0),
        (100.0, 50.0, 480.0),
        (1_000.0, 200.0, 240.0),
    ] {
        for every in [SECOND, STEP] {
            let count = |second: u64| -> u64 {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let turn = second as f64 / period * std::f64::consts::TAU;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                let count = depth.mul_add(turn.sin(), middle) as u64;
                count
            };
            let seconds = (0..3_000).step_by(usize::try_from(every.as_secs()).unwrap());
            let told = course(every, seconds.map(count), LEAST[0]);
            // Its first rise cannot be told from growth.
            let last = told.last().copied().unwrap();
            assert!(!last.1 && last.0 <= 240, "{middle} by {depth} in {period} s: {told:?}");
        }
    }
}

#[test]
fn memory_is_bounded() {
    let history = history(STEP, 0..100_000);
    assert!(history.tiers.iter().all(|tier| tier.len() <= KEPT));
    assert_eq!(history.last().map(|(_, value)| value), Some(99_999));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Arrivals as they please: the gaps among them are no ends.
    #[test]
    fn chance_neither_ends_growth_nor_bends_it(
        per_minute in 2.0f64..600.0,
        draws in proptest::collection::vec(0.0f64..1.0, 4_000),
    ) {
        let rate = per_minute / 60.0;
        let mut arrivals = draws.iter().scan(0.0, |at, draw| {
            *at -= (1.0 - draw).ln() / rate;
            Some(*at)
        });
        let (mut history, mut count, mut next) = (History::default(), 0, arrivals.next());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let (settled, end) = ((60.0 / rate) as u64 + 600, (3_500.0 / rate).min(5_400.0) as u64);
        for second in 0..end {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            while next.is_some_and(|at| at <= second as f64) {
                (count, next) = (count + 1, arrivals.next());
            }
            history.push(Ts(1_000_000_000 * (second + 1)), count);
            if second > settled {
                prop_assert!(history.growth_over(LEAST[1]).is_some(), "{second}: {history:?}");
            }
        }
    }
}

proptest! {
    /// Arrivals that are not evenly spread, and a count that flickers beside them.
    #[test]
    fn growth_is_told_within_5_percent(
        per_minute in 1u32..10_000,
        jitter in proptest::collection::vec(0.0f64..1.0, 720),
        flicker in 0u64..3,
    ) {
        let rate = f64::from(per_minute) / 60.0;
        let mut history = History::default();
        let mut at = Ts(0);
        for odd in &jitter {
            // Each sample is late by as much as a second, and counts what is there by then.
            let taken = at.after(Duration::from_secs_f64(*odd));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let value = (rate * taken.since(Ts(0)).as_secs_f64()) as u64;
            history.push(taken, value + if *odd > 0.9 { flicker } else { 0 });
            at = at.after(STEP);
        }
        let growth = history.growth().unwrap();
        let off = (growth.per_second / rate - 1.0).abs();
        prop_assert!(off < 0.05, "{growth:?}, and it is {rate}: {off}");
    }

    #[test]
    fn any_samples_are_taken(values in proptest::collection::vec(any::<(u64, u64)>(), 0..200)) {
        let mut history = History::default();
        for (at, value) in values {
            history.push(Ts(at), value);
        }
        let _ = (history.growth(), history.recent(), history.since());
    }
}
