//! Handshakes that are half done: the peer's SYN has come, the last ACK has not.
//!
//! Where requests are hooked, a connection begins with the SYN, and its handshake is timed from
//! there. Elsewhere the SYN is not seen: snapshots tell how many handshakes are half done, SYN-ACKs
//! sent again are counted all the same, and no duration is made up.

use tcp_trace::{api::Connection, core::tcp_state::TcpState as S};

use super::{
    actor::Actor,
    daemon::{Daemon, Metrics},
    deadline::until,
    snapshot::until_gauges,
    sock::Sock,
    story::{Ends, Scene, agrees, changes, counts, looking_on, tells, turned, words},
    truth,
    wire::Wire,
};

const HALF_OPEN: &str = "tcp_trace_half_open";
const EXPIRED: &str = "tcp_trace_half_open_expired_total";
const SYNACKS: &str = "tcp_trace_synack_retransmits_total";
const TIMED: &str = "tcp_trace_handshake_duration_seconds_count{direction=\"inbound\"}";
const TIME: &str = "tcp_trace_handshake_duration_seconds_sum{direction=\"inbound\"}";
/// A child's changes up to the end of the handshake.
const CHILD: &str = "listen>syn_recv syn_recv>established";

/// A client left of a wire, a server right of it, and a daemon that looks at the server alone.
struct Scened {
    wire: Wire,
    client: Actor,
    server: Actor,
    daemon: Daemon,
    /// Whether it is told of SYNs.
    hooked: bool,
    v4: bool,
}

impl Scened {
    fn play(settings: &[(&str, &str)], scenario: impl Fn(&Self)) {
        for v4 in [true, false] {
            let wire = Wire::new();
            for (setting, value) in settings {
                wire.right.set(setting, value);
            }
            let (client, server) = (wire.left.actor("ho-client"), wire.right.actor("ho-server"));
            let daemon = looking_on(&[&wire.right]);
            let hooked = daemon.hooks("request_");
            scenario(&Self { wire, client, server, daemon, hooked, v4 });
        }
    }

    fn listen(&self, backlog: i64) -> Sock<'_> {
        let sock = self.server.socket((Wire::right_address(self.v4), 0).into());
        sock.bind((Wire::right_address(self.v4), 0).into()).unwrap();
        sock.listen(backlog);
        sock
    }

    /// A `connect()` whose SYN arrives and whose answer is held; the server's view of its ends.
    fn half_open(&self, listener: Sock<'_>) -> (Sock<'_>, Ends) {
        self.wire.hold();
        let sock = self.client.socket(listener.local());
        sock.set_nonblocking();
        sock.connect(listener.local()).unwrap_err();
        let ends = (listener.local(), sock.local());
        until(
            || format!("no request: {:#?}", truth::sockets(&self.wire.right)),
            || {
                if !self.is_half_open(ends) {
                    self.wire.deliver_to(1);
                }
                self.is_half_open(ends).then_some(())
            },
        );
        (sock, ends)
    }

    fn is_half_open(&self, ends: Ends) -> bool {
        let rows = truth::sockets(&self.wire.right);
        rows.iter().any(|row| (row.local, row.remote) == ends && row.state == S::SynRecv)
    }

    /// What the kernel counts of SYN-ACKs sent again: it is the server's alone.
    fn sent_again(&self) -> u64 {
        truth::mib(&self.wire.right, "TcpExt", "TCPSynRetrans")
    }

    fn metrics(&self) -> Metrics {
        self.daemon.metrics()
    }
}

/// The first steps of a child, where the SYN is told and where it is not.
#[track_caller]
fn begins(known: &Connection, hooked: bool, again: bool) {
    let mut wanted = Vec::new();
    wanted.extend(hooked.then_some("~syn"));
    wanted.extend(again.then_some("~syn_ack"));
    wanted.push("listen>syn_recv");
    assert_eq!(words(known)[..wanted.len()], wanted, "{known:#?}");
    assert!(changes(known).starts_with(CHILD), "{known:#?}");
    assert!(known.complete, "{known:#?}");
}

#[test]
#[ignore = "needs root"]
fn a_connection_begins_with_the_syn_and_its_answers_are_counted() {
    Scened::play(&[], |scene| {
        let listener = scene.listen(64);
        let (client, ends) = scene.half_open(listener);
        counts(&scene.daemon, HALF_OPEN, 1);
        until_gauges(&scene.daemon, &[&scene.wire.right]);
        // Its SYN-ACKs get lost.
        scene.wire.lose();
        until(|| "no SYN-ACK is sent again".to_owned(), || (scene.sent_again() > 0).then_some(()));
        scene.wire.forget();
        scene.wire.release();
        let _accepted = listener.accept();
        let known = tells(&scene.daemon, ends, "open", |known| known.state == "established");
        begins(&known, scene.hooked, true);
        let steps = known.timeline.as_deref().unwrap();
        let again = steps.iter().find(|step| step.segment.as_deref() == Some("syn_ack")).unwrap();
        assert_eq!(again.count.map(u64::from), Some(scene.sent_again()), "{known:#?}");
        counts(&scene.daemon, SYNACKS, scene.sent_again());
        counts(&scene.daemon, HALF_OPEN, 0);
        counts(&scene.daemon, EXPIRED, 0);
        assert_eq!(scene.metrics().count(TIMED), u64::from(scene.hooked));
        if scene.hooked {
            // The kernel waits for a second before it sends a SYN-ACK again.
            let time = scene.metrics().values("tcp_trace_handshake_duration_seconds_sum");
            let time = time.iter().find(|(series, _)| series == TIME).unwrap().1;
            assert!((0.9..30.0).contains(&time), "{time}");
            let change = steps.iter().find(|step| step.to.as_deref() == Some("syn_recv")).unwrap();
            assert!((900_000..30_000_000).contains(&change.offset_us), "{known:#?}");
        }
        client.close();
    });
}

#[test]
#[ignore = "needs root"]
fn a_request_that_is_never_answered_is_given_up() {
    Scened::play(&[("ipv4/tcp_synack_retries", "1")], |scene| {
        let listener = scene.listen(64);
        let (_client, ends) = scene.half_open(listener);
        counts(&scene.daemon, HALF_OPEN, 1);
        scene.wire.lose();
        until(
            || "the kernel keeps the request".to_owned(),
            || (!scene.is_half_open(ends)).then_some(()),
        );
        counts(&scene.daemon, EXPIRED, 1);
        counts(&scene.daemon, HALF_OPEN, 0);
        counts(&scene.daemon, SYNACKS, scene.sent_again());
        assert_eq!(scene.sent_again(), 1);
        // It never was a connection.
        assert!(scene.daemon.stories(ends.0, ends.1).is_empty());
        assert_eq!(scene.metrics().count(TIMED), 0);
        until_gauges(&scene.daemon, &[&scene.wire.right]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_cookie_leaves_no_request_and_no_duration() {
    Scene::play(&[("ipv4/tcp_syncookies", "2")], |scene| {
        let cookies = || (scene.mib("SyncookiesSent"), scene.mib("SyncookiesRecv"));
        let before = cookies();
        let pair = scene.pair();
        assert_eq!(cookies(), (before.0 + 1, before.1 + 1), "the handshake went by a cookie");
        let ends = turned(pair.ends);
        let known = scene.tells(ends, "open", |known| known.state == "established");
        begins(&known, false, false);
        let metrics = scene.daemon.metrics();
        assert_eq!((metrics.count(TIMED), metrics.count(HALF_OPEN)), (0, 0));
        assert_eq!(metrics.count(EXPIRED), 0);
        agrees(scene);
    });
}

/// A SYN to a listener whose queue is full goes unanswered: nothing of it is on the server's side,
/// and the client sends it again.
#[test]
#[ignore = "needs root"]
fn a_full_queue_leaves_a_syn_unanswered() {
    Scene::play(&[], |scene| {
        let listener = scene.server.socket(super::sock::loopback(scene.v4));
        listener.bind(super::sock::loopback(scene.v4)).unwrap();
        listener.listen(0);
        let first = scene.client.connect(listener.local());
        let second = scene.client.socket(listener.local());
        second.set_nonblocking();
        assert_eq!(
            second.connect(listener.local()).unwrap_err().raw_os_error(),
            Some(libc::EINPROGRESS)
        );
        let ends = (second.local(), listener.local());
        assert_eq!((scene.mib("ListenOverflows"), scene.mib("ListenDrops")), (1, 1));
        agrees(scene);
        assert_eq!(scene.daemon.metrics().count(HALF_OPEN), 0);
        assert!(scene.daemon.stories(ends.1, ends.0).is_empty());
        let _one = listener.accept();
        let _two = listener.accept();
        let known = scene.tells(ends, "open", |known| known.state == "established");
        assert!(words(&known).contains(&"~retransmit".to_owned()), "{known:#?}");
        let server = scene.tells(turned(ends), "open", |known| known.state == "established");
        begins(&server, scene.hooked, false);
        agrees(scene);
        first.close();
    });
}

/// An ACK that ends a handshake while the queue is full is ignored: the client takes itself for
/// connected, and here the handshake stays half done.
#[test]
#[ignore = "needs root"]
fn a_full_queue_leaves_a_handshake_half_done() {
    Scened::play(&[], |scene| {
        // One more fits than is asked for.
        let listener = scene.listen(2);
        let (late, ends) = scene.half_open(listener);
        let filler = scene.wire.right.actor("ho-filler");
        let _quick = [(); 3].map(|()| filler.connect(listener.local()));
        counts(&scene.daemon, HALF_OPEN, 1);
        scene.wire.release();
        let overflows = || truth::mib(&scene.wire.right, "TcpExt", "ListenOverflows");
        until(|| "no overflow".to_owned(), || (overflows() > 0).then_some(()));
        let believes = || truth::sockets(&scene.wire.left);
        let is_open = |row: &truth::Row| row.state == S::Established;
        until(|| format!("{:#?}", believes()), || believes().iter().all(is_open).then_some(()));
        counts(&scene.daemon, HALF_OPEN, 1);
        until_gauges(&scene.daemon, &[&scene.wire.right]);
        assert!(scene.daemon.stories(ends.0, ends.1).is_empty(), "nothing has come of it");

        // With room again, the next SYN-ACK brings the ACK once more, and so does data, sooner: the
        // kernel waits twice as long from one SYN-ACK to the next.
        until(|| "no SYN-ACK is sent again".to_owned(), || (scene.sent_again() > 0).then_some(()));
        let _accepted = [(); 3].map(|()| listener.accept());
        late.send(b"x");
        let _last = listener.accept();
        let known = tells(&scene.daemon, ends, "open", |known| known.state == "established");
        begins(&known, scene.hooked, true);
        counts(&scene.daemon, HALF_OPEN, 0);
        counts(&scene.daemon, EXPIRED, 0);
        counts(&scene.daemon, SYNACKS, scene.sent_again());
        assert_eq!(scene.metrics().count(TIMED), if scene.hooked { 4 } else { 0 });
    });
}
