//! When the tracer may sleep, and for how long. Pure.
//!
//! While records come it looks 50 times a second, and for a second longer 20 times. Then it is at
//! rest: the buffers are to call it with the first record ([`Transport::call_at_once`]), and it
//! wakes for what is due by the clock alone.
//!
//! [`Transport::call_at_once`]: crate::kernel::transport::Transport::call_at_once

use std::time::Duration;

use crate::core::clock::Ts;

/// Longest wait before buffers below their watermark are drained, while anything is held back.
const TICK: Duration = Duration::from_millis(20);
/// Likewise, while nothing is: the first event after a pause is told no later than one that comes
/// right after a drain, since its window has passed with the wait.
const PAUSE: Duration = Duration::from_millis(50);
/// How long nothing must have come before it is at rest.
const QUIET: Duration = Duration::from_secs(1);
/// Longest wait at rest.
const LONGEST: Duration = Duration::from_secs(1);

/// Whether the tracer is at rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// When something last came.
    stirred: Ts,
    /// Since when the buffers call with the first record.
    called: Option<Ts>,
    /// A whole pause has passed since, so that whatever was being written then has been taken.
    sure: bool,
    longest: Duration,
}

impl Rest {
    /// Not yet; never to sleep longer than `interval`, beside the longest of all.
    pub(super) fn new(now: Ts, interval: Duration) -> Self {
        let longest = LONGEST.min(interval).max(PAUSE);
        Self { stirred: now, called: None, sure: false, longest }
    }

    /// Takes what a pass at `now` has found: whether anything came, or is still awaited. Returns
    /// whether the buffers are to call with the first record from now on.
    pub(super) fn pass(&mut self, now: Ts, stirred: bool) -> bool {
        if stirred {
            self.stirred = now;
        }
        now.since(self.stirred) >= QUIET
    }

    /// Takes whether the buffers do so.
    pub(super) fn called(&mut self, now: Ts, calls: bool) {
        let since = self.called.filter(|_| calls);
        self.sure = since.is_some_and(|since| now.since(since) >= PAUSE);
        self.called = since.or(calls.then_some(now));
    }

    /// How long to wait for the next record, where records are held back or something is `due`.
    pub(super) fn patience(&self, held_back: bool, due: Duration) -> Duration {
        if held_back {
            TICK
        } else if self.sure {
            due.clamp(PAUSE, self.longest)
        } else {
            PAUSE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::tracer::REORDER_WINDOW, *};

    const DUE: Duration = Duration::from_millis(700);

    fn ms(ms: u64) -> Ts {
        Ts(ms * 1_000_000)
    }

    /// Waits in milliseconds of a tracer that passes when it wakes, with records at these moments,
    /// and whether the buffers call then, which they can or cannot.
    fn waits(records: &[u64], until: u64, can: bool) -> Vec<(u64, u64, bool)> {
        let mut rest = Rest::new(ms(0), Duration::from_secs(30));
        let (mut now, mut last) = (0, 0);
        let mut waits = Vec::new();
        while now < until {
            let stirred = records.iter().any(|at| (last + 1..=now).contains(at));
            let calls = rest.pass(ms(now), stirred) && can;
            rest.called(ms(now), calls);
            let wait = rest.patience(false, DUE).as_millis().try_into().unwrap();
            waits.push((now, wait, calls));
            let first = records.iter().find(|at| calls && (now + 1..=now + wait).contains(at));
            last = now;
            now = first.copied().unwrap_or(now + wait);
        }
        waits
    }

    #[test]
    fn the_first_event_after_a_pause_is_told_as_soon_as_any() {
        let rest = Rest::new(ms(0), LONGEST);
        let longest = REORDER_WINDOW + rest.patience(true, DUE);
        assert!(rest.patience(false, DUE) > TICK && rest.patience(false, DUE) <= longest);
    }

    #[test]
    fn a_second_without_anything_is_rest() {
        let waits = waits(&[], 3_000, true);
        let (awake, rest) = waits.split_at(20);
        assert!(awake.iter().all(|(_, wait, calls)| *wait == 50 && !calls), "{awake:?}");
        // One pause more: what was being written is not what calls.
        assert_eq!(
            rest,
            [(1_000, 50, true), (1_050, 700, true), (1_750, 700, true), (2_450, 700, true)]
        );
    }

    #[test]
    fn the_first_record_ends_it_at_once() {
        let waits = waits(&[2_000], 2_600, true);
        let after: Vec<_> = waits.iter().skip_while(|(at, ..)| *at < 2_000).collect();
        assert_eq!(after[0], &(2_000, 50, false));
        assert!(after.iter().all(|(_, wait, calls)| *wait == 50 && !calls), "{after:?}");
    }

    #[test]
    fn without_a_call_there_is_no_rest() {
        assert!(waits(&[], 5_000, false).iter().all(|(_, wait, _)| *wait == 50));
    }

    #[test]
    fn what_is_held_back_at_rest_is_let_go_in_time() {
        let mut rest = Rest::new(ms(0), LONGEST);
        for now in [1_000, 1_050] {
            let calls = rest.pass(ms(now), false);
            rest.called(ms(now), calls);
        }
        assert_eq!(rest.patience(false, Duration::MAX), LONGEST);
        assert_eq!(rest.patience(false, Duration::ZERO), PAUSE);
        assert_eq!(rest.patience(true, Duration::MAX), TICK);
    }

    #[test]
    fn whoever_is_to_compare_often_sleeps_less() {
        let mut rest = Rest::new(ms(0), Duration::from_millis(200));
        for now in [1_000, 1_050] {
            let calls = rest.pass(ms(now), false);
            rest.called(ms(now), calls);
        }
        assert_eq!(rest.patience(false, DUE), Duration::from_millis(200));
        let rest = Rest { sure: true, ..Rest::new(ms(0), Duration::ZERO) };
        assert_eq!(rest.patience(false, DUE), PAUSE);
    }
}
