//! How often something failed of late: buckets of a few seconds each, and the latest examples.

use std::{net::IpAddr, time::Duration};

use crate::core::{clock::Ts, connection::ConnectionId, owner::Owner};

/// Of so many buckets is the window.
const BUCKETS: usize = 60;
/// The span of one.
const BUCKET: Duration = Duration::from_secs(5);
/// What all of them span.
pub(super) const SPAN: Duration = Duration::from_mins(5);
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
