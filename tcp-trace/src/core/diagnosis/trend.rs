//! How a count has gone, and whether it grows: a bounded history, and a slope that a few odd
//! samples do not bend.
//!
//! What is told is the growth of now. A count may grow, rest and grow again: each time its rate has
//! changed for good (see [`change`]) a new phase begins, and the slope is that of this phase alone.
//! Of a growth that has stopped it is remembered how fast it was, and until when.

use std::{collections::VecDeque, time::Duration};

use super::finding::{Grown, Growth};
use crate::core::clock::Ts;

mod change;

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
/// How long a change must have lasted to be one.
const SETTLED: Duration = Duration::from_secs(20);
/// The share of its former rate at which something still grows.
const REST: f64 = 0.1;
/// What comes and goes within so long is the breath of something that lives, and no growth.
const BREATH: Duration = Duration::from_mins(10);
/// How far beyond a breath growth leads: a quarter of it.
const BEYOND: f64 = 0.25;

/// The history of one count.
#[derive(Clone, Debug, Default)]
pub struct History {
    tiers: [VecDeque<(Ts, u64)>; SPACINGS.len()],
    phase: Phase,
    grown: Option<Grown>,
}

/// A time in which the count goes on at one rate.
#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    /// When it began.
    begun: Ts,
    /// Since when it has grown without a rest, where it grew in the phase before.
    growing: Option<Ts>,
    /// Since when that which came before says how the count breathes: not while it grew.
    breathes: Ts,
}

impl History {
    /// Adds a sample, which must not be older than the last.
    pub fn push(&mut self, at: Ts, value: u64) {
        let mut taken = [false; SPACINGS.len()];
        for ((tier, spacing), taken) in self.tiers.iter_mut().zip(SPACINGS).zip(&mut taken) {
            if tier.back().is_some_and(|(last, _)| *last >= at || at.since(*last) < spacing) {
                continue;
            }
            if tier.len() >= KEPT {
                tier.pop_front();
            }
            tier.push_back((at, value));
            *taken = true;
        }
        let tiers = self.tiers.iter().zip(taken).filter(|(_, taken)| *taken);
        let changes = tiers.filter_map(|(tier, _)| change::changed(&from(tier, self.phase.begun)));
        let settled: Vec<_> = changes.filter(|change| at.since(*change) >= SETTLED).collect();
        for change in settled {
            self.turn(change, at);
        }
    }

    /// Begins a new phase where the rate has changed at `change`, if what has come since is clear by
    /// itself: growth, or rest.
    fn turn(&mut self, change: Ts, now: Ts) {
        if change <= self.phase.begun {
            return;
        }
        let before = self.growths(self.phase, change).next();
        let growing = before.map(|before| {
            self.phase.growing.unwrap_or(change.back(before.over).max(self.phase.begun))
        });
        let breathes = if before.is_some() { change } else { self.phase.begun };
        let next = Phase { begun: change, growing, breathes };
        let grows = self.growths(next, Ts(u64::MAX)).next().is_some();
        match before {
            _ if grows => (self.phase, self.grown) = (next, None),
            Some(before) if self.rests(before, change, now) => {
                self.phase = Phase { growing: None, ..next };
                self.grown = Some(Grown { growth: before, until: change });
            }
            _ => {}
        }
    }

    /// Whether what grew as `before` until `change` does so no longer.
    fn rests(&self, before: Growth, change: Ts, now: Ts) -> bool {
        let samples = self.tiers.iter().rev().map(|tier| from(tier, change));
        let Some(slope) = samples.filter(|samples| samples.len() >= FEWEST).find_map(|s| slope(&s))
        else {
            return false;
        };
        let span = now.since(change).as_secs_f64();
        slope * span <= CHANCE.max(REST * before.per_second * span)
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

    /// The growth of now, over the longest time in which there is one; `None` of a plateau, a decline,
    /// or too few samples to tell.
    #[must_use]
    pub fn growth(&self) -> Option<Growth> {
        self.growth_over(Duration::ZERO)
    }

    /// Likewise, of growth that has gone on for `least`.
    #[must_use]
    pub fn growth_over(&self, least: Duration) -> Option<Growth> {
        let (now, _) = self.last()?;
        let long = self.phase.growing.is_some_and(|begun| now.since(begun) >= least);
        self.growths(self.phase, Ts(u64::MAX)).find(|growth| long || growth.over >= least)
    }

    /// The growth that has stopped, where it had gone on for `least`; `None` while there is one.
    #[must_use]
    pub fn grown_over(&self, least: Duration) -> Option<Grown> {
        self.grown.filter(|grown| grown.growth.over >= least && self.growth().is_none())
    }

    /// The growth of late: of what comes and goes within minutes.
    #[must_use]
    pub fn recent(&self) -> Option<Growth> {
        let [recent, ..] = &self.tiers;
        growth_of(&from(recent, self.phase.begun), RIPPLE)
    }

    /// By how many a second it has risen of late, or fallen.
    #[must_use]
    pub fn slope(&self) -> Option<f64> {
        let [recent, ..] = &self.tiers;
        let samples = from(recent, self.phase.begun);
        if samples.len() < FEWEST { None } else { slope(&samples) }
    }

    /// Whether enough samples are there to tell growth from none.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.tiers.iter().any(|tier| tier.len() >= FEWEST)
    }

    /// Each growth of `phase` until `end`, that over the longest time first.
    fn growths(&self, phase: Phase, end: Ts) -> impl Iterator<Item = Growth> {
        self.tiers.iter().rev().filter_map(move |tier| {
            let mut samples = from(tier, phase.begun);
            samples.truncate(samples.partition_point(|(at, _)| *at <= end));
            let ((first, _), (_, last)) = (samples.first()?, samples.last()?);
            if self.grown.is_some() && phase.begun == self.phase.begun {
                // Rest and growth in one: its slope is neither's, and the next phase is about to begin.
                let one_rate = change::changed(&samples).is_none();
                one_rate.then_some(())?;
            }
            let ripple = match self.breath(phase, *first) {
                _ if phase.growing.is_some() => 0.0,
                None => RIPPLE,
                Some((low, high)) => {
                    let beyond = CHANCE.max(BEYOND * (precise(high) - precise(low)));
                    if precise(*last) < precise(high) + beyond {
                        return None;
                    }
                    0.0
                }
            };
            growth_of(&samples, ripple)
        })
    }

    /// How low and how high the count was in the minutes up to `first`, if they are known: what only
    /// comes back from there does not grow.
    fn breath(&self, phase: Phase, first: Ts) -> Option<(u64, u64)> {
        let (now, _) = self.last()?;
        let begun = now.back(BREATH).max(phase.breathes);
        let samples = self.tiers.iter().flat_map(|tier| tier.iter());
        let before = samples.filter(|(at, _)| *at >= begun && *at < first).map(|(_, count)| *count);
        before.fold(None, |known: Option<(u64, u64)>, count| {
            known
                .map_or(Some((count, count)), |(low, high)| Some((low.min(count), high.max(count))))
        })
    }
}

/// The samples of `tier` since `begun`.
fn from(tier: &VecDeque<(Ts, u64)>, begun: Ts) -> Vec<(Ts, u64)> {
    tier.iter().skip(tier.partition_point(|(at, _)| *at < begun)).copied().collect()
}

/// Theil and Sen's slope, where the samples rise by more than chance and `ripple`, a share of the last.
fn growth_of(samples: &[(Ts, u64)], ripple: f64) -> Option<Growth> {
    let ((first, _), (last_at, last)) = (*samples.first()?, *samples.last()?);
    let over = last_at.since(first);
    if samples.len() < FEWEST {
        return None;
    }
    let per_second = slope(samples)?;
    let rise = per_second * over.as_secs_f64();
    let grows = rise >= CHANCE.max(ripple * precise(last)) && rising(samples) >= RISING;
    grows.then_some(Growth { per_second, over })
}

/// Every sample with each that is later.
fn pairs(samples: &[(Ts, u64)]) -> impl Iterator<Item = ((Ts, u64), (Ts, u64))> {
    let later = |index: usize| samples.get(index + 1..).unwrap_or_default().iter();
    let pairs = move |(index, sample): (usize, &(Ts, u64))| {
        let sample = *sample;
        later(index).map(move |other| (sample, *other))
    };
    samples.iter().enumerate().flat_map(pairs)
}

/// The median of the slopes of all pairs.
fn slope(samples: &[(Ts, u64)]) -> Option<f64> {
    let of_pair = |((at, value), (later, other)): ((Ts, u64), (Ts, u64))| {
        (precise(other) - precise(value)) / later.since(at).as_secs_f64()
    };
    let mut slopes: Vec<_> = pairs(samples).map(of_pair).collect();
    let middle = slopes.len() / 2;
    if slopes.is_empty() {
        return None;
    }
    Some(*slopes.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// Of the pairs that differ, the share in which the later is the larger.
#[expect(clippy::cast_precision_loss, reason = "at most a few thousand pairs")]
fn rising(samples: &[(Ts, u64)]) -> f64 {
    let (mut rising, mut falling) = (0_usize, 0_usize);
    for ((_, value), (_, other)) in pairs(samples) {
        rising += usize::from(other > value);
        falling += usize::from(other < value);
    }
    rising as f64 / (rising + falling).max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "no host has 2^53 sockets")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
