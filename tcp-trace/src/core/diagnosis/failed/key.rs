//! What failures are counted by.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
};

use zerocopy::{IntoBytes as _, transmute};

use crate::core::{close::CloseReason, diagnosis::service::Service};

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::core::diagnosis) enum What {
    /// `connect()`: a RST came.
    Refused,
    /// `connect()`: nothing came, or the process did not wait any longer.
    Unanswered,
    /// `connect()`: there is no way.
    Unreachable,
    /// `connect()`: no local port.
    NoPort,
    /// An open connection ended by a RST, for this reason.
    Reset(CloseReason),
    /// Our SYN was sent again.
    Syn,
    /// Our FIN was sent again.
    Fin,
}

/// What failed, whose, and to which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) what: What,
    pub(super) pid: u32,
    pub(super) netns: Option<u32>,
    pub(super) service: Service,
}

impl Hash for Key {
    /// In one stroke: it is done for each connection that is reset. Peers choose much of it, and the
    /// hasher has a key.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { what, pid, netns, service } = *self;
        let what = match what {
            What::Reset(reason) => 16 + reason as u64,
            What::Refused => 0,
            What::Unanswered => 1,
            What::Unreachable => 2,
            What::NoPort => 3,
            What::Syn => 4,
            What::Fin => 5,
        };
        let (address, port) = match service {
            Service::Of(remote) => (remote.ip(), 1 << 16 | u64::from(remote.port())),
            Service::Ours(port) => (Ipv4Addr::UNSPECIFIED.into(), 2 << 16 | u64::from(port)),
            Service::Other => (Ipv4Addr::UNSPECIFIED.into(), 0),
        };
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let [first, second]: [u64; 2] = transmute!(octets);
        let process = u64::from(pid) << 32 | u64::from(netns.unwrap_or(0));
        state.write([first, second, what << 32 | port, process].as_bytes());
    }
}
