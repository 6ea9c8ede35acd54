//! Which process listens where: the owner of what comes in through a listener.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use super::owner::{Owner, OwnerSource};

/// Listening sockets by namespace and port.
#[derive(Debug, Default)]
pub struct Listeners {
    by_port: FxHashMap<(Option<u32>, u16), Vec<Listener>>,
}

#[derive(Debug)]
struct Listener {
    address: IpAddr,
    owner: Owner,
}

impl Listeners {
    /// `owner` now listens on `local`.
    pub fn add(&mut self, netns: Option<u32>, local: SocketAddr, owner: Owner) {
        let here = self.by_port.entry((netns, local.port())).or_default();
        here.push(Listener { address: local.ip(), owner });
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

    /// The owner of a connection accepted at `local`: that of the listener on the very address,
    /// else of one on any address. `None` where several processes share it: then nobody can tell.
    #[must_use]
    pub fn owner_of(&self, netns: Option<u32>, local: SocketAddr) -> Option<Owner> {
        let here = self.by_port.get(&(netns, local.port()))?;
        let exact = sole(here.iter().filter(|l| l.address == local.ip()));
        match exact {
            Found::One(owner) => Some(owner),
            Found::Several => None,
            Found::None => match sole(here.iter().filter(|l| l.address.is_unspecified())) {
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
    fn the_exact_address_wins_over_any_address() {
        let mut listeners = Listeners::default();
        listeners.add(Some(1), at("0.0.0.0:80"), owner(1));
        listeners.add(Some(1), at("10.0.0.1:80"), owner(2));
        let pid = |local| listeners.owner_of(Some(1), at(local)).map(|owner| owner.pid);
        assert_eq!(pid("10.0.0.1:80"), Some(2));
        assert_eq!(pid("10.0.0.2:80"), Some(1));
        assert_eq!(pid("10.0.0.2:81"), None);
        assert_eq!(listeners.owner_of(Some(2), at("10.0.0.1:80")), None);
    }

    #[test]
    fn a_dual_stack_listener_owns_ipv4_connections_too() {
        let mut listeners = Listeners::default();
        listeners.add(None, at("[::]:80"), owner(1));
        assert_eq!(listeners.owner_of(None, at("127.0.0.1:80")).map(|o| o.pid), Some(1));
    }

    #[test]
    fn a_shared_port_names_nobody_until_one_is_left() {
        let mut listeners = Listeners::default();
        listeners.add(None, at("0.0.0.0:80"), owner(1));
        listeners.add(None, at("0.0.0.0:80"), owner(2));
        assert_eq!(listeners.owner_of(None, at("1.2.3.4:80")), None);
        listeners.remove(None, at("0.0.0.0:80"), owner(1));
        assert_eq!(listeners.owner_of(None, at("1.2.3.4:80")).map(|o| o.pid), Some(2));
        listeners.remove(None, at("0.0.0.0:80"), owner(2));
        assert!(listeners.by_port.is_empty());
    }
}
