//! What goes wrong is found soon, with its cause and whose doing it is; what only looks like it is
//! left alone.
//!
//! The daemon's thresholds are shortened: a second is old, and the host is looked at three times a
//! second.
//!
//! | module | has |
//! |---|---|
//! | `close_wait` | sockets that are not closed, by cause, and those that are over |
//! | `closing` | `FIN_WAIT2` that a peer keeps, `LAST_ACK` without an answer |
//! | `ports` | local ports that run out |
//! | `backlog` | handshakes and connections that nobody completes or accepts |
//! | `failed` | refused, unanswered, reset, sent again |
//! | `bounds` | mini-sockets and orphans near their limits |
//! | `no_leak` | a pool, a slow reader, half-closed streams |
//! | `interrupted` | a daemon that starts again, and one that misses ten seconds |

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tcp_trace::{
    api::{Diagnosis, Finding},
    core::tcp_state::TcpState,
};

use super::{
    actor::{self, Actor},
    daemon::Daemon,
    deadline::{self, until},
    flood,
    netns::Netns,
    sock::{self, Sock, loopback},
    stopped, truth,
    wire::Wire,
};

#[path = "diagnosis/backlog.rs"]
mod backlog;
#[path = "diagnosis/bounds.rs"]
mod bounds;
#[path = "diagnosis/close_wait.rs"]
mod close_wait;
#[path = "diagnosis/closing.rs"]
mod closing;
#[path = "diagnosis/failed.rs"]
mod failed;
#[path = "diagnosis/interrupted.rs"]
mod interrupted;
#[path = "diagnosis/no_leak.rs"]
mod no_leak;
#[path = "diagnosis/ports.rs"]
mod ports;

/// How often the daemon compares its table with the host.
const ROUND_MS: u32 = 300;
/// What it is told besides.
const OLDER_THAN: [&str; 2] = ["--older-than", "1s"];
/// How old is old.
const OLD: Duration = Duration::from_secs(1);
/// In which a finding must be there once its sockets are old: two rounds, and what a busy host adds.
const SOON: Duration = Duration::from_secs(5);
/// Sockets of each kind.
const MANY: u64 = 4;

/// A namespace with two processes, and a daemon that diagnoses it.
struct Ward {
    netns: Netns,
    client: Actor,
    server: Actor,
    daemon: Daemon,
}

/// The same, with a wire between the two. Only one of the ends is diagnosed, or both.
struct Apart {
    wire: Wire,
    client: Actor,
    server: Actor,
    daemon: Daemon,
}

/// Which end of the wire the daemon looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traced {
    Client,
    Server,
    Both,
}

impl Ward {
    fn new(settings: &[(&str, &str)]) -> Self {
        Self::with(settings, &[])
    }

    fn with(settings: &[(&str, &str)], arguments: &[&str]) -> Self {
        let netns = Netns::new();
        for (setting, value) in settings {
            netns.set(setting, value);
        }
        let (client, server) = (netns.actor("dg-client"), netns.actor("dg-server"));
        let arguments = [&OLDER_THAN, arguments].concat();
        let daemon = Daemon::reconciling(&[&netns], ROUND_MS, &arguments);
        Self { netns, client, server, daemon }
    }

    fn diagnosis(&self) -> Diagnosis {
        diagnosis(&self.daemon, "")
    }

    /// See [`finds`].
    #[track_caller]
    fn finds(&self, kind: &str, is: impl Fn(&Finding) -> bool) -> Finding {
        finds(&self.daemon, "", kind, is)
    }

    fn listen(&self) -> Sock<'_> {
        self.server.listen(loopback(true))
    }
}

impl Apart {
    /// `settings` are of the ends that are traced.
    fn new(traced: Traced, settings: &[(&str, &str)]) -> Self {
        let wire = Wire::new();
        let netns: &[&Netns] = match traced {
            Traced::Client => &[&wire.left],
            Traced::Server => &[&wire.right],
            Traced::Both => &[&wire.left, &wire.right],
        };
        for netns in netns {
            for (setting, value) in settings {
                netns.set(setting, value);
            }
        }
        let (client, server) = (wire.left.actor("dg-client"), wire.right.actor("dg-server"));
        let daemon = Daemon::reconciling(netns, ROUND_MS, &OLDER_THAN);
        Self { wire, client, server, daemon }
    }

    fn listen(&self) -> Sock<'_> {
        self.server.listen((Wire::right_address(true), 0).into())
    }

    fn pair(&self, listener: Sock<'_>) -> (Sock<'_>, Sock<'_>) {
        let client = self.client.connect(listener.local());
        let server = Sock::at(&self.server, listener.accept().descriptor());
        (client, server)
    }

    /// See [`finds`].
    #[track_caller]
    fn finds(&self, kind: &str, is: impl Fn(&Finding) -> bool) -> Finding {
        finds(&self.daemon, "", kind, is)
    }
}

/// The diagnosis by these thresholds, as a query.
fn diagnosis(daemon: &Daemon, thresholds: &str) -> Diagnosis {
    serde_json::from_str(&daemon.get(&format!("/api/v1/diagnosis?{thresholds}"))).unwrap()
}

/// Waits for a finding of this kind; it must be there soon.
#[track_caller]
fn finds(daemon: &Daemon, thresholds: &str, kind: &str, is: impl Fn(&Finding) -> bool) -> Finding {
    let begun = Instant::now();
    let findings = || diagnosis(daemon, thresholds).findings;
    let found = until(
        || format!("no {kind} as expected in {:#?}", findings()),
        || findings().into_iter().find(|found| found.kind == kind && is(found)),
    );
    assert!(begun.elapsed() < OLD + SOON, "it took {:?}", begun.elapsed());
    found
}

/// Waits until nothing is found any more.
#[track_caller]
fn until_calm(daemon: &Daemon) {
    let findings = || diagnosis(daemon, "").findings;
    until(|| format!("{:#?}", findings()), || findings().is_empty().then_some(()));
}

fn pid(found: &Finding) -> Option<u32> {
    found.process.as_ref().map(|owner| owner.pid)
}

/// A service of this host's own.
#[expect(clippy::unnecessary_wraps, reason = "as a finding has it")]
fn port(at: SocketAddr) -> Option<String> {
    Some(format!("port {}", at.port()))
}

/// Waits until the kernel has so many sockets in this state, mini-sockets or full ones.
#[track_caller]
fn until_there_are(netns: &Netns, count: usize, state: TcpState, mini: bool) {
    let is = |row: &&truth::Row| row.state == state && row.mini == mini;
    let there = || truth::with_minis(netns).iter().filter(is).count();
    until(
        || format!("{} in {} and not {count}", there(), state.name()),
        || (there() == count).then_some(()),
    );
}

/// A figure of the namespace's `sockstat`, such as `orphan` or `tw`.
fn sockstat(netns: &Netns, name: &str) -> u64 {
    let text = std::fs::read_to_string(netns.proc().join("sockstat")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: ")).unwrap();
    let mut words = line.split(' ').skip_while(|word| *word != name);
    words.nth(1).unwrap().parse().unwrap()
}
