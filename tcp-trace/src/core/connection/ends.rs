//! Both ends in little room: a [`Flow`] takes 64 bytes, this 36.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::core::event::Flow;

/// Addresses and ports; IPv4 as `::ffff:a.b.c.d`, which no flow holds as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    local: [u8; 16],
    remote: [u8; 16],
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
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
    fn ends_come_out_as_they_went_in() {
        for (local, remote) in
            [("10.0.0.1:80", "0.0.0.0:0"), ("[::]:80", "[fe80::1]:7"), ("[::1]:1", "127.0.0.1:2")]
        {
            let flow = Flow { local: local.parse().unwrap(), remote: remote.parse().unwrap() };
            assert_eq!(Flow::from(Ends::from(flow)), flow);
        }
    }
}
