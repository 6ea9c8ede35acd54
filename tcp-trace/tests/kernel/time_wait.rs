//! Mini-sockets: born of a close, `FIN_WAIT2` until the peer's FIN, `TIME_WAIT` after, and every way
//! in which they end.
//!
//! Where mini-sockets are hooked, all of this is told as it happens. Elsewhere they are inferred, and
//! snapshots tell the rest: then an end has no reason, save that of new connections between the same
//! ends, which are seen all the same.
//!
//! There is no real `TIME_WAIT` that runs out: the kernel takes a minute for that. A `FIN_WAIT2`
//! mini-socket runs out by the same timer, and its time can be set.

use tcp_trace::api::Connection;

use super::{
    deadline::until,
    sock::Sock,
    story::{Ends, Pair, Scene, agrees, changes, last_words, turned, words},
    truth,
};

/// The client's way into a mini-socket that waits for the peer's FIN.
const TO_FIN_WAIT2: &str = "close>syn_sent syn_sent>established established>fin_wait1 \
                            fin_wait1>fin_wait2 fin_wait2>fin_wait2";

/// Ends of mini-sockets, for this reason where it is told, else for none.
#[track_caller]
fn ended(scene: &Scene, reason: &str, times: u64) {
    let reason = if scene.hooked { reason } else { "unknown" };
    scene.counts(&format!("tcp_trace_time_wait_ended_total{{reason=\"{reason}\"}}"), times);
}

fn is_mini(known: &Connection, substate: &str) -> bool {
    known.mini && known.state == substate && known.closed_at.is_none()
}

fn is_over(known: &Connection) -> bool {
    known.state == "close" && !known.mini && known.closed_at.is_some()
}

/// Which connection it is, and whose: more of a process is learnt as it is looked into.
fn identity(known: &Connection) -> (&str, u32, &str) {
    let owner = known.owner.as_ref().unwrap();
    (&known.id, owner.pid, &owner.comm)
}

/// The client closes; what is left of it waits for the server's FIN, told as one connection.
#[track_caller]
fn orphan(scene: &Scene) -> (Pair<'_>, Connection) {
    let pair = scene.pair();
    let before = scene.tells(pair.ends, "established", |known| known.state == "established");
    pair.client.close();
    scene.until_mini(pair.ends, Some("fin_wait2"));
    let known = scene.tells(pair.ends, "a mini-socket", |known| is_mini(known, "fin_wait2"));
    assert_eq!(identity(&known), identity(&before), "one connection");
    assert_eq!(changes(&known), TO_FIN_WAIT2);
    assert_eq!(last_words(&known).contains("inferred"), !scene.hooked, "{known:#?}");
    assert_eq!(known.close_reason.as_deref(), Some("fin_active"));
    (pair, known)
}

/// It is over: the same connection to the end, and told why where that is known.
#[track_caller]
fn over(scene: &Scene, known: &Connection, ends: Ends, sentence: &str) {
    let told = scene.tells(ends, "over", is_over);
    assert_eq!(identity(&told), identity(known), "one connection");
    assert!(words(&told).last().unwrap().ends_with(">close"), "{told:#?}");
    if scene.hooked {
        assert!(last_words(&told).contains(sentence), "{sentence:?} is not the end of {told:#?}");
        assert!(told.complete, "{told:#?}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_peer_that_never_closes_is_waited_for_no_longer() {
    Scene::play(&[("ipv4/tcp_fin_timeout", "1")], |scene| {
        let (pair, known) = orphan(scene);
        scene.until_mini(pair.ends, None);
        ended(scene, "expired", 1);
        over(scene, &known, pair.ends, "the peer never closed");
        agrees(scene);
    });
}

#[test]
#[ignore = "needs root"]
fn the_peer_s_fin_turns_fin_wait2_into_time_wait() {
    Scene::play(&[], |scene| {
        let (pair, before) = orphan(scene);
        agrees(scene);
        pair.server.close();
        scene.until_mini(pair.ends, Some("time_wait"));
        let known = scene.tells(pair.ends, "TIME_WAIT", |known| is_mini(known, "time_wait"));
        assert_eq!(identity(&known), identity(&before), "one connection");
        assert_eq!(changes(&known), format!("{TO_FIN_WAIT2} fin_wait2>time_wait"));
        assert!(last_words(&known).contains("the peer's FIN came"), "{known:#?}");
        assert!(known.complete, "{known:#?}");
        agrees(scene);
        assert_eq!(scene.daemon.metrics().gauges()["time_wait"], 1);
    });
}

#[test]
#[ignore = "needs root"]
fn a_connect_takes_the_place_of_a_time_wait() {
    Scene::play(&[("ipv4/tcp_tw_reuse", "1")], |scene| {
        let listener = scene.listen();
        let first = bound(scene, None);
        first.connect(listener.local()).unwrap();
        let ends = (first.local(), listener.local());
        let server = listener.accept();
        first.close();
        server.close();
        scene.until_mini(ends, Some("time_wait"));
        let known = scene.tells(ends, "TIME_WAIT", |known| is_mini(known, "time_wait"));

        // A second has to pass, in which the kernel refuses.
        let second = until(
            || "the ports are not given again".to_owned(),
            || {
                let second = bound(scene, Some(ends.0.port()));
                let connected = second.connect(ends.1);
                if connected.is_err() {
                    second.close();
                }
                connected.is_ok().then_some(second)
            },
        );
        let _accepted = listener.accept();
        assert_eq!(second.local(), ends.0);
        scene.until_mini(ends, None);
        assert_eq!(scene.mib("TWRecycled"), 1);
        reused(scene, &known, ends, "outbound");
        agrees(scene);
    });
}

/// A socket that shares its port with mini-sockets.
fn bound(scene: &Scene, port: Option<u16>) -> Sock<'_> {
    let mut local = super::sock::loopback(scene.v4);
    local.set_port(port.unwrap_or(0));
    let sock = scene.client.socket(local);
    sock.set_number(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    sock.bind(local).unwrap();
    sock
}

/// Two connections had these ends, the second of which goes on.
#[track_caller]
fn reused(scene: &Scene, first: &Connection, ends: Ends, direction: &str) {
    let latest = scene.tells(ends, "a second", |known| known.state == "established");
    assert_ne!(latest.id, first.id);
    assert_eq!(latest.direction, direction);
    // That a new connection has the ends is seen with hooks and without.
    scene.counts("tcp_trace_time_wait_ended_total{reason=\"reused\"}", 1);
    let stories = scene.daemon.stories(ends.0, ends.1);
    let told = stories.iter().find(|known| known.id == first.id).unwrap();
    assert!(is_over(told) && told.complete, "{told:#?}");
    assert_eq!(identity(told), identity(first));
    assert!(last_words(told).contains("took the place of TIME_WAIT"), "{told:#?}");
}

#[test]
#[ignore = "needs root"]
fn a_syn_from_outside_takes_the_place_of_a_time_wait() {
    Scene::play(&[], |scene| {
        let listener = scene.listen();
        let first = bound(scene, None);
        first.connect(listener.local()).unwrap();
        let ends = (listener.local(), first.local());
        let server = listener.accept();
        server.close();
        first.read_to_end(b"");
        first.close();
        scene.until_mini(ends, Some("time_wait"));
        let known = scene.tells(ends, "TIME_WAIT", |known| is_mini(known, "time_wait"));

        let second = bound(scene, Some(ends.1.port()));
        second.connect(ends.0).unwrap();
        let _accepted = listener.accept();
        scene.until_mini(ends, None);
        reused(scene, &known, ends, "inbound");
        scene.tells(turned(ends), "a second", |known| known.state == "established");
        agrees(scene);
    });
}

#[test]
#[ignore = "needs root"]
fn a_mini_socket_is_killed_from_outside() {
    Scene::play(&[], |scene| {
        let (pair, known) = orphan(scene);
        let port = format!(":{}", pair.ends.0.port());
        let mut ss = scene.netns.command("ss");
        let ss = ss.args(["-K", "-tnaH", "sport", "=", &port]).output().expect("ss runs");
        assert!(ss.status.success(), "{ss:?}");
        // Before 6.1 or so the kernel has no such means, and its mini-socket stays.
        if truth::with_minis(&scene.netns).iter().any(|row| (row.local, row.remote) == pair.ends) {
            assert!(!super::needs::is_at_least((6, 1)), "SOCK_DESTROY takes mini-sockets by now");
            let still = scene.tells(pair.ends, "as before", |known| is_mini(known, "fin_wait2"));
            assert_eq!(still.id, known.id);
        } else {
            ended(scene, "killed", 1);
            over(scene, &known, pair.ends, "ended from outside");
        }
        agrees(scene);
    });
}

/// Nobody is left to look at its figures but the tracer: what it counts is known from before.
#[test]
#[ignore = "needs root"]
fn a_namespace_takes_its_mini_sockets_along() {
    Scene::play(&[], |scene| {
        let (pair, _) = orphan(scene);
        pair.server.close();
        scene.until_mini(pair.ends, Some("time_wait"));
        scene.tells(pair.ends, "TIME_WAIT", |known| is_mini(known, "time_wait"));
        pair.listener.close();
        // Out of the namespace with everybody who keeps it.
        for actor in [scene.netns.home(), &scene.client, &scene.server] {
            let kind = super::actor::Arg::Number(libc::CLONE_NEWNET.into());
            actor.call(libc::SYS_unshare, &[kind]).unwrap();
        }
        ended(scene, "killed", 1);
        until(
            || format!("{:#?}", scene.daemon.open()),
            || scene.daemon.open().is_empty().then_some(()),
        );
        assert_eq!(scene.daemon.metrics().gauges().get("time_wait"), None);
    });
}

#[test]
#[ignore = "needs root"]
fn a_reset_ends_a_mini_socket() {
    Scene::play(&[], |scene| {
        // Data left unread: the server's close() is a RST.
        let pair = scene.pair();
        pair.client.send(b"12345");
        pair.client.close();
        scene.until_mini(pair.ends, Some("fin_wait2"));
        let known = scene.tells(pair.ends, "waits", |known| is_mini(known, "fin_wait2"));
        pair.server.close();
        scene.until_mini(pair.ends, None);
        ended(scene, "reset", 1);
        over(scene, &known, pair.ends, "a RST came");

        // Data that nobody can read any more: the answer is a RST.
        let (pair, known) = orphan(scene);
        pair.server.send(b"too late");
        scene.until_mini(pair.ends, None);
        ended(scene, "reset", 2);
        over(scene, &known, pair.ends, "data that nobody can read");
        let server = scene.tells(turned(pair.ends), "reset", |known| known.close_reason.is_some());
        assert_eq!(server.error.as_deref(), Some("EPIPE"), "{server:#?}");
        agrees(scene);
    });
}

#[test]
#[ignore = "needs root"]
fn mini_sockets_run_out_of_room() {
    Scene::play(&[("ipv4/tcp_max_tw_buckets", "1")], |scene| {
        let (_first, _) = orphan(scene);
        let pair = scene.pair();
        pair.client.close();
        // The kernel lets go of it at once.
        until(
            || format!("{}", scene.mib("TCPTimeWaitOverflow")),
            || (scene.mib("TCPTimeWaitOverflow") == 1).then_some(()),
        );
        if !scene.hooked {
            // It is taken for a mini-socket until the next snapshot does not show it.
            scene.counts("tcp_trace_time_wait_overflow_total", 0);
            let told = scene.tells(pair.ends, "over", is_over);
            assert_eq!(told.close_reason.as_deref(), Some("fin_active"));
            let kernels =
                "tcp_trace_kernel_counts_total{group=\"TcpExt\",name=\"TCPTimeWaitOverflow\"}";
            scene.counts(kernels, 1);
            return;
        }
        scene.counts("tcp_trace_time_wait_overflow_total", 1);
        let told = scene.tells(pair.ends, "over", is_over);
        assert_eq!(told.close_reason.as_deref(), Some("fin_active"), "{told:#?}");
        let words = words(&told);
        // A return probe counts them, and is not told whose it was.
        let named = scene.daemon.hooks("time_wait_refused_fexit");
        assert_eq!(words.contains(&"!time_wait_refused".to_owned()), named, "{words:?}");
        assert_eq!(words.last().unwrap(), "fin_wait2>close", "{told:#?}");
        agrees(scene);
    });
}
