//! When the rate changed at which a count grows.
//!
//! What came between two samples is held against what would have come at one and the same rate. Added
//! up, that which was more or less wanders to and fro where it is chance, and stays small beside its
//! own spread: batches, and arrivals as they please, have a large spread and bend it no further. Where
//! the rate has changed it leads away from zero, furthest at the change (CUSUM; by chance it follows a
//! Brownian bridge, of which the tables of Kolmogorov and Smirnov tell how far it goes).

use super::{Ts, precise};

/// How far from zero, in spreads, chance leads once in 50,000 times.
const FAR: f64 = 2.4;

/// The sample at which the rate has changed, if it has.
pub(super) fn changed(samples: &[(Ts, u64)]) -> Option<Ts> {
    let ((begun, first), (ended, last)) = (*samples.first()?, *samples.last()?);
    let span = ended.since(begun).as_secs_f64();
    if span <= 0.0 {
        return None;
    }
    let rate = (precise(last) - precise(first)) / span;
    let (mut sum, mut squares, mut furthest) = (0.0_f64, 0.0_f64, (0.0_f64, begun));
    for pair in samples.windows(2) {
        let [(before, smaller), (at, larger)] = *pair else { continue };
        let more = precise(larger) - precise(smaller) - rate * at.since(before).as_secs_f64();
        sum += more;
        squares += more * more;
        if sum.abs() > furthest.0 {
            furthest = (sum.abs(), at);
        }
    }
    (furthest.0 > FAR * squares.sqrt()).then_some(furthest.1)
}
