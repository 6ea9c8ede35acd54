//! When the sockets of the host are to be compared with what is known of them. Pure.

use std::time::Duration;

use crate::core::clock::Ts;

/// Shortest time from one comparison to the next, and from the last loss to the one that follows it.
const REST: Duration = Duration::from_secs(1);

/// The schedule: regularly, at once after a loss, and again when a series of losses is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval: Duration,
    /// When the last one was asked for.
    asked: Option<Ts>,
    /// Not answered yet.
    under_way: bool,
    /// A loss that no comparison has followed yet.
    lost: bool,
    /// A suspicion that no comparison has followed yet.
    suspected: bool,
    /// The last loss, until a comparison has followed it after a rest.
    series: Option<Ts>,
}

impl Schedule {
    /// Due at once, and then every `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            asked: None,
            under_way: false,
            lost: false,
            suspected: false,
            series: None,
        }
    }

    /// Notes a loss.
    pub(super) fn lost(&mut self, now: Ts) {
        self.lost = true;
        self.series = Some(now);
    }

    /// Notes that somebody is to be looked into.
    pub(super) fn suspect(&mut self) {
        self.suspected = true;
    }

    /// Whether one is to be asked for now; if so, it counts as asked for.
    pub(super) fn is_due(&mut self, now: Ts) -> bool {
        let due = !self.under_way
            && self.asked.is_none_or(|asked| {
                let rested = now.since(asked) >= REST;
                let over = self.series.is_some_and(|last| now.since(last) >= REST);
                now.since(asked) >= self.interval || rested && (self.lost || self.suspected || over)
            });
        if due {
            self.asked = Some(now);
            self.under_way = true;
            self.lost = false;
            self.suspected = false;
            self.series = self.series.filter(|last| now.since(*last) < REST);
        }
        due
    }

    /// The one asked for is over.
    pub(super) fn done(&mut self) {
        self.under_way = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments, in milliseconds, at which one was asked for; each takes 100 ms.
    fn asked(losses: &[u64], until: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(Duration::from_secs(30));
        let ts = |ms| Ts(ms * 1_000_000);
        let mut asked = Vec::new();
        for ms in (0..until).step_by(20) {
            if losses.contains(&ms) {
                schedule.lost(ts(ms));
            }
            if asked.last().is_some_and(|last| ms == last + 100) {
                schedule.done();
            }
            if schedule.is_due(ts(ms)) {
                asked.push(ms);
            }
        }
        asked
    }

    #[test]
    fn at_once_and_then_regularly() {
        assert_eq!(asked(&[], 90_000), [0, 30_000, 60_000]);
    }

    #[test]
    fn at_once_after_a_loss_and_again_when_no_other_follows() {
        assert_eq!(asked(&[5_000], 29_000), [0, 5_000, 6_000]);
        // The next regular one counts from the last.
        assert_eq!(asked(&[5_000], 37_000), [0, 5_000, 6_000, 36_000]);
    }

    #[test]
    fn a_series_of_losses_is_answered_once_a_second_and_after_its_end() {
        let losses: Vec<_> = (5_000..7_500).step_by(20).collect();
        assert_eq!(asked(&losses, 20_000), [0, 5_000, 6_000, 7_000, 8_000, 9_000]);
    }

    #[test]
    fn a_loss_right_after_the_start_waits_for_the_rest() {
        assert_eq!(asked(&[40], 20_000), [0, 1_000, 2_000]);
    }

    #[test]
    fn nothing_is_asked_for_twice_at_a_time() {
        let mut schedule = Schedule::new(Duration::from_secs(1));
        assert!(schedule.is_due(Ts(0)));
        schedule.lost(Ts(1));
        assert!(!schedule.is_due(Ts(60_000_000_000)));
        schedule.done();
        assert!(schedule.is_due(Ts(60_000_000_000)));
    }
}
