//! Whose a connection is: whoever connects, accepts, inherits it or gets it passed on.
//!
//! What can be known depends on what is attached. Who accepts is known at once where `accept()` is
//! hooked; elsewhere the next look at everybody's descriptors tells who holds the socket.
//!
//! A call is better evidence than a descriptor (`core::owner`): whoever connected or, where that is
//! hooked, accepted stays the owner, also when the socket goes on in other hands.
//!
//! There is no scenario with a socket of the kernel's own: what makes one (NFS, SMB, disks over TCP)
//! needs modules and peers that a test host does not have.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use tcp_trace::api::{Connection, ConnectionList, Endpoint, Owner, Status};

use super::{
    actor::{Actor, Arg, PASS_RECEIVE, PASS_SEND},
    daemon::Daemon,
    deadline::until_good,
    netns::Netns,
    sock::{Sock, loopback},
};

/// What is told at once may lag by the reorder window.
const AT_ONCE: Duration = Duration::from_secs(5);
/// A round of reconciliation with the kernel, and what it takes.
const ONE_ROUND: Duration = Duration::from_secs(40);

/// Which calls are hooked, as far as it matters here: who connects is known either way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    /// `accept()`.
    pub(crate) accept: bool,
    /// Births of mini-sockets, which are then counted in the kernel.
    pub(crate) mini_sockets: bool,
    /// Everything that would otherwise be found by looking: calls, mini-sockets and requests.
    pub(crate) all: bool,
}

impl Attached {
    /// As the daemon says.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let status: Status = serde_json::from_str(&daemon.get("/api/v1/status")).unwrap();
        let has = |program: &str| {
            let mut hooks = status.hooks.iter();
            hooks.any(|hook| hook.attached && hook.program.starts_with(program))
        };
        let all = ["connect_", "accept_", "close_", "time_wait_born_", "time_wait_ended_"];
        let all = all.into_iter().chain(["time_wait_enter_", "time_wait_leave_", "request_"]);
        Self {
            accept: has("accept_"),
            mini_sockets: has("time_wait_born_"),
            all: all.into_iter().all(has),
        }
    }
}

/// A namespace with a daemon.
struct Scene {
    netns: Netns,
    daemon: Daemon,
    attached: Attached,
}

impl Scene {
    fn new() -> Self {
        let netns = Netns::new();
        let daemon = Daemon::reconciling(&[&netns], 1_000, &[]);
        let attached = Attached::of(&daemon);
        Self { netns, daemon, attached }
    }

    /// The connection between these ends, open or closed not long ago.
    fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<Connection> {
        let port = local.port();
        let body = self.daemon.get(&format!("/api/v1/connections?limit=0&closed=true&port={port}"));
        let list: ConnectionList = serde_json::from_str(&body).unwrap();
        let end = |end: &Endpoint| SocketAddr::new(end.addr, end.port);
        let is = |known: &Connection| (end(&known.local), end(&known.remote)) == (local, remote);
        list.connections.into_iter().find(is)
    }

    /// Waits until the end at `local` is told to be `name`'s, process `pid`, by `source`.
    #[track_caller]
    fn owned(
        &self,
        (local, remote): (SocketAddr, SocketAddr),
        (pid, name): (u32, &str),
        source: &str,
        patience: Duration,
    ) -> Connection {
        let wanted =
            |owner: &Owner| (owner.pid, &*owner.comm, &*owner.source) == (pid, name, source);
        let look = || match self.find(local, remote) {
            Some(known) if known.owner.as_ref().is_some_and(wanted) => Ok(()),
            known => Err(format!(
                "{local} {remote} should be {name}'s ({pid}) by {source} and is {known:#?} ({:?})",
                self.attached
            )),
        };
        let start = Instant::now();
        until_good(patience, Duration::from_millis(50), look).unwrap();
        println!("{name} by {source} after {:?}", start.elapsed());
        self.find(local, remote).unwrap()
    }

    /// The same of a socket that `actor` has accepted: at once, or after a round.
    #[track_caller]
    fn accepted(&self, ends: (SocketAddr, SocketAddr), actor: &Actor) -> Connection {
        let (source, patience) =
            if self.attached.accept { ("accept", AT_ONCE) } else { ("descriptor", ONE_ROUND) };
        self.owned(ends, (actor.pid(), self.comm(actor)), source, patience)
    }

    /// The same of a socket that `first` has accepted, and that only `holder` still holds.
    #[track_caller]
    fn held(&self, ends: (SocketAddr, SocketAddr), first: &Actor, holder: &Actor) {
        if self.attached.accept {
            self.owned(ends, whose(first), "accept", AT_ONCE);
        } else {
            self.owned(ends, whose(holder), "descriptor", 2 * ONE_ROUND);
        }
    }

    /// The name that is told: of the thread that called where that is known, else of the process,
    /// which is what `/proc/PID/comm` has.
    fn comm<'a>(&self, actor: &'a Actor) -> &'a str {
        if self.attached.accept { actor.name() } else { actor.process_name() }
    }
}

fn ends(client: Sock<'_>, server: Sock<'_>) -> (SocketAddr, SocketAddr) {
    (client.local(), server.local())
}

fn turned((one, other): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    (other, one)
}

fn whose(actor: &Actor) -> (u32, &str) {
    (actor.pid(), actor.name())
}

#[test]
#[ignore = "needs root"]
fn a_forked_child_owns_what_it_accepts() {
    let scene = Scene::new();
    let (client, parent) = (scene.netns.actor("ow-client"), scene.netns.actor("ow-parent"));
    let listener = parent.listen(loopback(true));
    let child = parent.fork("ow-child");
    let connected = client.connect(listener.local());
    let accepted = Sock::at(&child, listener.descriptor()).accept();
    let ends = ends(connected, accepted);
    let told = scene.owned(ends, whose(&client), "connect", AT_ONCE);
    assert_eq!(told.direction, "outbound");
    let told = scene.accepted(turned(ends), &child);
    assert_eq!(told.direction, "inbound");
}

#[test]
#[ignore = "needs root"]
fn what_a_parent_accepts_and_a_child_inherits_is_looked_for_where_it_is_held() {
    let scene = Scene::new();
    let (client, parent) = (scene.netns.actor("ow-client"), scene.netns.actor("ow-parent"));
    let listener = parent.listen(loopback(false));
    let connected = client.connect(listener.local());
    let accepted = listener.accept();
    let ends = ends(connected, accepted);
    scene.accepted(turned(ends), &parent);
    let child = parent.fork("ow-child");
    accepted.close();
    scene.held(turned(ends), &parent, &child);
}

#[test]
#[ignore = "needs root"]
fn a_socket_passed_on_is_looked_for_where_it_is_held() {
    let scene = Scene::new();
    let (client, server) = (scene.netns.actor("ow-client"), scene.netns.actor("ow-server"));
    let worker = scene.netns.actor("ow-worker");
    let listener = server.listen(loopback(true));
    let connected = client.connect(listener.local());
    let accepted = listener.accept();
    let ends = ends(connected, accepted);

    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let (from, to) = (server.adopt(one.as_fd()), worker.adopt(other.as_fd()));
    let send = [Arg::Number(from), Arg::Number(accepted.descriptor())];
    server.call(PASS_SEND, &send).unwrap();
    accepted.close();
    let received = worker.call(PASS_RECEIVE, &[Arg::Number(to)]).unwrap().value;
    scene.held(turned(ends), &server, &worker);

    // It is as alive as ever.
    connected.send(b"1");
    Sock::at(&worker, received).wait_for(1);
}

#[test]
#[ignore = "needs root"]
fn a_threads_connections_are_its_processes() {
    let scene = Scene::new();
    let (client, server) = (scene.netns.actor("ow-client"), scene.netns.actor("ow-server"));
    let (connects, accepts) = (client.thread("ow-connects"), server.thread("ow-accepts"));
    let listener = server.listen(loopback(true));
    let connected = connects.connect(listener.local());
    let accepted = Sock::at(&accepts, listener.descriptor()).accept();
    let ends = ends(connected, accepted);
    // The process's number, and the name of the thread.
    scene.owned(ends, (client.pid(), "ow-connects"), "connect", AT_ONCE);
    scene.accepted(turned(ends), &accepts);
}

#[test]
#[ignore = "needs root"]
fn a_socket_outlives_the_process_that_made_it() {
    let scene = Scene::new();
    let (parent, server) = (scene.netns.actor("ow-parent"), scene.netns.actor("ow-server"));
    let listener = server.listen(loopback(true));
    let maker = parent.fork("ow-maker");
    let connected = maker.connect(listener.local());
    let accepted = listener.accept();
    let (ends, descriptor) = (ends(connected, accepted), connected.descriptor());
    let known = scene.owned(ends, whose(&maker), "connect", AT_ONCE);
    let heir = maker.fork("ow-heir");
    // The heir goes with the maker, unless it is told not to.
    heir.outlive();
    let made_by = (maker.pid(), maker.name().to_owned());
    maker.kill();
    Sock::at(&heir, descriptor).send(b"1");
    accepted.wait_for(1);
    let still = scene.owned(ends, (made_by.0, &made_by.1), "connect", AT_ONCE);
    assert_eq!((still.id, &*still.state), (known.id, "established"));
}

#[test]
#[ignore = "needs root"]
fn time_wait_keeps_the_owner_of_a_process_that_is_gone() {
    let scene = Scene::new();
    let (client, server) = (scene.netns.actor("ow-client"), scene.netns.actor("ow-server"));
    let listener = server.listen(loopback(true));
    let connected = client.connect(listener.local());
    let accepted = listener.accept();
    let ends = ends(connected, accepted);
    let (pid, name) = (client.pid(), client.name().to_owned());
    // Its end closes the socket.
    client.kill();
    accepted.read_to_end(b"");
    accepted.close();
    let told = scene.owned(ends, (pid, &name), "connect", AT_ONCE);
    let look = || match scene.find(ends.0, ends.1) {
        Some(known) if known.state == "time_wait" => Ok(()),
        known => Err(format!("{known:#?}")),
    };
    until_good(ONE_ROUND, Duration::from_millis(50), look).unwrap();
    let still = scene.owned(ends, (pid, &name), "connect", AT_ONCE);
    assert_eq!(told.id, still.id, "one connection from the first to the last");
}

/// The namespace's own processes sit in the test's cgroup, and run its program.
#[test]
#[ignore = "needs root"]
fn program_and_cgroup_are_told() {
    let scene = Scene::new();
    let (client, server) = (scene.netns.actor("ow-client"), scene.netns.actor("ow-server"));
    let listener = server.listen(loopback(true));
    let connected = client.connect(listener.local());
    let accepted = listener.accept();
    let ends = ends(connected, accepted);
    scene.accepted(turned(ends), &server);
    let exe = std::env::current_exe().unwrap().display().to_string();
    let lines = std::fs::read_to_string(format!("/proc/{}/cgroup", client.pid())).unwrap();
    let paths: BTreeSet<_> = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    for ends in [ends, turned(ends)] {
        let look = || {
            let owner = scene.find(ends.0, ends.1).and_then(|known| known.owner).unwrap();
            let in_cgroup = owner.cgroup.as_deref().is_some_and(|path| paths.contains(path));
            let right = owner.exe.as_deref() == Some(&exe) && in_cgroup;
            if right { Ok(()) } else { Err(format!("{owner:#?}, not {exe} in {paths:?}")) }
        };
        until_good(AT_ONCE, Duration::from_millis(50), look).unwrap();
    }
}
