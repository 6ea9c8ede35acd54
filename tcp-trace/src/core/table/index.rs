//! How sockets are found again: by cookie, by address while they have none, some by their ends.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use crate::core::{connection::Connection, half_open::FlowKey};

/// What a socket goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The kernel's cookie.
    Cookie(u64),
    /// Address of a full socket.
    Address(u64),
    /// Address of a mini-socket.
    Mini(u64),
}

/// All that a connection is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Names {
    keys: [Option<Key>; 3],
    flow: Option<FlowKey>,
    /// Whether a full socket has the better right: a mini-socket's cookie may be that of its
    /// descriptor's next life.
    yields: bool,
}

impl Names {
    pub(super) fn of(connection: &Connection) -> Self {
        let socket = connection.socket;
        let full = connection.is_full();
        let own = match socket.cookie {
            Some(cookie) => Some(Key::Cookie(cookie.get())),
            None => Some(Key::Address(socket.sk))
                .filter(|_| full && (socket.sk != 0 || !connection.found)),
        };
        let row = connection.row_cookie.map(|cookie| Key::Cookie(cookie.get()));
        let mini = connection.mini.filter(|mini| mini.sk != 0).map(|mini| Key::Mini(mini.sk));
        // Events may know no more of it than its ends.
        let by_flow = match connection.mini {
            Some(mini) if !mini.pending => mini.sk == 0,
            _ => socket.sk == 0,
        };
        let flow = by_flow.then_some((connection.netns, connection.flow));
        Self { keys: [own, row, mini], flow, yields: !full }
    }
}

/// Slots by name.
#[derive(Debug, Default)]
pub(super) struct Index {
    // The kernel's numbers, which nobody chooses: no need for a hash that resists attack.
    keys: FxHashMap<Key, usize>,
    // Peers choose their ends.
    flows: HashMap<FlowKey, usize>,
}

impl Index {
    pub(super) fn get(&self, key: Key) -> Option<usize> {
        self.keys.get(&key).copied()
    }

    /// By its ends, where nothing else may tell.
    pub(super) fn by_flow(&self, key: &FlowKey) -> Option<usize> {
        if self.flows.is_empty() { None } else { self.flows.get(key).copied() }
    }

    /// Who stands under one of these names already.
    pub(super) fn clash(&self, names: &Names) -> Option<usize> {
        names.keys.iter().flatten().find_map(|key| self.get(*key))
    }

    pub(super) fn insert(&mut self, names: &Names, slot: usize) {
        for key in names.keys.iter().flatten() {
            if names.yields {
                self.keys.entry(*key).or_insert(slot);
            } else {
                self.keys.insert(*key, slot);
            }
        }
        if let Some(flow) = names.flow {
            self.flows.insert(flow, slot);
        }
    }

    /// Takes the names out that still lead to `slot`.
    pub(super) fn remove(&mut self, names: &Names, slot: usize) {
        for key in names.keys.iter().flatten() {
            if self.keys.get(key) == Some(&slot) {
                self.keys.remove(key);
            }
        }
        if let Some(flow) = names.flow
            && self.flows.get(&flow) == Some(&slot)
        {
            self.flows.remove(&flow);
        }
    }

    #[cfg(test)]
    pub(super) fn leads_to(&self, names: &Names, slot: usize) -> bool {
        let mut keys = names.keys.iter().flatten();
        keys.any(|key| self.get(*key) == Some(slot))
            || names.flow.is_some_and(|flow| self.flows.get(&flow) == Some(&slot))
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        self.keys.values().chain(self.flows.values()).copied()
    }
}
