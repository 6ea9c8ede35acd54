//! How a count has gone, and whether it grows: a bounded history, and a slope that a few odd
//! samples do not bend.

use std::{collections::VecDeque, time::Duration};

use super::finding::Growth;
use crate::core::clock::Ts;

/// Samples kept at each spacing.
const KEPT: usize = 60;
/// Spacings: a minute or more in full, ten by ten seconds, an hour by the minute, fifteen by the
/// quarter.
const SPACINGS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(10), Duration::from_mins(1), Duration::from_mins(15)];
/// Samples without which nothing is said.
const FEWEST: usize = 5;
/// A rise that may be chance.
const CHANCE: f64 = 2.0;
/// The share of a count that may come and go.
const RIPPLE: f64 = 0.05;
/// Of the pairs of samples that differ, the share in which the later is the larger.
const RISING: f64 = 0.8;

/// The history of one count.
#[derive(Clone, Debug, Default)]
pub struct History {
    tiers: [VecDeque<(Ts, u64)>; SPACINGS.len()],
}

impl History {
    /// Adds a sample, which must not be older than the last.
    pub fn push(&mut self, at: Ts, value: u64) {
        for (tier, spacing) in self.tiers.iter_mut().zip(SPACINGS) {
            if tier.back().is_some_and(|(last, _)| *last >= at || at.since(*last) < spacing) {
                continue;
            }
            if tier.len() >= KEPT {
                tier.pop_front();
            }
            tier.push_back((at, value));
        }
    }

    /// The last sample.
    #[must_use]
    pub fn last(&self) -> Option<(Ts, u64)> {
        self.tiers.iter().find_map(|tier| tier.back().copied())
    }

    /// When the first sample that is kept was taken.
    #[must_use]
    pub fn since(&self) -> Option<Ts> {
        self.tiers.iter().filter_map(|tier| tier.front()).map(|(at, _)| *at).min()
    }

    /// The growth over the longest time in which there is one; `None` of a plateau, a decline, or
    /// too few samples to tell.
    #[must_use]
    pub fn growth(&self) -> Option<Growth> {
        self.growth_over(Duration::ZERO)
    }

    /// Likewise, of growth that has gone on for `least`.
    #[must_use]
    pub fn growth_over(&self, least: Duration) -> Option<Growth> {
        let long = |growth: &Growth| growth.over >= least;
        self.tiers.iter().rev().find_map(|tier| growth_of(tier).filter(long))
    }

    /// The growth of late: of what comes and goes within minutes.
    #[must_use]
    pub fn recent(&self) -> Option<Growth> {
        let [recent, ..] = &self.tiers;
        growth_of(recent)
    }

    /// Whether enough samples are there to tell growth from none.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.tiers.iter().any(|tier| tier.len() >= FEWEST)
    }
}

/// Theil and Sen's slope, where the samples rise by more than chance and ripple.
fn growth_of(samples: &VecDeque<(Ts, u64)>) -> Option<Growth> {
    let ((first, _), (last_at, last)) = (*samples.front()?, *samples.back()?);
    let over = last_at.since(first);
    if samples.len() < FEWEST || over.is_zero() {
        return None;
    }
    let (mut rising, mut falling) = (0_usize, 0_usize);
    let mut slopes = Vec::with_capacity(samples.len() * (samples.len() - 1) / 2);
    for (index, (at, value)) in samples.iter().enumerate() {
        for (later, larger) in samples.iter().skip(index + 1) {
            rising += usize::from(larger > value);
            falling += usize::from(larger < value);
            slopes.push((precise(*larger) - precise(*value)) / later.since(*at).as_secs_f64());
        }
    }
    let middle = slopes.len() / 2;
    let (_, per_second, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    let per_second = *per_second;
    let rise = per_second * over.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "at most a few thousand pairs")]
    let share = rising as f64 / (rising + falling).max(1) as f64;
    let grows = rise >= CHANCE.max(RIPPLE * precise(last)) && share >= RISING;
    grows.then_some(Growth { per_second, over })
}

#[expect(clippy::cast_precision_loss, reason = "no host has 2^53 sockets")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_leak_that_has_paused_is_one_still() {
        let values = (0..720).map(|n: u64| n.min(600)).chain(std::iter::repeat_n(600, 100));
        assert!(history(STEP, values).growth().is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let history = history(STEP, 0..100_000);
        assert!(history.tiers.iter().all(|tier| tier.len() <= KEPT));
        assert_eq!(history.last().map(|(_, value)| value), Some(99_999));
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
}
