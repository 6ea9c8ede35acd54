//! When what may never be told counts as over.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{clock::Ts, connection::ConnectionId};

/// Deadlines of connections, earliest first. One may be there for a connection that is gone or has
/// got more time: whoever takes it looks.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: BinaryHeap<Reverse<(Ts, usize, ConnectionId)>>,
}

impl Deadlines {
    /// The connection in `slot` is to be looked at when it is `at`.
    pub fn push(&mut self, at: Ts, slot: usize, id: ConnectionId) {
        self.heap.push(Reverse((at, slot, id)));
    }

    /// Takes one that is due.
    pub fn due(&mut self, now: Ts) -> Option<(usize, ConnectionId)> {
        let Reverse((at, ..)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, slot, id))| (slot, id))
    }

    /// Keeps only those that `wanted` knows once there are more than `limit`.
    pub fn bound(&mut self, limit: usize, wanted: impl Fn(usize, ConnectionId) -> bool) {
        if self.heap.len() > limit {
            self.heap.retain(|Reverse((_, slot, id))| wanted(*slot, *id));
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_due_first_and_none_before_its_time() {
        let mut deadlines = Deadlines::default();
        for n in [3, 1, 2] {
            deadlines.push(Ts(n), 0, ConnectionId(n));
        }
        assert_eq!(deadlines.due(Ts(0)), None);
        assert_eq!(deadlines.due(Ts(2)), Some((0, ConnectionId(1))));
        deadlines.bound(1, |_, id| id.0 == 3);
        assert_eq!(deadlines.len(), 1);
        assert_eq!(deadlines.due(Ts(9)), Some((0, ConnectionId(3))));
        assert!(deadlines.is_empty());
    }
}
