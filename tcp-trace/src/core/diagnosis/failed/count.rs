//! How often something failed of late: buckets of a few seconds each, and the latest examples.

use std::{net::IpAddr, time::Duration};

use crate::core::{clock::Ts, connection::ConnectionId, owner::Owner};

/// Of so many buckets is the window.
const BUCKETS: usize = 60;
/// The span of one.
const BUCKET: Duration = Duration::from_secs(5);
/// What all of them span.
pub(super) const SPAN: Duration = Duration::from_mins(5);
/// What has not happened for so long may be over.
const PAUSE: Duration = Duration::from_secs(30);
/// Connections named as examples.
const EXAMPLES: usize = 8;

/// How often, in the window and altogether.
#[derive(Clone, Debug)]
pub(super) struct Count {
    buckets: [u32; BUCKETS],
    newest: u64,
    pub(super) total: u64,
    pub(super) first: Ts,
    pub(super) last: Ts,
    pub(super) owner: Option<Owner>,
    /// The address that the last of them left from.
    pub(super) from: Option<IpAddr>,
    /// Whether they are of several processes.
    pub(super) shared: bool,
    /// The latest.
    pub(super) examples: Vec<ConnectionId>,
}

impl Count {
    pub(super) fn new(at: Ts) -> Self {
        Self {
            buckets: [0; BUCKETS],
            newest: number(at),
            total: 0,
            first: at,
            last: at,
            owner: None,
            from: None,
            shared: false,
            examples: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, at: Ts) {
        let bucket = number(at);
        for old in (self.newest + 1..=bucket).take(BUCKETS) {
            self.set(old, 0);
        }
        self.newest = self.newest.max(bucket);
        if self.newest - bucket < BUCKETS as u64 {
            self.set(bucket, self.get(bucket).saturating_add(1));
        }
        self.total += 1;
        self.last = self.last.max(at);
    }

    /// One of this process's.
    pub(super) fn owned(&mut self, owner: Option<Owner>) {
        let pid = |owner: Option<Owner>| owner.map(|owner| owner.pid);
        self.shared |= owner.is_some() && self.owner.is_some() && pid(owner) != pid(self.owner);
        self.owner = owner.or(self.owner);
    }

    /// One of this connection's.
    pub(super) fn example(&mut self, id: ConnectionId) {
        if self.examples.contains(&id) {
            return;
        }
        if self.examples.len() >= EXAMPLES {
            self.examples.remove(0);
        }
        self.examples.push(id);
    }

    /// Whether it still happens: the last time is not longer ago than half a minute, or than it has
    /// taken three times over from one to the next within `window`.
    pub(super) fn goes_on(&self, now: Ts, window: Duration) -> bool {
        let last = number(self.last);
        let first = number(now.back(window.min(SPAN))).max(last.saturating_sub(BUCKETS as u64 - 1));
        let mut at = (first..=last).filter(|bucket| self.get(*bucket) > 0);
        let between = at.next().map_or(0, |begun| {
            let others = at.count() as u64;
            (last - begun).checked_div(others).unwrap_or(0)
        });
        let pause = BUCKET * u32::try_from(between * 3).unwrap_or(0);
        now.since(self.last) <= pause.max(PAUSE)
    }

    fn get(&self, bucket: u64) -> u32 {
        self.buckets.get(place(bucket)).copied().unwrap_or(0)
    }

    fn set(&mut self, bucket: u64, value: u32) {
        if let Some(slot) = self.buckets.get_mut(place(bucket)) {
            *slot = value;
        }
    }

    /// Within `window` before `now`.
    pub(super) fn within(&self, now: Ts, window: Duration) -> u64 {
        let spans = u64::try_from(window.as_nanos() / BUCKET.as_nanos()).unwrap_or(u64::MAX);
        let from = number(now).saturating_sub(spans.min(BUCKETS as u64 - 1));
        let oldest = self.newest.saturating_sub(BUCKETS as u64 - 1);
        (from.max(oldest)..=self.newest).map(|bucket| u64::from(self.get(bucket))).sum()
    }
}

fn number(at: Ts) -> u64 {
    at.0 / u64::try_from(BUCKET.as_nanos()).unwrap_or(u64::MAX)
}

fn place(bucket: u64) -> usize {
    usize::try_from(bucket % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn count(seconds: impl IntoIterator<Item = u64>) -> Count {
        let mut count = Count::new(Ts(0));
        for second in seconds {
            count.add(Ts(second * 1_000_000_000));
        }
        count
    }

    #[test]
    fn what_happens_is_over_once_it_is_overdue() {
        let rows: [(&[u64], u64, bool); 9] = [
            (&[100], 130, true),
            (&[100], 131, false),
            // A burst, and one after the other.
            (&[100, 101, 102, 103], 134, false),
            (&[100, 110, 120, 130], 160, true),
            (&[100, 110, 120, 130], 161, false),
            // Once a minute: three may fail to come.
            (&[100, 160, 220, 280], 450, true),
            (&[100, 160, 220, 280], 480, false),
            (&[100, 101, 102, 160, 161, 162], 330, true),
            // What is longer ago than the window is no measure.
            (&[100, 400], 440, false),
        ];
        for (seconds, now, goes_on) in rows {
            let count = count(seconds.iter().copied());
            let told = count.goes_on(Ts(now * 1_000_000_000), 5 * MINUTE);
            assert_eq!(told, goes_on, "{seconds:?} at {now}");
        }
    }

    #[test]
    fn any_window_is_taken() {
        let count = count([1, 5, 900]);
        for window in [Duration::ZERO, MINUTE, Duration::MAX] {
            for now in [0, 900, u64::MAX / 1_000_000_000] {
                let _ = count.goes_on(Ts(now * 1_000_000_000), window);
            }
        }
    }
}
