//! Namespaces: found, filtered, new and gone; and the records that tell what stood in them.

use std::{
    fs::{self, File},
    io::BufReader,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
};

use tcp_trace::core::{
    decode,
    event::{Body, Event, Flow, LifeStep},
    recording::{Frame, Reader},
    tcp_state::TcpState as S,
};

use super::{
    actor::Actor,
    daemon::Daemon,
    deadline::until,
    netns::Netns,
    program::{open_directory, program, run},
    snapshot::until_gauges,
    sock::loopback,
    streams::Record,
    truth,
    wire::Wire,
};

/// A namespace made by `ip netns add`, which no process lives in.
#[derive(Debug)]
pub(crate) struct Named(String);

impl Named {
    /// A new one.
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        Self(name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/run/netns/{}", self.0).into()
    }

    /// Its inode.
    pub(crate) fn inode(&self) -> u32 {
        use std::os::unix::fs::MetadataExt as _;
        u32::try_from(fs::metadata(self.path()).unwrap().ino()).unwrap()
    }

    /// `ip -n NAME ...`
    pub(crate) fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip is installed");
    assert!(status.success(), "ip {arguments:?}");
}

/// What a recording tells, in its order.
fn events(file: &std::path::Path) -> Vec<Event> {
    let mut reader = Reader::new(BufReader::new(File::open(file).unwrap())).unwrap();
    let mut events = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        if let Frame::Record { bytes, .. } = frame {
            events.push(decode::event(&decode::record(&bytes).unwrap()).unwrap());
        }
    }
    events
}

/// What is found in a namespace, from the beginning of its first snapshot to its end.
#[derive(Debug, Default)]
struct Found {
    whole: Option<bool>,
    sockets: Vec<(Flow, S)>,
    minis: Vec<(Flow, S, u32)>,
    requests: Vec<Flow>,
}

fn found(events: &[Event], inode: u32) -> Found {
    let mut found = Found::default();
    let mut begun = None;
    for event in events {
        match &event.body {
            Body::State(change) if change.netns == Some(inode) => {
                assert!(begun.is_some(), "a row before its snapshot: {event:?}");
                found.sockets.push((change.flow, change.new));
            }
            Body::Life(life) if life.netns == Some(inode) => match life.what {
                LifeStep::SnapshotBegun { since } => {
                    assert!(since <= event.at);
                    begun = Some(event.at);
                }
                LifeStep::SnapshotEnded { whole } => {
                    assert_eq!(begun, Some(event.at), "a small snapshot has one time");
                    found.whole = Some(whole);
                    return found;
                }
                LifeStep::FoundTimeWait { substate, left_ms } => {
                    found.minis.push((life.flow, substate, left_ms));
                }
                LifeStep::FoundRequest { .. } => found.requests.push(life.flow),
                _ => panic!("{event:?}"),
            },
            _ => {}
        }
    }
    panic!("no snapshot of {inode} has ended: {found:#?}");
}

/// One connection whose client closes first: the client's mini-socket, in `TIME_WAIT`.
fn time_wait(client: &Actor, server: &Actor) -> Flow {
    let listener = server.listen(loopback(true));
    let (first, second) = (client.connect(listener.local()), listener.accept());
    let flow = Flow { local: first.local(), remote: listener.local() };
    first.close();
    second.read_to_end(b"");
    second.close();
    listener.close();
    flow
}

/// Every kind of socket in two namespaces with a wire between them.
#[test]
#[ignore = "needs root"]
fn a_snapshot_shows_all_kinds_of_sockets_in_every_namespace() {
    let wire = Wire::new();
    let (left, right) = (&wire.left, &wire.right);
    let (client, server) = (left.actor("kt-client"), right.actor("kt-server"));
    let local = left.actor("kt-local");
    let waiting = time_wait(&client, &local);
    let six = local.listen(loopback(false));
    let open = client.connect(six.local());
    let listener = server.listen(SocketAddr::new(Wire::right_address(true), 0));
    let half = client.connect(listener.local());
    listener.accept();
    let orphan = Flow { local: half.local(), remote: listener.local() };
    half.close();
    until(
        || format!("{:#?}", truth::gauges(left)),
        || (truth::gauges(left).get("fin_wait2") == Some(&1)).then_some(()),
    );

    // The SYN arrives, its answer does not.
    wire.hold();
    let asking = client.socket(loopback(true));
    asking.set_nonblocking();
    asking.connect(listener.local()).unwrap_err();
    let is_half_open = || truth::sockets(right).iter().any(|row| row.state == S::SynRecv);
    until(
        || format!("{:#?}", truth::sockets(right)),
        || {
            if !is_half_open() {
                wire.deliver();
            }
            is_half_open().then_some(())
        },
    );

    let directory = open_directory();
    let file = Record::start(&directory.path().join("recording"), &[]).interrupt();
    let events = events(&file);
    let here = found(&events, left.inode());
    assert_eq!(here.whole, Some(true));
    let mut minis = here.minis;
    minis.sort_by_key(|(_, substate, _)| substate.index());
    let [(first, S::FinWait2, left_ms), (second, S::TimeWait, also_left)] = minis[..] else {
        panic!("{minis:#?}")
    };
    assert_eq!((first, second), (orphan, waiting));
    assert!((1..=60_000).contains(&left_ms) && (1..=60_000).contains(&also_left), "{minis:?}");
    let ends = |wanted| here.sockets.iter().filter(move |(_, state)| *state == wanted);
    assert!(ends(S::Listen).any(|(flow, _)| flow.local == six.local()));
    assert!(ends(S::Established).any(|(flow, _)| flow.local == open.local()));
    assert!(ends(S::SynSent).any(|(flow, _)| flow.remote == listener.local()));
    assert!(here.requests.is_empty());
    let there = found(&events, right.inode());
    assert_eq!(there.whole, Some(true));
    let [request] = there.requests[..] else { panic!("{there:#?}") };
    assert_eq!((request.local, request.remote), (listener.local(), asking.local()));
    let states: Vec<_> = there.sockets.iter().map(|(_, state)| *state).collect();
    assert!(states.contains(&S::Listen) && states.contains(&S::CloseWait), "{there:#?}");
    assert!(there.minis.is_empty(), "{there:#?}");

    let daemon = Daemon::start(&[left, right], &[]);
    until_gauges(&daemon, &[left, right]);
    let gauges = daemon.metrics().gauges();
    assert_eq!((gauges["time_wait"], gauges["fin_wait2"]), (1, 1), "{gauges:?}");
}

/// A namespace that nobody lives in is found by its mount, and one that only a descriptor keeps by
/// that.
#[test]
#[ignore = "needs root"]
fn a_namespace_without_processes_is_found() {
    let named = Named::new("kt-mounted");
    let kept = {
        let going = Named::new("kt-kept");
        (going.inode(), File::open(going.path()).unwrap())
    };
    // Held by another process than the recorder: this one.
    let directory = open_directory();
    let file = Record::start(&directory.path().join("recording"), &[]).interrupt();
    let events = events(&file);
    assert_eq!(found(&events, named.inode()).whole, Some(true));
    assert_eq!(found(&events, kept.0).whole, Some(true));
    drop(kept);
}

#[test]
#[ignore = "needs root"]
fn a_namespace_is_chosen_by_name_path_or_number() {
    let named = Named::new("kt-chosen");
    named.ip(&["link", "set", "lo", "up"]);
    let inode = named.inode().to_string();
    let path = named.path().display().to_string();
    for choice in [named.name(), &path, &inode] {
        let daemon = Daemon::start(&[], &["--netns", choice]);
        let status: tcp_trace::api::Status =
            serde_json::from_str(&daemon.get("/api/v1/status")).unwrap();
        assert_eq!(status.netns, [named.inode()], "{choice}");
        let metrics = daemon.metrics();
        assert_eq!(metrics.count("tcp_trace_namespaces"), 1, "{choice}");
        assert_eq!(metrics.count("tcp_trace_snapshots_total{result=\"whole\"}"), 1, "{choice}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_namespace_that_has_gone_is_named_at_start_and_harmless_later() {
    let named = Named::new("kt-going");
    let (name, path) = (named.name().to_owned(), named.path().display().to_string());
    let daemon = Daemon::reconciling(&[], 100, &["--netns", &name]);
    drop(named);
    until(
        || format!("the namespace is not gone:\n{}", daemon.log()),
        || (daemon.metrics().count("tcp_trace_namespaces_gone_total") == 1).then_some(()),
    );
    assert_eq!(daemon.get("/readyz"), "ready\n");
    // A number is no test: the kernel may give it to the next namespace at once, and it is believed
    // where not every process may be looked into.
    for choice in [&name, &path] {
        let ran = run(program().args(["list", "--socket=/nonexistent/socket", "--netns", choice]));
        ran.failed(1, &["network namespace", choice, "/run/netns/", "ip netns list"]);
    }
}

/// Tracing holds no namespace: it is gone once its owner lets go, whoever traces.
#[test]
#[ignore = "needs root"]
fn tracing_keeps_no_namespace_alive() {
    let daemon = Daemon::reconciling(&[], 100, &[]);
    let before = daemon.metrics().count("tcp_trace_namespaces");
    let netns = Netns::new();
    let inode = netns.inode();
    until(
        || "the new namespace is not found".to_owned(),
        || (daemon.metrics().count("tcp_trace_namespaces") > before).then_some(()),
    );
    let links = || {
        let fds = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        let target = |fd: fs::DirEntry| fs::read_link(fd.path()).ok();
        fds.filter_map(|fd| target(fd.unwrap())).any(|link| link.starts_with("net:"))
    };
    until(|| "a namespace is held open".to_owned(), || (!links()).then_some(()));
    drop(netns);
    let told = format!("netns={inode}");
    until(
        || format!("{inode} is not gone:\n{}", daemon.log()),
        || daemon.log().lines().any(|line| line.contains(&told)).then_some(()),
    );
}
