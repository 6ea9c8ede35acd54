//! Connections by process name, kept up to date so that no scrape walks the table.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
};

use slab::Slab;
use zerocopy::transmute;

use super::{clock::Ts, connection::ConnectionId, event::Comm, tcp_state::TcpState};

/// How many places of processes enrolled last are remembered.
const LATEST: usize = 32;

/// Figures of one process name.
#[derive(Clone, Debug)]
pub struct Process {
    /// The name.
    pub name: Comm,
    /// Connections by [`TcpState::index`].
    pub by_state: [u64; 13],
    /// Those in `CLOSE_WAIT`, oldest first.
    pub close_wait: BTreeSet<(Ts, ConnectionId)>,
    /// Connections enrolled.
    enrolled: u64,
}

/// Where a process name's figures are, for as long as one of its connections is enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessSlot(NonZeroU32);

impl ProcessSlot {
    fn place(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

/// All process names that hold a connection now.
#[derive(Debug, Default)]
pub struct Processes {
    // Names are chosen by whoever runs a process: a hash that resists attack, asked once a life.
    by_name: HashMap<Comm, usize>,
    slots: Slab<Process>,
    /// Where those enrolled last are, by an easy hash of their names: whoever finds one looks.
    latest: [usize; LATEST],
}

impl Processes {
    /// Makes room for a connection of `name`.
    pub fn enroll(&mut self, name: Comm) -> ProcessSlot {
        let slot = self.place(name);
        if let Some(process) = self.slots.get_mut(slot) {
            process.enrolled += 1;
        }
        // There are no more names than connections, and never so many of those.
        let number = u32::try_from(slot + 1).ok().and_then(NonZeroU32::new);
        ProcessSlot(number.unwrap_or(NonZeroU32::MAX))
    }

    /// Where the figures of `name` are, or are from now on.
    fn place(&mut self, name: Comm) -> usize {
        let [first, second]: [u64; 2] = transmute!(name.0);
        let mixed = (first ^ second.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let near = usize::from(mixed.to_be_bytes()[0]) % LATEST;
        let latest = self.latest.get(near).copied().unwrap_or(usize::MAX);
        if self.slots.get(latest).is_some_and(|process| process.name == name) {
            return latest;
        }
        let slot = *self.by_name.entry(name).or_insert_with(|| {
            let (by_state, close_wait) = ([0; 13], BTreeSet::new());
            self.slots.insert(Process { name, by_state, close_wait, enrolled: 0 })
        });
        if let Some(latest) = self.latest.get_mut(near) {
            *latest = slot;
        }
        slot
    }

    /// Takes back what [`enroll`](Self::enroll) made; a name without connections is forgotten.
    pub fn dismiss(&mut self, slot: ProcessSlot) {
        let Some(process) = self.slots.get_mut(slot.place()) else { return };
        process.enrolled = process.enrolled.saturating_sub(1);
        if process.enrolled == 0 {
            let name = process.name;
            self.slots.remove(slot.place());
            self.by_name.remove(&name);
        }
    }

    /// Counts connection `id` in `state` since `since`.
    pub fn add(&mut self, slot: ProcessSlot, state: TcpState, since: Ts, id: ConnectionId) {
        let Some(process) = self.slots.get_mut(slot.place()) else { return };
        if let Some(count) = process.by_state.get_mut(state.index()) {
            *count += 1;
        }
        if state == TcpState::CloseWait {
            process.close_wait.insert((since, id));
        }
    }

    /// Takes back what [`add`](Self::add) counted.
    pub fn remove(&mut self, slot: ProcessSlot, state: TcpState, since: Ts, id: ConnectionId) {
        let Some(process) = self.slots.get_mut(slot.place()) else { return };
        if let Some(count) = process.by_state.get_mut(state.index()) {
            *count = count.saturating_sub(1);
        }
        if state == TcpState::CloseWait {
            process.close_wait.remove(&(since, id));
        }
    }

    /// Every name with its figures, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.slots.iter().map(|(_, process)| process)
    }

    /// The `limit` names with the most connections, and the others.
    #[must_use]
    pub fn ranked(&self, limit: usize) -> (Vec<&Process>, Vec<&Process>) {
        let mut all: Vec<_> = self.iter().collect();
        // Names break ties, so that the same figures give the same series.
        all.sort_by_key(|process| (std::cmp::Reverse(process.enrolled), process.name));
        let others = all.split_off(limit.min(all.len()));
        (all, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_can_be_taken_back() {
        let mut processes = Processes::default();
        let name = Comm::from_text("java");
        let slot = processes.enroll(name);
        assert_eq!(processes.enroll(name), slot);
        processes.add(slot, TcpState::CloseWait, Ts(5), ConnectionId(1));
        processes.add(slot, TcpState::CloseWait, Ts(3), ConnectionId(2));
        let (kept, _) = processes.ranked(10);
        assert_eq!(kept[0].close_wait.first(), Some(&(Ts(3), ConnectionId(2))));
        processes.remove(slot, TcpState::CloseWait, Ts(3), ConnectionId(2));
        processes.remove(slot, TcpState::CloseWait, Ts(5), ConnectionId(1));
        assert_eq!(processes.ranked(10).0[0].by_state, [0; 13]);
        processes.dismiss(slot);
        assert_eq!(processes.iter().count(), 1);
        processes.dismiss(slot);
        assert_eq!(processes.iter().count(), 0);
    }

    #[test]
    fn the_names_with_the_most_connections_come_first() {
        let mut processes = Processes::default();
        for n in 0..10u64 {
            for _ in 0..=n {
                processes.enroll(Comm::from_text(&format!("p{n}")));
            }
        }
        let (kept, others) = processes.ranked(3);
        assert_eq!(kept.iter().map(|p| p.name.text()).collect::<Vec<_>>(), ["p9", "p8", "p7"]);
        assert_eq!(others.len(), 7);
    }
}
