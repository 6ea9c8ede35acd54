//! A storm: two namespaces, joined, with workers between them and within each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    random::Random,
    veth,
    worker::{Kind, Worker},
};
use crate::netns::Netns;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("it is a number"))
}

/// Connections in a storm: `TCP_TRACE_STORM`.
pub(super) fn size() -> usize {
    usize::try_from(setting("TCP_TRACE_STORM", 10_000)).unwrap()
}

/// The namespaces and the workers.
#[derive(Debug)]
pub(super) struct Storm {
    // The processes end before the namespaces' own.
    pub(super) workers: Vec<Worker>,
    pub(super) left: Netns,
    pub(super) right: Netns,
}

impl Storm {
    /// Everything but connections; by chance from the seed in `TCP_TRACE_SEED`.
    pub(super) fn new(left: Netns, right: Netns) -> Self {
        let seed = setting("TCP_TRACE_SEED", 20_260_101);
        println!("TCP_TRACE_SEED={seed} TCP_TRACE_STORM={}", size());
        let random = |worker| Random::new(seed.wrapping_mul(16).wrapping_add(worker));
        let workers = vec![
            Worker::new(&left, &right, |v4| veth::address(v4, 2), random(0)),
            Worker::new(&right, &left, |v4| veth::address(v4, 1), random(1)),
            Worker::new(&left, &left, loopback, random(2)),
            Worker::new(&right, &right, loopback, random(3)),
        ];
        Self { workers, left, right }
    }

    /// Two namespaces, joined, with ports enough for what stays in `TIME_WAIT`.
    pub(super) fn ground() -> (Netns, Netns) {
        let (left, right) = (Netns::new(), Netns::new());
        veth::join(&left, &right);
        for netns in [&left, &right] {
            netns.set("ipv4/ip_local_port_range", "16384 65000");
        }
        (left, right)
    }

    /// Both namespaces.
    pub(super) fn netns(&self) -> [&Netns; 2] {
        [&self.left, &self.right]
    }

    /// Makes `count` connections, all workers at once.
    pub(super) fn blow(&mut self, count: usize) {
        let each = count.div_ceil(self.workers.len());
        std::thread::scope(|scope| {
            for worker in &mut self.workers {
                scope.spawn(move || worker.make(each));
            }
        });
    }

    /// How many connections of a kind there were.
    pub(super) fn of_kind(&self, kind: Kind) -> u64 {
        self.workers.iter().filter_map(|worker| worker.made.kinds.get(&kind)).sum()
    }

    /// How many `connect()` calls.
    pub(super) fn connects(&self) -> u64 {
        self.workers.iter().map(|worker| worker.made.connects).sum()
    }
}

fn loopback(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}
