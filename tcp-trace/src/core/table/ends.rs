//! How segments find their connection: by network namespace and both ends.

use std::hash::RandomState;

use rustc_hash::FxHashMap;

use crate::core::{connection::Ends as BothEnds, half_open::FlowKey};

/// Places of connections by their ends. A place may hold another connection by now, or by chance:
/// whoever finds it looks.
///
/// Peers choose their ends, so the hash has a key of its own. Hashes alone are kept, at a quarter of
/// what the ends themselves would take.
#[derive(Debug, Default)]
pub(super) struct Ends {
    hasher: RandomState,
    /// Slots of live connections.
    live: FxHashMap<u64, usize>,
    /// Numbers of closed connections, in the order in which they were closed.
    closed: FxHashMap<u64, u64>,
}

impl Ends {
    fn hash(&self, (netns, flow): &FlowKey) -> u64 {
        BothEnds::from(*flow).hash_within(*netns, &self.hasher)
    }

    /// The slot of the live connection with these ends.
    pub(super) fn live(&self, key: &FlowKey) -> Option<usize> {
        self.live.get(&self.hash(key)).copied()
    }

    /// A connection with these ends lives in `slot`; one that yields leaves the place to another.
    pub(super) fn lives(&mut self, key: &FlowKey, slot: usize, yields: bool) {
        let hash = self.hash(key);
        if yields {
            self.live.entry(hash).or_insert(slot);
        } else {
            self.live.insert(hash, slot);
        }
    }

    /// The connection in `slot` is there no longer.
    pub(super) fn left(&mut self, key: &FlowKey, slot: usize) {
        let hash = self.hash(key);
        if self.live.get(&hash) == Some(&slot) {
            self.live.remove(&hash);
        }
    }

    /// The number of the latest closed connection with these ends.
    pub(super) fn closed(&self, key: &FlowKey) -> Option<u64> {
        self.closed.get(&self.hash(key)).copied()
    }

    /// The closed connection with this number has these ends.
    pub(super) fn has_closed(&mut self, key: &FlowKey, number: u64) {
        self.closed.insert(self.hash(key), number);
    }

    /// The closed connection with this number is kept no longer.
    pub(super) fn forgotten(&mut self, key: &FlowKey, number: u64) {
        let hash = self.hash(key);
        if self.closed.get(&hash) == Some(&number) {
            self.closed.remove(&hash);
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.live.values().copied()
    }
}
