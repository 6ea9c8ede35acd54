//! Whole snapshots against what the table holds: rounds in progress, ends not long ago, counts.

use std::{
    collections::{HashMap, VecDeque},
    hash::RandomState,
    num::NonZeroU64,
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::{clock::Ts, connection::Ends, event::Flow};

/// A socket is shown a moment longer, or later, than its events tell: the kernel makes a change
/// after it has told of it, and between the two a virtual machine's CPU may be taken away. What
/// has changed within this time before a snapshot is left to the next.
pub const GRACE: Duration = Duration::from_millis(500);
/// Ends remembered.
const ENDS_LIMIT: usize = 1 << 16;
/// How long they are remembered.
const ENDS_KEPT: Duration = Duration::from_mins(2);
/// Namespaces whose snapshots may be in progress at once.
pub const ROUND_LIMIT: usize = 1024;

/// Corrections by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Stood in another state.
    pub state: u64,
    /// There, and not known.
    pub found: u64,
    /// Known, and not there.
    pub gone: u64,
}

/// A snapshot in progress.
#[derive(Debug)]
pub struct Round {
    /// What has happened since needs no correction.
    pub since: Ts,
    /// No row that follows was read before: whose end is older cannot be among them.
    pub read: Ts,
    /// Its number.
    pub number: u64,
    /// Whether it is the first of its namespace: what it finds was there before tracing began.
    pub first: bool,
    /// One was shown twice: another that looks like it, and goes by no cookie, may have been meant.
    pub crossed: bool,
    /// Connections without a cookie, which rows find by their ends.
    pub by_flow: HashMap<Flow, Vec<usize>>,
    /// Those of them whose ends are not complete yet.
    pub incomplete: Vec<usize>,
}

/// What has ended a short while ago: a row that was read before is stale.
///
/// Every end is noted, and only snapshots ask: so they are put in a line, and what is to be found is
/// made of it when somebody looks.
#[derive(Debug, Default)]
pub struct RecentEnds {
    hasher: RandomState,
    order: VecDeque<(Ts, u64)>,
    /// Those that can be found, and some that have left the line since.
    by_key: FxHashMap<u64, Ts>,
    /// How many at the line's end cannot be found yet.
    fresh: usize,
    /// Ends up to here may be forgotten.
    forgotten: Ts,
}

impl RecentEnds {
    /// A socket with this cookie, or this flow, has ended.
    pub fn note(&mut self, at: Ts, netns: Option<u32>, cookie: Option<NonZeroU64>, ends: Ends) {
        if let Some(cookie) = cookie {
            self.insert(at, cookie.get());
        }
        self.insert(at, ends.hash_within(netns, &self.hasher));
    }

    fn insert(&mut self, at: Ts, key: u64) {
        if self.order.len() >= ENDS_LIMIT {
            self.forget();
        }
        self.order.push_back((at, key));
        self.fresh += 1;
    }

    fn forget(&mut self) {
        let Some((at, _)) = self.order.pop_front() else { return };
        self.forgotten = self.forgotten.max(at);
        self.fresh = self.fresh.min(self.order.len());
    }

    /// Makes all that is noted be found.
    fn index(&mut self) {
        if self.by_key.len() + self.fresh > 2 * ENDS_LIMIT {
            self.by_key.clear();
            self.fresh = self.order.len();
        }
        let known = self.order.len().saturating_sub(self.fresh);
        self.by_key.extend(self.order.range(known..).map(|(at, key)| (*key, *at)));
        self.fresh = 0;
    }

    /// Forgets what no snapshot can bring up any more.
    pub fn expire(&mut self, now: Ts) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) > ENDS_KEPT) {
            self.forget();
        }
        if self.order.is_empty() {
            self.by_key = FxHashMap::default();
        }
    }

    /// Whether such a socket may have ended at or after `since`, where it was still there at `read`.
    #[must_use]
    pub fn has(
        &mut self,
        (since, read): (Ts, Ts),
        netns: Option<u32>,
        cookie: Option<NonZeroU64>,
        flow: Flow,
    ) -> bool {
        self.index();
        let ended = |key: u64| self.by_key.get(&key).is_some_and(|at| *at >= since);
        // The full socket and its mini-socket share a cookie; two lives of one flow do not. Cookies
        // are the kernel's own numbers, counted from 1: no flow's hash is one by chance.
        let told = cookie.is_some_and(|cookie| ended(cookie.get()));
        told || ended(Ends::from(flow).hash_within(netns, &self.hasher))
            || (self.forgotten >= since.max(read) && !self.order.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(
        ends: &mut RecentEnds,
        since: Ts,
        netns: Option<u32>,
        cookie: Option<NonZeroU64>,
        flow: Flow,
    ) -> bool {
        ends.has((since, since), netns, cookie, flow)
    }

    fn flow(port: u16) -> Flow {
        let end = |port| (std::net::Ipv4Addr::LOCALHOST, port).into();
        Flow { local: end(80), remote: end(port) }
    }

    #[test]
    fn ends_are_remembered_by_cookie_and_by_flow_for_a_while() {
        let mut ends = RecentEnds::default();
        let cookie = NonZeroU64::new(7);
        ends.note(Ts(10), Some(1), cookie, flow(1).into());
        assert!(has(&mut ends, Ts(10), None, cookie, flow(2)));
        assert!(has(&mut ends, Ts(10), Some(1), None, flow(1)));
        assert!(!has(&mut ends, Ts(11), Some(1), cookie, flow(1)));
        assert!(!has(&mut ends, Ts(10), Some(2), None, flow(1)));
        ends.expire(Ts(10).after(ENDS_KEPT).after(GRACE));
        assert!(ends.by_key.is_empty() && ends.order.is_empty());
    }

    #[test]
    fn what_was_forgotten_in_a_rush_may_have_been_anything() {
        let mut ends = RecentEnds::default();
        for port in 0..=u16::MAX {
            ends.note(Ts(u64::from(port) + 1), None, NonZeroU64::new(1), flow(port).into());
        }
        assert!(ends.order.len() <= ENDS_LIMIT && ends.by_key.is_empty());
        assert!(has(&mut ends, Ts(1), None, None, flow(0)));
        assert!(!has(&mut ends, Ts(65_000), None, None, flow(0)));
        // But not one that was still there later; what is remembered stays known.
        assert!(!ends.has((Ts(1), Ts(65_000)), None, None, flow(0)));
        assert!(ends.has((Ts(1), Ts(65_000)), None, None, flow(u16::MAX - 1)));
    }

    #[test]
    fn whoever_asks_all_the_time_finds_all_and_no_more_than_there_is_room_for() {
        let mut ends = RecentEnds::default();
        for round in 0..6u64 {
            for port in 0..=u16::MAX {
                let at = Ts(round * 100_000 + u64::from(port) + 1);
                ends.note(at, None, NonZeroU64::new(at.0), flow(port).into());
                if port % 512 == 0 {
                    assert!(has(&mut ends, at, None, NonZeroU64::new(at.0), flow(port)));
                    assert!(!has(&mut ends, Ts(at.0 + 1), None, NonZeroU64::new(at.0), flow(port)));
                }
                assert!(ends.by_key.len() <= 2 * ENDS_LIMIT);
            }
        }
    }
}
