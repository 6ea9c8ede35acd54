//! Connections that do not come about in the ordinary way: Fast Open, MPTCP, v4-mapped addresses,
//! SYNs that cross.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tcp_trace::{api::Connection, core::tcp_state::TcpState as S};

use super::{
    actor::{Actor, Arg},
    deadline::until,
    snapshot::until_gauges,
    sock::{Sock, loopback},
    story::{Ends, Scene, agrees, changes, counts, looking_on, tells, turned, words},
    truth,
    wire::Wire,
};

const OUTBOUND: &str = "tcp_trace_connections_opened_total{direction=\"outbound\"}";
const INBOUND: &str = "tcp_trace_connections_opened_total{direction=\"inbound\"}";
/// Client and server speak it, without cookies: with those, the first connection would be as any.
const FAST_OPEN: &str = "519";

fn is_open(known: &Connection) -> bool {
    known.state == "established"
}

/// A listener that takes data along with a SYN.
fn fast_listener(server: &Actor, at: SocketAddr) -> Sock<'_> {
    let listener = server.socket(at);
    listener.bind(at).unwrap();
    listener.set_number(libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 5);
    listener.listen(5);
    listener
}

#[test]
#[ignore = "needs root"]
fn fast_open_takes_data_along_with_the_syn() {
    Scene::play(&[("ipv4/tcp_fastopen", FAST_OPEN)], |scene| {
        let listener = fast_listener(&scene.server, loopback(scene.v4));
        let client = scene.client.socket(listener.local());
        client.send_fast(listener.local(), b"early").unwrap();
        let ends = (client.local(), listener.local());
        let server = listener.accept();
        server.wait_for(5);
        let fast = (scene.mib("TCPFastOpenActive"), scene.mib("TCPFastOpenPassive"));
        assert_eq!(fast, (1, 1), "the data went with the SYN");
        let outbound = scene.tells(ends, "open", is_open);
        assert_eq!(changes(&outbound), "close>syn_sent syn_sent>established");
        assert_eq!(outbound.owner.as_ref().unwrap().pid, scene.client.pid());
        let inbound = scene.tells(turned(ends), "open", is_open);
        assert_eq!(changes(&inbound), "listen>syn_recv syn_recv>established");
        agrees(scene);
        server.receive().unwrap();
        client.close();
        server.read_to_end(b"");
        server.close();
        let told = scene.tells(turned(ends), "over", |known| known.closed_at.is_some());
        assert_eq!(told.close_reason.as_deref(), Some("fin_passive"), "{told:#?}");
        assert_eq!((told.bytes_received, told.bytes_sent), (Some(5), Some(0)), "{told:#?}");
        agrees(scene);
        let metrics = scene.daemon.metrics();
        assert_eq!((metrics.count(OUTBOUND), metrics.count(INBOUND)), (1, 1));
    });
}

/// The server has and uses the connection before the handshake is over.
#[test]
#[ignore = "needs root"]
fn fast_open_is_accepted_before_it_is_established() {
    for v4 in [true, false] {
        let wire = Wire::new();
        wire.left.set("ipv4/tcp_fastopen", FAST_OPEN);
        wire.right.set("ipv4/tcp_fastopen", FAST_OPEN);
        let (client, server) = (wire.left.actor("va-client"), wire.right.actor("va-server"));
        let daemon = looking_on(&[&wire.left, &wire.right]);
        let listener = fast_listener(&server, (Wire::right_address(v4), 0).into());
        wire.hold();
        let sock = client.socket(listener.local());
        sock.set_nonblocking();
        sock.send_fast(listener.local(), b"early").unwrap();
        let ends = (sock.local(), listener.local());
        wire.until_held(0);
        wire.deliver_to(1);
        let accepted = listener.accept();
        accepted.wait_for(5);
        until(
            || format!("{:#?}", truth::sockets(&wire.right)),
            || stands(&wire, turned(ends), S::SynRecv).then_some(()),
        );
        // Whoever is told of accept() knows both ends by now; elsewhere a snapshot does.
        let known = tells(&daemon, turned(ends), "accepted", |known| known.state == "syn_recv");
        assert_eq!(known.direction, "inbound", "{known:#?}");
        assert_eq!(known.owner.as_ref().unwrap().pid, server.pid());
        assert_eq!(words(&known)[0], "listen>syn_recv", "{known:#?}");
        if daemon.hooks("accept_") {
            let steps = known.timeline.as_deref().unwrap();
            let accept = steps.iter().find(|step| step.call.is_some()).unwrap();
            assert!(accept.text.contains("before the handshake was over"), "{known:#?}");
        }
        // What a request would be is a socket here.
        counts(&daemon, "tcp_trace_half_open", 0);
        counts(&daemon, "tcp_trace_connections{state=\"syn_recv\"}", 1);
        wire.release();
        for ends in [ends, turned(ends)] {
            let told = tells(&daemon, ends, "open", is_open);
            assert!(told.complete, "{told:#?}");
        }
        until_gauges(&daemon, &[&wire.left, &wire.right]);

        // One that its client gives up, before the handshake is over.
        wire.hold();
        let sock = client.socket(listener.local());
        sock.set_nonblocking();
        sock.send_fast(listener.local(), b"early").unwrap();
        let ends = (sock.local(), listener.local());
        wire.until_held(0);
        wire.deliver_to(1);
        let accepted = listener.accept();
        sock.close();
        wire.forget();
        wire.release();
        // The SYN-ACK, sent again, finds nobody.
        assert_eq!(accepted.receive().unwrap(), b"early");
        let error = accepted.receive().unwrap_err();
        assert!([ErrorKind::ConnectionReset, ErrorKind::ConnectionRefused].contains(&error.kind()));
        let told = tells(&daemon, turned(ends), "over", |known| known.closed_at.is_some());
        assert_eq!(changes(&told), "listen>syn_recv syn_recv>close", "{told:#?}");
        assert_eq!(told.close_reason.as_deref(), Some("rst_received"), "{told:#?}");
        assert_eq!(told.closed_by.as_deref(), Some("remote"), "{told:#?}");
        assert_eq!(daemon.metrics().count("tcp_trace_illegal_transitions_total"), 0);
    }
}

fn stands(wire: &Wire, ends: Ends, state: S) -> bool {
    let rows = [&wire.left, &wire.right].into_iter().flat_map(truth::sockets);
    rows.filter(|row| (row.local, row.remote) == ends).any(|row| row.state == state)
}

/// The connections that the kernel and its own counters show are the subflows; what the process
/// holds is their parent, listed and not counted.
#[test]
#[ignore = "needs root"]
fn an_mptcp_connection_is_counted_once() {
    Scene::play(&[], |scene| {
        let at = loopback(scene.v4);
        let Some(listener) = multipath(&scene.server, at) else {
            // A kernel without it: an ordinary connection is nobody's parent and nobody's subflow.
            let pair = scene.pair();
            for ends in [pair.ends, turned(pair.ends)] {
                assert_eq!(scene.tells(ends, "open", is_open).mptcp, None);
            }
            return;
        };
        listener.bind(at).unwrap();
        listener.listen(5);
        let before = truth::mib(&scene.netns, "Tcp", "ActiveOpens");
        let client = multipath(&scene.client, at).unwrap();
        client.connect(listener.local()).unwrap();
        let server = listener.accept();
        let ends = (client.local(), listener.local());
        client.send(b"12345");
        server.wait_for(5);
        assert_eq!(truth::mib(&scene.netns, "Tcp", "ActiveOpens") - before, 1);
        for ends in [ends, turned(ends)] {
            let labels = || {
                let stories = scene.daemon.stories(ends.0, ends.1);
                let mut labels: Vec<_> = stories.into_iter().map(|known| known.mptcp).collect();
                labels.sort();
                labels
            };
            let subflow = |label: &Option<String>| label.as_deref() == Some("subflow");
            until(
                || format!("{:#?}", scene.daemon.stories(ends.0, ends.1)),
                || (labels().iter().filter(|label| subflow(label)).count() == 1).then_some(()),
            );
            assert!(labels().iter().flatten().all(|l| ["parent", "subflow"].contains(&&**l)));
            assert!(!labels().contains(&None), "{:#?}", scene.daemon.stories(ends.0, ends.1));
        }
        // The listener's parent and each end's; of the server's, cloned off the listener, too.
        let parents = || {
            let open = scene.daemon.open().into_iter();
            let parents = open.filter(|known| known.mptcp.as_deref() == Some("parent"));
            let fact = |known: Connection| (known.state, known.direction, known.owner.unwrap().pid);
            let mut facts: Vec<_> = parents.map(fact).collect();
            facts.sort();
            facts
        };
        let fact = |state: &str, direction: &str, actor: &Actor| {
            (state.to_owned(), direction.to_owned(), actor.pid())
        };
        let wanted = [
            fact("established", "inbound", &scene.server),
            fact("established", "outbound", &scene.client),
            fact("listen", "unknown", &scene.server),
        ];
        until(|| format!("{:#?}", scene.daemon.open()), || (parents() == wanted).then_some(()));
        let opened = scene.daemon.metrics();
        assert_eq!((opened.count(OUTBOUND), opened.count(INBOUND)), (1, 1));
        agrees(scene);

        assert_eq!(server.receive().unwrap(), b"12345");
        client.close();
        server.read_to_end(b"");
        server.close();
        listener.close();
        until(
            || format!("{:#?}", scene.daemon.open()),
            || scene.daemon.open().iter().all(|known| known.mini).then_some(()),
        );
        agrees(scene);
        let closed = scene.daemon.metrics().nonzero("tcp_trace_connections_closed_total");
        assert_eq!(closed.values().sum::<u64>(), 2, "one at each end: {closed:?}");
    });
}

/// An MPTCP socket, where the kernel has them.
fn multipath(actor: &Actor, at: SocketAddr) -> Option<Sock<'_>> {
    /// `IPPROTO_MPTCP`.
    const MPTCP: i32 = 262;
    let family = if at.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let arguments = [family, libc::SOCK_STREAM, MPTCP].map(|n| Arg::Number(n.into()));
    match actor.call(libc::SYS_socket, &arguments) {
        Ok(answered) => Some(Sock::at(actor, answered.value)),
        Err(error) => {
            let no = [libc::EPROTONOSUPPORT, libc::ENOPROTOOPT, libc::EINVAL];
            assert!(no.contains(&error.raw_os_error().unwrap()), "{error}");
            None
        }
    }
}

/// An IPv6 socket that speaks IPv4: one connection, told as what is on the wire.
#[test]
#[ignore = "needs root"]
fn a_v4_mapped_address_is_ipv4() {
    Scene::play(&[], |scene| {
        let any = if scene.v4 { "0.0.0.0:0" } else { "[::]:0" };
        let listener = scene.server.listen(any.parse().unwrap());
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listener.local().port());
        let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        let before = truth::mib(&scene.netns, "Tcp", "ActiveOpens");
        let client = scene.client.connect(SocketAddr::new(mapped, at.port()));
        let server = listener.accept();
        let ends = (client.local(), at);
        assert_eq!(truth::mib(&scene.netns, "Tcp", "ActiveOpens") - before, 1);
        for (ends, direction) in [(ends, "outbound"), (turned(ends), "inbound")] {
            let known = scene.tells(ends, "open", is_open);
            assert_eq!((&*known.family, &*known.direction), ("ipv4", direction), "{known:#?}");
            assert_eq!(scene.daemon.stories(ends.0, ends.1).len(), 1);
        }
        client.close();
        server.close();
        scene.until_mini(ends, Some("time_wait"));
        let waits = |known: &Connection| known.mini && known.state == "time_wait";
        assert_eq!(scene.tells(ends, "TIME_WAIT", waits).family, "ipv4");
        agrees(scene);
        let metrics = scene.daemon.metrics();
        assert_eq!((metrics.count(OUTBOUND), metrics.count(INBOUND)), (1, 1));
    });
}

/// Two `connect()`s meet: both ends open actively, and nobody listens.
#[test]
#[ignore = "needs root"]
fn syns_that_cross_open_one_connection() {
    for v4 in [true, false] {
        let wire = Wire::new();
        let (left, right) = (wire.left.actor("va-left"), wire.right.actor("va-right"));
        let daemon = looking_on(&[&wire.left, &wire.right]);
        let at = |address| SocketAddr::new(address, 4000);
        let (one, other) = (at(Wire::left_address(v4)), at(Wire::right_address(v4)));
        wire.hold();
        let socks = [(&left, one, other), (&right, other, one)].map(|(actor, from, to)| {
            let sock = actor.socket(from);
            sock.bind(from).unwrap();
            sock.set_nonblocking();
            assert_eq!(sock.connect(to).unwrap_err().raw_os_error(), Some(libc::EINPROGRESS));
            sock
        });
        wire.until_held(0);
        wire.until_held(1);
        wire.deliver();
        for ends in [(one, other), (other, one)] {
            until(
                || format!("{ends:?} is not in SYN_RECV"),
                || stands(&wire, ends, S::SynRecv).then_some(()),
            );
            let known = tells(&daemon, ends, "crossed", |known| known.state == "syn_recv");
            assert_eq!(known.direction, "outbound", "{known:#?}");
        }
        counts(&daemon, "tcp_trace_half_open", 0);
        wire.release();
        for (ends, actor) in [((one, other), &left), ((other, one), &right)] {
            let known = tells(&daemon, ends, "open", is_open);
            let way = "close>syn_sent syn_sent>syn_recv syn_recv>established";
            assert_eq!(changes(&known), way);
            assert_eq!(known.direction, "outbound", "{known:#?}");
            assert_eq!(known.owner.as_ref().unwrap().pid, actor.pid());
            assert!(known.complete, "{known:#?}");
        }
        let metrics = daemon.metrics();
        assert_eq!((metrics.count(OUTBOUND), metrics.count(INBOUND)), (2, 0));
        assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
        until_gauges(&daemon, &[&wire.left, &wire.right]);
        for sock in socks {
            sock.close();
        }
    }
}
