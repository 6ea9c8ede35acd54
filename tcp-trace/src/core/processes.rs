//! Connections by process name, kept up to date so that no scrape walks the table.

use std::collections::{BTreeSet, HashMap};

use super::{clock::Ts, connection::ConnectionId, event::Comm, tcp_state::TcpState};

/// Figures of one process name.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Connections by [`TcpState::index`].
    pub by_state: [u64; 13],
    /// Those in `CLOSE_WAIT`, oldest first.
    pub close_wait: BTreeSet<(Ts, ConnectionId)>,
}

/// A process name with its figures.
pub type Named<'a> = (&'a Comm, &'a Process);

/// All process names that hold a connection now.
#[derive(Debug, Default)]
pub struct Processes {
    // Names are chosen by whoever runs a process: a hash that resists attack.
    by_name: HashMap<Comm, Process>,
}

impl Processes {
    /// Counts connection `id` of `name` in `state` since `since`.
    pub fn add(&mut self, name: Comm, state: TcpState, since: Ts, id: ConnectionId) {
        let process = self.by_name.entry(name).or_default();
        if let Some(count) = process.by_state.get_mut(state.index()) {
            *count += 1;
        }
        if state == TcpState::CloseWait {
            process.close_wait.insert((since, id));
        }
    }

    /// Takes back what [`add`](Self::add) counted.
    pub fn remove(&mut self, name: Comm, state: TcpState, since: Ts, id: ConnectionId) {
        let Some(process) = self.by_name.get_mut(&name) else { return };
        if let Some(count) = process.by_state.get_mut(state.index()) {
            *count = count.saturating_sub(1);
        }
        if state == TcpState::CloseWait {
            process.close_wait.remove(&(since, id));
        }
        if process.by_state.iter().all(|count| *count == 0) {
            self.by_name.remove(&name);
        }
    }

    /// Every name with its figures, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Comm, &Process)> {
        self.by_name.iter()
    }

    /// The `limit` names with the most connections, and the others.
    #[must_use]
    pub fn ranked(&self, limit: usize) -> (Vec<Named<'_>>, Vec<Named<'_>>) {
        let mut all: Vec<_> = self.by_name.iter().collect();
        // Names break ties, so that the same figures give the same series.
        all.sort_by_key(|(name, process)| {
            (std::cmp::Reverse(process.by_state.iter().sum::<u64>()), **name)
        });
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
        processes.add(name, TcpState::CloseWait, Ts(5), ConnectionId(1));
        processes.add(name, TcpState::CloseWait, Ts(3), ConnectionId(2));
        let (kept, _) = processes.ranked(10);
        assert_eq!(kept[0].1.close_wait.first(), Some(&(Ts(3), ConnectionId(2))));
        processes.remove(name, TcpState::CloseWait, Ts(3), ConnectionId(2));
        processes.remove(name, TcpState::CloseWait, Ts(5), ConnectionId(1));
        assert_eq!(processes.iter().count(), 0);
    }

    #[test]
    fn the_names_with_the_most_connections_come_first() {
        let mut processes = Processes::default();
        for n in 0..10u64 {
            let name = Comm::from_text(&format!("p{n}"));
            for id in 0..=n {
                processes.add(name, TcpState::Established, Ts(0), ConnectionId(n * 100 + id));
            }
        }
        let (kept, others) = processes.ranked(3);
        assert_eq!(
            kept.iter().map(|(name, _)| name.text()).collect::<Vec<_>>(),
            ["p9", "p8", "p7"]
        );
        assert_eq!(others.len(), 7);
    }
}
