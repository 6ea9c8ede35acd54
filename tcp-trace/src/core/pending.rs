//! Segments that have passed before anything is known of their connection: the SYN comes before its
//! socket, ours goes out before the port is told, a child is born at the handshake's last ACK.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{clock::Ts, exchange::Passed, half_open::FlowKey};

/// Flows held at most.
pub const FLOW_LIMIT: usize = 1 << 16;
/// Segments held of each at most.
pub const PER_FLOW: usize = 16;
/// The longest a handshake can be silent: as long as a request waits.
pub const PATIENCE: Duration = Duration::from_secs(64);
/// How long it takes a socket that is there to show whose a SYN was; or what follows a RST.
pub const DOUBT: Duration = Duration::from_secs(1);

/// Segments of one flow that nobody has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In the order in which they came.
    pub segments: Vec<Passed>,
    /// When they are to be looked at.
    until: Ts,
    /// Whether that is the last time.
    last_chance: bool,
    serial: u64,
}

/// What had to go so that a segment could be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// For want of room, itself perhaps among them.
    pub refused: u64,
    /// Of an attempt before this one, which nobody had claimed.
    pub strangers: u64,
}

/// All segments that wait for their connection.
#[derive(Debug, Default)]
pub struct Pending {
    // Whoever sends SYNs chooses the keys: a hash that resists attack.
    waiting: HashMap<FlowKey, Waiting>,
    /// Oldest first; what is gone is passed over.
    order: VecDeque<(u64, FlowKey)>,
    last_serial: u64,
    segments: u64,
}

impl Pending {
    /// Holds a segment; `doubted` where a socket is there that it may belong to after all.
    pub fn hold(&mut self, key: FlowKey, segment: Passed, doubted: bool) -> Gone {
        let mut gone = Gone::default();
        let flags = segment.header.flags;
        let another = flags.is_syn()
            && self.waiting.get(&key).is_some_and(|waiting| waiting.is_of_another_than(&segment));
        if another {
            gone.strangers = self.take(&key).map_or(0, |waiting| waiting.segments.len() as u64);
        }
        if !self.waiting.contains_key(&key) {
            gone.refused = self.make_room();
            self.last_serial += 1;
            self.order.push_back((self.last_serial, key));
        }
        let serial = self.last_serial;
        let fresh = Waiting { segments: Vec::new(), until: Ts(0), last_chance: false, serial };
        let waiting = self.waiting.entry(key).or_insert(fresh);
        if waiting.segments.len() >= PER_FLOW {
            gone.refused += 1;
            return gone;
        }
        let reset = flags.has(tcp_trace_common::TCP_RST);
        waiting.last_chance = reset || !doubted;
        let patience = if reset || doubted { DOUBT } else { PATIENCE };
        waiting.until = segment.at.after(patience);
        waiting.segments.push(segment);
        self.segments += 1;
        gone
    }

    /// Makes room for one more flow; returns how many segments had to go. Those that have waited
    /// longest are the least likely to be claimed.
    fn make_room(&mut self) -> u64 {
        let mut gone = 0;
        while self.waiting.len() >= FLOW_LIMIT
            && let Some((serial, key)) = self.order.pop_front()
        {
            if self.waiting.get(&key).is_some_and(|waiting| waiting.serial == serial) {
                gone += self.take(&key).map_or(0, |waiting| waiting.segments.len() as u64);
            }
        }
        if self.order.len() > 2 * FLOW_LIMIT {
            let waiting = &self.waiting;
            self.order
                .retain(|(serial, key)| waiting.get(key).is_some_and(|w| w.serial == *serial));
        }
        gone
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether segments of this flow wait.
    #[must_use]
    pub fn has(&self, key: &FlowKey) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(key)
    }

    /// Whether its sender has begun, among what waits of this flow, the sequence that the segment
    /// goes on with. What there was before it has numbers that lie behind.
    #[must_use]
    pub fn is_followed_by(&self, key: &FlowKey, segment: &Passed) -> bool {
        let begins = |known: &Passed| {
            let ahead = segment.header.seq.wrapping_sub(known.header.seq);
            known.travel == segment.travel
                && known.header.flags.has(tcp_trace_common::TCP_SYN)
                && (1..1 << 30).contains(&ahead)
        };
        self.waiting.get(key).is_some_and(|waiting| waiting.segments.iter().any(begins))
    }

    /// Hands those of a flow over.
    pub fn take(&mut self, key: &FlowKey) -> Option<Waiting> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiting = self.waiting.remove(key)?;
        self.segments -= waiting.segments.len() as u64;
        Some(waiting)
    }

    /// Flows whose time has run out, and whether for good.
    #[must_use]
    pub fn due(&self, now: Ts) -> Vec<(FlowKey, bool)> {
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now);
        due.map(|(key, waiting)| (*key, waiting.last_chance)).collect()
    }

    /// Gives a flow all the time there is.
    pub fn prolong(&mut self, key: &FlowKey) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.last_chance = true;
            waiting.until = waiting.until.back(DOUBT).after(PATIENCE);
        }
    }

    /// Lets those of a namespace go; returns how many segments.
    pub fn netns_gone(&mut self, netns: Option<u32>) -> u64 {
        let before = self.segments;
        let segments = &mut self.segments;
        self.waiting.retain(|key, waiting| {
            let stays = key.0 != netns;
            *segments -= if stays { 0 } else { waiting.segments.len() as u64 };
            stays
        });
        before - self.segments
    }

    /// Segments held now.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.segments
    }
}

impl Waiting {
    /// Whether `syn` begins another attempt than these belong to.
    fn is_of_another_than(&self, syn: &Passed) -> bool {
        self.segments.iter().any(|known| {
            known.travel == syn.travel
                && known.header.flags.is_syn()
                && known.header.seq != syn.header.seq
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        event::Flow,
        segment::{SegmentFlags, SegmentHeader, Travel, Witness},
    };

    fn key(n: u32) -> FlowKey {
        let end = |port| (std::net::Ipv4Addr::LOCALHOST, port).into();
        (Some(n), Flow { local: end(1), remote: end(2) })
    }

    fn syn(at: u64, seq: u32) -> Passed {
        let flags = SegmentFlags(tcp_trace_common::TCP_SYN);
        let header = SegmentHeader { flags, seq, ..SegmentHeader::default() };
        Passed { at: Ts(at * 1_000_000_000), travel: Travel::In, witness: Witness::Xdp, header }
    }

    fn seconds(n: u64) -> Ts {
        Ts(n * 1_000_000_000)
    }

    #[test]
    fn a_flood_pushes_the_oldest_out_and_is_bounded() {
        let mut pending = Pending::default();
        let limit = u32::try_from(FLOW_LIMIT).unwrap();
        for n in 0..limit {
            assert_eq!(pending.hold(key(n), syn(0, 1), false), Gone::default());
        }
        let full = Gone { refused: 1, strangers: 0 };
        assert_eq!(pending.hold(key(limit), syn(0, 1), false), full);
        assert!(!pending.has(&key(0)) && pending.has(&key(limit)));
        assert_eq!(pending.segments(), FLOW_LIMIT as u64);
        // One who comes and goes leaves nothing behind.
        for n in 0..5 * limit {
            pending.take(&key(limit));
            pending.hold(key(limit), syn(0, n), false);
        }
        assert!(pending.order.len() <= 2 * FLOW_LIMIT + 1);
    }

    #[test]
    fn one_flow_holds_few_and_another_attempt_takes_its_place() {
        let mut pending = Pending::default();
        for _ in 0..PER_FLOW {
            pending.hold(key(1), syn(0, 7), false);
        }
        assert_eq!(pending.hold(key(1), syn(0, 7), false), Gone { refused: 1, strangers: 0 });
        let gone = Gone { refused: 0, strangers: PER_FLOW as u64 };
        assert_eq!(pending.hold(key(1), syn(0, 8), false), gone);
        assert_eq!(pending.take(&key(1)).map(|waiting| waiting.segments.len()), Some(1));
        assert_eq!(pending.segments(), 0);
    }

    #[test]
    fn they_wait_as_long_as_a_handshake_can_take() {
        let mut pending = Pending::default();
        pending.hold(key(1), syn(0, 7), false);
        pending.hold(key(2), syn(0, 7), true);
        assert_eq!(pending.due(seconds(1)), [(key(2), false)]);
        pending.prolong(&key(2));
        assert_eq!(pending.due(seconds(63)), []);
        assert_eq!(pending.due(seconds(64)).len(), 2);
        assert_eq!(pending.netns_gone(Some(1)), 1);
        assert_eq!(pending.segments(), 1);
    }
}
