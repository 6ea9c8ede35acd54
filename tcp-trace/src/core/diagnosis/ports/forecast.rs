//! How many of a route's ports will be taken: those of now go when their time is over, others come.
//!
//! `TIME_WAIT` takes a port for a minute, a socket that nobody holds in `FIN_WAIT2` for
//! `tcp_fin_timeout`, and one that a process holds for as long as the process likes. So the first two
//! come to rest, at as many as come in that time; the last may grow for ever.

use std::time::Duration;

/// A forecast is made second by second for so long; what goes later than that is taken to stay.
pub(in crate::core::diagnosis) const AHEAD: Duration = Duration::from_mins(5);

/// Ports that come, each for the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Coming {
    /// How many in a second.
    pub(super) per_second: f64,
    /// For how long each.
    pub(super) length: Duration,
}

/// What is known of a route's ports.
#[derive(Clone, Debug)]
pub(super) struct Forecast<'a> {
    /// Those taken now.
    pub(super) used: u64,
    /// Of those, how many go in each of the next seconds.
    pub(super) leaving: &'a [u32],
    /// By how many those grow in a second that processes hold.
    pub(super) held: f64,
    /// Those that come for a time.
    pub(super) coming: [Coming; 2],
}

impl Forecast<'_> {
    /// Until `budget` are taken; `None` where that is not in sight.
    pub(super) fn until(&self, budget: u64) -> Option<Duration> {
        let budget = precise(budget);
        let mut there = precise(self.used);
        if there >= budget {
            return Some(Duration::ZERO);
        }
        for second in 1..=AHEAD.as_secs() {
            let gone = usize::try_from(second).ok().and_then(|at| self.leaving.get(at - 1));
            there -= f64::from(gone.copied().unwrap_or(0));
            let then = there + self.come(second);
            if then >= budget {
                return Some(Duration::from_secs(second));
            }
        }
        // From here on what comes for a time takes the place of what goes.
        let then = there + self.come(AHEAD.as_secs());
        let later = Duration::try_from_secs_f64((budget - then) / self.held).ok();
        later.filter(|_| self.held > 0.0).map(|later| AHEAD + later)
    }

    /// Those that have come within so many seconds and are still there.
    fn come(&self, seconds: u64) -> f64 {
        let span = precise(seconds);
        let coming = self.coming.iter();
        let timed = coming.map(|one| one.per_second * span.min(one.length.as_secs_f64()));
        self.held.mul_add(span, timed.sum::<f64>())
    }
}

#[expect(clippy::cast_precision_loss, reason = "ports and seconds: far below 2^53")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTHING: Forecast<'_> = Forecast {
        used: 0,
        leaving: &[],
        held: 0.0,
        coming: [Coming { per_second: 0.0, length: Duration::ZERO }; 2],
    };

    fn coming(per_second: f64, seconds: u64) -> Coming {
        Coming { per_second, length: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_ends_by_itself_comes_to_rest_and_what_is_held_does_not() {
        let seconds = Duration::from_secs;
        let of = |held, coming, used| Forecast { used, held, coming, ..NOTHING };
        let none = Coming::default();
        let rows = [
            // Ten a second for a minute are six hundred.
            (of(0.0, [coming(10.0, 60), none], 0), 599, Some(seconds(60))),
            (of(0.0, [coming(10.0, 60), none], 0), 601, None),
            (of(0.0, [none, coming(10.0, 20)], 0), 201, None),
            (of(0.0, [coming(10.0, 60), coming(10.0, 20)], 0), 400, Some(seconds(20))),
            (of(1.0, [none, none], 0), 100, Some(seconds(100))),
            (of(1.0, [none, none], 0), 10_000, Some(seconds(10_000))),
            (of(-1.0, [none, none], 50), 100, None),
            (of(0.0, [none, none], 100), 100, Some(Duration::ZERO)),
            (of(0.0, [none, none], 99), 100, None),
        ];
        for (forecast, budget, left) in rows {
            assert_eq!(forecast.until(budget), left, "{forecast:?}: {budget}");
        }
    }

    #[test]
    fn those_of_now_go_when_their_time_is_over() {
        // A burst that is over, beside a slow leak of ports.
        let mut leaving = vec![0; 60];
        leaving[9] = 900;
        let forecast = Forecast { used: 900, leaving: &leaving, held: 5.0, ..NOTHING };
        assert_eq!(forecast.until(940), Some(Duration::from_secs(8)));
        assert_eq!(forecast.until(1_000), Some(Duration::from_secs(200)));
    }

    proptest! {
        /// Against a route that is played second by second.
        #[test]
        fn it_comes_as_foretold(
            rates in (0u32..40, 0u32..40),
            lengths in (1u64..60, 1u64..200),
            played in 0u64..200,
            held in 0u32..5,
            budget in 100u64..4_000,
        ) {
            let rows = [(rates.0, lengths.0), (rates.1, lengths.1)];
            let there = |now: u64| -> u64 {
                let timed = |(rate, length): &(u32, u64)| u64::from(*rate) * now.min(*length);
                rows.iter().map(timed).sum::<u64>() + u64::from(held) * now
            };
            let mut leaving = vec![0; 200];
            for (rate, length) in rows {
                let first = length.saturating_sub(played);
                for left in leaving.iter_mut().take(usize::try_from(length).unwrap()).skip(usize::try_from(first).unwrap()) {
                    *left += rate;
                }
            }
            let forecast = Forecast {
                used: there(played),
                leaving: &leaving,
                held: f64::from(held),
                coming: rows.map(|(rate, length)| coming(f64::from(rate), length)),
            };
            let truth = (0..=100_000).find(|later| there(played + later) >= budget);
            let told = forecast.until(budget).map(|left| left.as_secs());
            let near = match (told, truth) {
                (Some(told), Some(truth)) => told.abs_diff(truth) <= 1,
                (told, truth) => told.is_none() && truth.is_none_or(|truth| truth > 90_000),
            };
            prop_assert!(near, "told {told:?}, and it is {truth:?}");
        }
    }
}
