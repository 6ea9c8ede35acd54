//! How sockets are found again: by cookie, by address while they have none, some by their ends.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use super::ends::Ends;
use crate::core::{
    connection::{Connection, Pair},
    event::Flow,
    half_open::FlowKey,
};

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
    pair: Pair,
    /// Whether events may know no more of it than its ends.
    by_flow: bool,
    /// Whether segments find it: both ends are known, and what passes between them is its own.
    on_wire: bool,
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
        let mini = connection.mini().filter(|mini| mini.sk != 0).map(|mini| Key::Mini(mini.sk));
        let by_flow = match connection.mini() {
            Some(mini) if !mini.pending => mini.sk == 0,
            _ => socket.sk == 0,
        };
        // Those of an MPTCP connection are its subflows'.
        let on_wire = connection.has_both_ends() && connection.is_counted();
        Self { keys: [own, row, mini], pair: connection.pair(), by_flow, on_wire, yields: !full }
    }

    /// The ends between which its segments pass.
    pub(super) fn on_wire(&self) -> Option<FlowKey> {
        self.on_wire.then(|| self.pair.into())
    }

    /// Its namespace and ends, whatever they are good for.
    pub(super) fn pair(&self) -> Pair {
        self.pair
    }

    /// Whether both have the same ends.
    pub(super) fn has_ends_of(&self, other: &Self) -> bool {
        self.pair.has_ends_of(&other.pair)
    }

    /// Whether segments find it, and between the same ends.
    pub(super) fn is_on_wire_of(&self, other: &Self) -> bool {
        self.on_wire == other.on_wire && (!self.on_wire || self.pair == other.pair)
    }

    pub(super) fn yields(&self) -> bool {
        self.yields
    }

    fn by_flow(&self) -> Option<&Pair> {
        self.by_flow.then_some(&self.pair)
    }
}

/// Slots by one kind of number. Half the size of a map of [`Key`]s, of which there is at least one for
/// each connection.
///
/// The kernel's numbers, which nobody chooses: no need for a hash that resists attack.
type Slots = FxHashMap<u64, u32>;

/// Slots by name.
#[derive(Debug, Default)]
pub(super) struct Index {
    cookies: Slots,
    addresses: Slots,
    minis: Slots,
    // Peers choose their ends: a hash that resists attack.
    flows: HashMap<Pair, usize>,
    /// All that segments may be of; nothing before the first one.
    ends: Option<Ends>,
}

impl Index {
    pub(super) fn get(&self, key: Key) -> Option<usize> {
        let (kind, number) = match key {
            Key::Cookie(cookie) => (&self.cookies, cookie),
            Key::Address(address) => (&self.addresses, address),
            Key::Mini(address) => (&self.minis, address),
        };
        usize::try_from(*kind.get(&number)?).ok()
    }

    fn slots_of(&mut self, key: Key) -> (&mut Slots, u64) {
        match key {
            Key::Cookie(cookie) => (&mut self.cookies, cookie),
            Key::Address(address) => (&mut self.addresses, address),
            Key::Mini(address) => (&mut self.minis, address),
        }
    }

    /// By its ends, where nothing else may tell.
    pub(super) fn by_pair(&self, pair: &Pair) -> Option<usize> {
        if self.flows.is_empty() { None } else { self.flows.get(pair).copied() }
    }

    /// Likewise, of ends that are not packed yet.
    pub(super) fn by_flow(&self, netns: Option<u32>, flow: Flow) -> Option<usize> {
        if self.flows.is_empty() { None } else { self.by_pair(&Pair::of(netns, flow)) }
    }

    /// By their ends, for segments.
    pub(super) fn ends(&self) -> Option<&Ends> {
        self.ends.as_ref()
    }

    pub(super) fn ends_mut(&mut self) -> Option<&mut Ends> {
        self.ends.as_mut()
    }

    pub(super) fn set_ends(&mut self, ends: Ends) {
        self.ends = Some(ends);
    }

    /// Who stands under one of these names already.
    pub(super) fn clash(&self, names: &Names) -> Option<usize> {
        names.keys.iter().flatten().find_map(|key| self.get(*key))
    }

    pub(super) fn insert(&mut self, names: &Names, slot: usize) {
        // The table holds no four thousand million.
        let narrow = u32::try_from(slot).unwrap_or(u32::MAX);
        for key in names.keys.iter().flatten() {
            let (slots, number) = self.slots_of(*key);
            if names.yields {
                slots.entry(number).or_insert(narrow);
            } else {
                slots.insert(number, narrow);
            }
        }
        if let Some(flow) = names.by_flow() {
            self.flows.insert(*flow, slot);
        }
        if let (Some(ends), Some(key)) = (&mut self.ends, names.on_wire()) {
            ends.lives(&key, slot, names.yields);
        }
    }

    /// The connection in `slot` goes by `news`, and no longer by `names`.
    pub(super) fn rename(&mut self, names: &Names, news: &Names, slot: usize) {
        let numbers = (names.keys, names.yields) == (news.keys, news.yields);
        let by_flow = names.by_flow || news.by_flow;
        if numbers && !by_flow && self.ends.is_none() {
            // Its ends have changed, by which nobody looks for it.
            return;
        }
        self.remove(names, slot);
        self.insert(news, slot);
    }

    /// Takes the names out that still lead to `slot`.
    pub(super) fn remove(&mut self, names: &Names, slot: usize) {
        for key in names.keys.iter().flatten() {
            if self.get(*key) == Some(slot) {
                let (slots, number) = self.slots_of(*key);
                slots.remove(&number);
            }
        }
        if let Some(flow) = names.by_flow()
            && self.flows.get(flow) == Some(&slot)
        {
            self.flows.remove(flow);
        }
        if let (Some(ends), Some(key)) = (&mut self.ends, names.on_wire()) {
            ends.left(&key, slot);
        }
    }

    #[cfg(test)]
    pub(super) fn leads_to(&self, names: &Names, slot: usize) -> bool {
        let mut keys = names.keys.iter().flatten();
        keys.any(|key| self.get(*key) == Some(slot))
            || names.by_flow().is_some_and(|flow| self.flows.get(flow) == Some(&slot))
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> + '_ {
        let ends = self.ends.iter().flat_map(Ends::slots);
        let slots = [&self.cookies, &self.addresses, &self.minis];
        let slots = slots.into_iter().flat_map(|slots| slots.values().copied());
        let slots = slots.filter_map(|slot| usize::try_from(slot).ok());
        slots.chain(self.flows.values().copied()).chain(ends)
    }
}
