//! Both ends in little room: a [`Flow`] takes 64 bytes, this 36.

use std::{
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use zerocopy::{IntoBytes as _, transmute};

use crate::core::event::Flow;

/// Addresses and ports; IPv4 as `::ffff:a.b.c.d`, which no flow holds as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    local: [u8; 16],
    remote: [u8; 16],
    /// The port of this host's end; 0 while it has none.
    pub local_port: u16,
    /// The other end's; 0 of a listener.
    pub remote_port: u16,
}

impl Ends {
    /// A hash that nobody can foresee who does not know the hasher's key: peers choose their ends.
    #[must_use]
    pub fn hash_within(&self, netns: Option<u32>, hasher: &RandomState) -> u64 {
        hasher.hash_one(Pair::within(netns, *self))
    }
}

/// Both ends and the network namespace that they are in, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    netns: Option<u32>,
    ends: Ends,
}

impl Pair {
    /// The ends of `flow` in `netns`.
    #[must_use]
    pub fn of(netns: Option<u32>, flow: Flow) -> Self {
        Self { netns, ends: flow.into() }
    }

    /// Likewise, of ends that are packed.
    #[must_use]
    pub fn within(netns: Option<u32>, ends: Ends) -> Self {
        Self { netns, ends }
    }

    /// The network namespace.
    #[must_use]
    pub fn netns(&self) -> Option<u32> {
        self.netns
    }

    /// Whether both have the same ends, wherever they are.
    #[must_use]
    pub fn has_ends_of(&self, other: &Self) -> bool {
        self.ends == other.ends
    }
}

impl Hash for Pair {
    /// In one stroke, as each costs: a [`Flow`] hashes itself in a dozen.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { netns, ends: Ends { local, remote, local_port, remote_port } } = *self;
        let [ours, rest_of_ours]: [u64; 2] = transmute!(local);
        let [peer, rest_of_peer]: [u64; 2] = transmute!(remote);
        let ports = u64::from(local_port) << 16 | u64::from(remote_port);
        let rest = u64::from(netns.unwrap_or(0)) << 32 | ports;
        state.write([ours, rest_of_ours, peer, rest_of_peer, rest].as_bytes());
    }
}

impl From<Pair> for (Option<u32>, Flow) {
    fn from(pair: Pair) -> Self {
        (pair.netns, pair.ends.into())
    }
}

impl From<Flow> for Ends {
    fn from(Flow { local, remote }: Flow) -> Self {
        let (local_port, remote_port) = (local.port(), remote.port());
        Self { local: bytes(local), remote: bytes(remote), local_port, remote_port }
    }
}

impl From<Ends> for Flow {
    fn from(ends: Ends) -> Self {
        Self { local: end(ends.local, ends.local_port), remote: end(ends.remote, ends.remote_port) }
    }
}

fn bytes(end: SocketAddr) -> [u8; 16] {
    match end.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn end(address: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_for_the_hash() {
        let ends = |local: &str, remote: &str| {
            Ends::from(Flow { local: local.parse().unwrap(), remote: remote.parse().unwrap() })
        };
        let hasher = RandomState::new();
        let all: std::collections::BTreeSet<_> = [
            (Some(1), ends("10.0.0.1:80", "10.0.0.2:90")),
            (Some(2), ends("10.0.0.1:80", "10.0.0.2:90")),
            (Some(1), ends("10.0.0.3:80", "10.0.0.2:90")),
            (Some(1), ends("10.0.0.1:81", "10.0.0.2:90")),
            (Some(1), ends("10.0.0.1:80", "10.0.0.3:90")),
            (Some(1), ends("10.0.0.1:80", "10.0.0.2:91")),
            (Some(1), ends("10.0.0.1:90", "10.0.0.2:80")),
        ]
        .map(|(netns, ends)| ends.hash_within(netns, &hasher))
        .into();
        assert_eq!(all.len(), 7);
        assert!(all.iter().all(|hash| {
            *hash != ends("10.0.0.1:80", "10.0.0.2:90").hash_within(Some(1), &RandomState::new())
        }));
    }

    #[test]
    fn ends_come_out_as_they_went_in() {
        for (local, remote) in
            [("10.0.0.1:80", "0.0.0.0:0"), ("[::]:80", "[fe80::1]:7"), ("[::1]:1", "127.0.0.1:2")]
        {
            let flow = Flow { local: local.parse().unwrap(), remote: remote.parse().unwrap() };
            assert_eq!(Flow::from(Ends::from(flow)), flow);
        }
    }
}
