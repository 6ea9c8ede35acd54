//! Half-open connections: requests that have had a SYN-ACK and wait for the handshake's last ACK.
//!
//! The kernel tells of their birth and of each SYN-ACK sent again, never of their end: an entry
//! ends with the child it becomes, by its deadline, by a snapshot or with its listener.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use super::{clock::Ts, connection::Pair, event::Flow, listeners::LATE};

/// Requests held at most.
pub const HALF_OPEN_LIMIT: usize = 1 << 16;
/// The longest a request can wait after its last SYN-ACK.
const LONGEST: Duration = Duration::from_secs(64);

/// A network namespace and both ends.
pub type FlowKey = (Option<u32>, Flow);

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOpen {
    /// When its SYN came; `None` where that was not seen.
    pub since: Option<Ts>,
    /// SYN-ACKs sent again.
    pub retransmits: u32,
    /// When something of it was last seen.
    pub last: Ts,
    /// The snapshot that showed it last.
    round: u64,
}

/// All requests, and what became of those that were.
#[derive(Debug, Default)]
pub struct HalfOpens {
    // Whoever sends SYNs chooses the keys: a hash that resists attack.
    entries: HashMap<Pair, HalfOpen>,
    /// Those whose listener is gone, and when it went. They are over, unless the child was born
    /// before and is told late.
    orphans: HashMap<Pair, (HalfOpen, Ts)>,
    /// Whether SYN-ACKs sent again are told, which shortens the deadlines.
    retransmits_told: bool,
    counts: HalfOpenCounts,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpenCounts {
    /// Those held now.
    pub open: u64,
    /// Their handshake was completed.
    pub taken: u64,
    /// Never answered.
    pub expired: u64,
    /// Not held, for want of room.
    pub refused: u64,
    /// Ended with their listener or namespace.
    pub dropped: u64,
}

impl HalfOpens {
    /// A SYN has come.
    pub fn open(&mut self, key: Pair, at: Ts) {
        self.insert(key, HalfOpen { since: Some(at), retransmits: 0, last: at, round: 0 });
    }

    /// A SYN-ACK was sent again, for the `count`-th time.
    pub fn again(&mut self, key: Pair, at: Ts, count: u32) {
        self.retransmits_told = true;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.retransmits = entry.retransmits.max(count);
            entry.last = at;
        } else {
            self.insert(key, HalfOpen { since: None, retransmits: count, last: at, round: 0 });
        }
    }

    /// A snapshot shows it.
    pub fn shown(&mut self, key: Pair, at: Ts, retransmits: u32, round: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.retransmits = entry.retransmits.max(retransmits);
            entry.round = round;
        } else {
            self.insert(key, HalfOpen { since: None, retransmits, last: at, round });
        }
    }

    fn insert(&mut self, key: Pair, entry: HalfOpen) {
        if self.entries.len() >= HALF_OPEN_LIMIT && !self.entries.contains_key(&key) {
            self.counts.refused += 1;
            return;
        }
        self.entries.insert(key, entry);
    }

    /// Each, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, &HalfOpen)> {
        self.entries.iter().map(|(key, entry)| (FlowKey::from(*key), entry))
    }

    /// Its handshake is complete: the child takes its story over.
    pub fn take(&mut self, key: &Pair) -> Option<HalfOpen> {
        if self.entries.is_empty() && self.orphans.is_empty() {
            // Where requests are not told, no child pays for the hash.
            return None;
        }
        let orphan = || self.orphans.remove(key).map(|(orphan, _)| orphan);
        let entry = self.entries.remove(key).or_else(orphan)?;
        self.counts.taken += 1;
        Some(entry)
    }

    /// Ends those whose time has run out.
    pub fn expire(&mut self, now: Ts) {
        let told = self.retransmits_told;
        let before = self.entries.len();
        self.entries.retain(|_, entry| now.since(entry.last) < patience(entry.retransmits, told));
        self.counts.expired += (before - self.entries.len()) as u64;
        self.drop_orphans(|_, gone| now.since(gone) >= LATE);
    }

    /// Ends those of `netns` not touched since `since` that the whole snapshot `round` did not show.
    pub fn end_unshown(&mut self, netns: Option<u32>, since: Ts, round: u64) {
        let before = self.entries.len();
        self.entries.retain(|key, entry| {
            key.netns() != netns || entry.last >= since || entry.round == round
        });
        self.counts.expired += (before - self.entries.len()) as u64;
    }

    /// The last listener at `local` is gone, and its requests with it.
    pub fn listener_gone(&mut self, netns: Option<u32>, local: SocketAddr, at: Ts) {
        let any = local.ip().is_unspecified();
        self.orphan(at, |key| {
            let (known, Flow { local: end, .. }) = FlowKey::from(*key);
            known == netns && end.port() == local.port() && (any || end.ip() == local.ip())
        });
    }

    /// The namespace is gone, and its requests with it.
    pub fn netns_gone(&mut self, netns: Option<u32>) {
        self.orphan(Ts(0), |key| key.netns() == netns);
        self.drop_orphans(|key, _| key.netns() == netns);
    }

    /// No more is to come.
    pub fn finish(&mut self) {
        self.drop_orphans(|_, _| true);
    }

    fn orphan(&mut self, at: Ts, gone: impl Fn(&Pair) -> bool) {
        let orphans = self.entries.extract_if(|key, _| gone(key));
        self.orphans.extend(orphans.map(|(key, entry)| (key, (entry, at))));
        if self.orphans.len() > HALF_OPEN_LIMIT {
            self.drop_orphans(|_, _| true);
        }
    }

    fn drop_orphans(&mut self, over: impl Fn(&Pair, Ts) -> bool) {
        let before = self.orphans.len();
        self.orphans.retain(|key, (_, gone)| !over(key, *gone));
        self.counts.dropped += (before - self.orphans.len()) as u64;
    }

    /// How many are held, and what became of the others.
    #[must_use]
    pub fn counts(&self) -> HalfOpenCounts {
        HalfOpenCounts { open: self.entries.len() as u64, ..self.counts }
    }
}

/// How long a request may be silent. The kernel waits 1, 2, 4 … 32 seconds between its SYN-ACKs.
fn patience(retransmits: u32, told: bool) -> Duration {
    let next = Duration::from_secs(1 << retransmits.min(6));
    if told { (next + next / 4 + Duration::from_secs(1)).min(LONGEST) } else { LONGEST }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Pair {
        within(Some(1), port)
    }

    fn within(netns: Option<u32>, port: u16) -> Pair {
        let end = |text: &str| text.parse::<SocketAddr>().unwrap();
        let remote = SocketAddr::new(end("10.0.0.2:1").ip(), port);
        Pair::of(netns, Flow { local: end("10.0.0.1:80"), remote })
    }

    fn seconds(n: u64) -> Ts {
        Ts(n * 1_000_000_000)
    }

    #[test]
    fn a_request_lives_as_long_as_the_kernel_sends_for_it() {
        let mut requests = HalfOpens::default();
        requests.open(key(1), Ts(0));
        requests.expire(seconds(63));
        assert_eq!(requests.counts().open, 1);
        requests.again(key(1), seconds(63), 1);
        requests.expire(seconds(66));
        assert_eq!(requests.counts().open, 1);
        requests.expire(seconds(67));
        assert_eq!((requests.counts().open, requests.counts().expired), (0, 1));
    }

    #[test]
    fn a_child_takes_the_story_over_and_a_flood_is_bounded() {
        let mut requests = HalfOpens::default();
        requests.open(key(1), Ts(5));
        requests.again(key(1), Ts(9), 2);
        let taken = requests.take(&key(1)).unwrap();
        assert_eq!((taken.since, taken.retransmits), (Some(Ts(5)), 2));
        for netns in 0..=u32::try_from(HALF_OPEN_LIMIT).unwrap() {
            requests.open(within(Some(netns), 1), Ts(0));
        }
        let counts = requests.counts();
        assert_eq!((counts.open, counts.refused), (HALF_OPEN_LIMIT as u64, 1));
    }

    #[test]
    fn a_listener_takes_its_own_along() {
        let mut requests = HalfOpens::default();
        requests.open(key(1), Ts(0));
        requests.open(key(2), Ts(0));
        requests.listener_gone(Some(1), "10.0.0.9:80".parse().unwrap(), seconds(1));
        requests.listener_gone(Some(2), "0.0.0.0:80".parse().unwrap(), seconds(1));
        assert_eq!(requests.counts().open, 2);
        requests.listener_gone(Some(1), "0.0.0.0:80".parse().unwrap(), seconds(1));
        requests.expire(seconds(3));
        assert_eq!((requests.counts().open, requests.counts().dropped), (0, 0));
        // A child that was born before, and is told late.
        assert_eq!(requests.take(&key(2)).unwrap().since, Some(Ts(0)));
        requests.expire(seconds(4));
        let counts = requests.counts();
        assert_eq!((counts.open, counts.dropped, counts.taken), (0, 1, 1));
    }
}
