//! Both ends in little room: a [`Flow`] takes 64 bytes, this 36.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

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
    /// A hash that nobody can foresee who does not know the hasher's key: peers choose their ends. In
    /// few strokes, as each costs: a [`Flow`] hashes itself in a dozen.
    #[must_use]
    pub fn hash_within(&self, netns: Option<u32>, hasher: &RandomState) -> u64 {
        let mut hasher = hasher.build_hasher();
        hasher.write(&self.local);
        hasher.write(&self.remote);
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        hasher.write_u64(u64::from(netns.unwrap_or(0)) << 32 | ports);
        hasher.finish()
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
