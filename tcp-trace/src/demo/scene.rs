//! The scene in numbers: how many, how often, and what its network namespace is set to.

use std::time::Duration;

/// How long a socket stands still until it counts as stuck: on a host it is a minute.
pub(crate) const OLD: Duration = Duration::from_secs(5);
/// By when everything must be over, once it is traced.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// How long the players may take to stop, and the rest to be found, even if that comes later.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at the diagnosis.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// Local ports of the namespace: the first and the last.
pub(crate) const PORTS: (u16, u16) = (50_000, 50_199);
/// How many that is.
pub(crate) const PORT_COUNT: u16 = PORTS.1 - PORTS.0 + 1;
/// Between two connections of the client that burns through them: 15 a second.
pub(crate) const BURN: Duration = Duration::from_nanos(66_666_667);
/// Of so many ports the rest is taken more slowly, until their end has been foretold: on a busy host
/// that takes a while.
pub(crate) const FAST: u64 = 100;
/// Between two connections from there on. At 5 a second there are still more in a minute, for which
/// each is kept, than there are ports.
pub(crate) const SLOW_BURN: Duration = Duration::from_millis(200);
/// Between two of its attempts once there is none left.
pub(crate) const DESPAIR: Duration = Duration::from_millis(200);
/// Attempts that have to fail.
pub(crate) const FAILURES: u64 = 10;

/// Between two visits that the server forgets to close.
pub(crate) const FORGET: Duration = Duration::from_millis(400);
/// Visits at most, so that they do not take many ports themselves: each keeps one for a minute, in
/// `FIN_WAIT2`.
pub(crate) const VISITS: u32 = 40;
/// Visits that it must have forgotten, and that must have been found.
pub(crate) const FORGOTTEN: u64 = 12;
/// Descriptors that it may have, so that their end is in sight.
pub(crate) const DESCRIPTORS: u64 = 256;
/// Visits that nobody reads, and as many that nobody accepts.
pub(crate) const UNHEARD: u64 = 8;
/// How long a visitor waits for the server that does not accept.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// Connections that the pool keeps.
pub(crate) const POOL: usize = 6;
/// Between two requests of the pool, which go round.
pub(crate) const USE: Duration = Duration::from_millis(100);
/// Requests after which the server closes a connection that is kept alive.
pub(crate) const KEPT_ALIVE: u32 = 4;
/// Connections that the pool must have replaced.
pub(crate) const REPLACED: u64 = 6;

/// Settings of the namespace, below `/proc/sys/net`. On loopback Linux would give ports in
/// `TIME_WAIT` out again; as between hosts it shall not.
pub(crate) fn settings() -> [(&'static str, String); 3] {
    [
        ("ipv4/ip_local_port_range", format!("{} {}", PORTS.0, PORTS.1)),
        ("ipv4/tcp_tw_reuse", "0".to_owned()),
        ("ipv4/tcp_max_tw_buckets", "8192".to_owned()),
    ]
}
