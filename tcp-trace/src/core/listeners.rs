//! Which process listens where: the owner of what comes in through a listener.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::{
    clock::Ts,
    owner::{Owner, OwnerSource},
};

/// How long a listener that is gone is remembered: a short connection is told at its end, and that of
/// its listener may have come before.
pub const LATE: Duration = Duration::from_secs(3);
/// Those of them that are remembered.
const GONE_LIMIT: usize = 1024;

/// Listening sockets by namespace and port.
#[derive(Debug, Default)]
pub struct Listeners {
    by_port: FxHashMap<(Option<u32>, u16), Vec<Listener>>,
    gone: VecDeque<Gone>,
}

#[derive(Debug)]
struct Listener {
    address: IpAddr,
    owner: Owner,
    /// From when on it listens; 0 where that was not seen.
    since: Ts,
}

/// A listener that was.
#[derive(Debug)]
struct Gone {
    port: (Option<u32>, u16),
    listener: Listener,
    at: Ts,
}

impl Listeners {
    /// `owner` listens on `local` since `since`.
    pub fn add(&mut self, netns: Option<u32>, local: SocketAddr, owner: Owner, since: Ts) {
        let here = self.by_port.entry((netns, local.port())).or_default();
        here.push(Listener { address: local.ip(), owner, since });
    }

    /// It ended at `at`: what it has accepted before may still be told.
    pub fn ended(
        &mut self,
        netns: Option<u32>,
        local: SocketAddr,
        owner: Owner,
        (since, at): (Ts, Ts),
    ) {
        while self.gone.len() >= GONE_LIMIT
            || self.gone.front().is_some_and(|gone| at.since(gone.at) > LATE)
        {
            self.gone.pop_front();
        }
        let (port, listener) =
            ((netns, local.port()), Listener { address: local.ip(), owner, since });
        self.gone.push_back(Gone { port, listener, at });
    }

    /// `owner` listens on `local` no more.
    pub fn remove(&mut self, netns: Option<u32>, local: SocketAddr, owner: Owner) {
        let Some(here) = self.by_port.get_mut(&(netns, local.port())) else { return };
        let found = here.iter().position(|l| l.address == local.ip() && l.owner.pid == owner.pid);
        if let Some(index) = found {
            here.swap_remove(index);
        }
        if here.is_empty() {
            self.by_port.remove(&(netns, local.port()));
        }
    }

    /// Whether anybody listens on the port of `local`.
    #[must_use]
    pub fn any_at(&self, netns: Option<u32>, local: SocketAddr) -> bool {
        self.by_port.contains_key(&(netns, local.port()))
    }

    /// The owner of a connection that is born at `local` now.
    #[must_use]
    pub fn owner_now(&self, netns: Option<u32>, local: SocketAddr) -> Option<Owner> {
        self.owner_of(netns, local, Ts(u64::MAX))
    }

    /// The owner of a connection born at `local`, at `at`: that of the listener on the very address,
    /// else of one on any address. `None` where several processes share it: then nobody can tell.
    #[must_use]
    pub fn owner_of(&self, netns: Option<u32>, local: SocketAddr, at: Ts) -> Option<Owner> {
        let port = (netns, local.port());
        let there = self.by_port.get(&port).into_iter().flatten();
        let then = || {
            let gone = self.gone.iter().filter(|gone| gone.port == port && at <= gone.at);
            let all = there.clone().chain(gone.map(|gone| &gone.listener));
            all.filter(|listener| listener.since <= at)
        };
        let exact = sole(then().filter(|l| l.address == local.ip()));
        match exact {
            Found::One(owner) => Some(owner),
            Found::Several => None,
            Found::None => match sole(then().filter(|l| l.address.is_unspecified())) {
                Found::One(owner) => Some(owner),
                Found::None | Found::Several => None,
            },
        }
        .map(|owner| Owner { source: OwnerSource::Listener, ..owner })
    }
}

enum Found {
    None,
    One(Owner),
    Several,
}

fn sole<'a>(listeners: impl Iterator<Item = &'a Listener>) -> Found {
    let mut found = Found::None;
    for listener in listeners {
        found = match found {
            Found::None => Found::One(listener.owner),
            Found::One(owner) if owner.pid == listener.owner.pid => Found::One(owner),
            Found::One(_) | Found::Several => return Found::Several,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Comm, Task};

    fn owner(pid: u32) -> Owner {
        let task = Task { pid, tid: pid, comm: Comm::from_text("web") };
        Owner::of_task(task, OwnerSource::Listen)
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_told_late_belongs_to_the_listener_of_its_time() {
        let second = |n: u64| Ts(n * 1_000_000_000);
        let mut listeners = Listeners::default();
        let local = at("0.0.0.0:80");
        listeners.add(None, local, owner(1), second(1));
        let pid = |listeners: &Listeners, born| {
            listeners.owner_of(None, at("1.2.3.4:80"), second(born)).map(|owner| owner.pid)
        };
        listeners.remove(None, local, owner(1));
        listeners.ended(None, local, owner(1), (second(1), second(5)));
        listeners.add(None, local, owner(2), second(6));
        assert_eq!(pid(&listeners, 4), Some(1));
        assert_eq!(pid(&listeners, 6), Some(2));
        assert_eq!(pid(&listeners, 0), None);
        for end in 9..9 + GONE_LIMIT as u64 {
            listeners.ended(None, at("0.0.0.0:81"), owner(3), (second(1), second(end)));
        }
        assert!(listeners.gone.len() <= 4);
    }

    #[test]
    fn the_exact_address_wins_over_any_address() {
        let mut listeners = Listeners::default();
        listeners.add(Some(1), at("0.0.0.0:80"), owner(1), Ts(0));
        listeners.add(Some(1), at("10.0.0.1:80"), owner(2), Ts(0));
        let pid = |local| listeners.owner_of(Some(1), at(local), Ts(9)).map(|owner| owner.pid);
        assert_eq!(pid("10.0.0.1:80"), Some(2));
        assert_eq!(pid("10.0.0.2:80"), Some(1));
        assert_eq!(pid("10.0.0.2:81"), None);
        assert_eq!(listeners.owner_of(Some(2), at("10.0.0.1:80"), Ts(9)), None);
    }

    #[test]
    fn a_dual_stack_listener_owns_ipv4_connections_too() {
        let mut listeners = Listeners::default();
        listeners.add(None, at("[::]:80"), owner(1), Ts(0));
        assert_eq!(listeners.owner_of(None, at("127.0.0.1:80"), Ts(9)).map(|o| o.pid), Some(1));
    }

    #[test]
    fn a_shared_port_names_nobody_until_one_is_left() {
        let mut listeners = Listeners::default();
        listeners.add(None, at("0.0.0.0:80"), owner(1), Ts(0));
        listeners.add(None, at("0.0.0.0:80"), owner(2), Ts(0));
        assert_eq!(listeners.owner_of(None, at("1.2.3.4:80"), Ts(9)), None);
        listeners.remove(None, at("0.0.0.0:80"), owner(1));
        assert_eq!(listeners.owner_of(None, at("1.2.3.4:80"), Ts(9)).map(|o| o.pid), Some(2));
        listeners.remove(None, at("0.0.0.0:80"), owner(2));
        assert!(listeners.by_port.is_empty());
    }
}
