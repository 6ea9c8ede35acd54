//! Ends that no orderly program brings about: data for a closed socket, orphans that the kernel
//! gives up, and a RST in every state that can get one.
//!
//! `tcp_max_orphans` is the host's, not a namespace's, and so is the memory of TCP: neither can be
//! used up without harm to others. `TCP_LINGER2` takes the same way through the kernel (the change
//! to CLOSE, then a RST that no segment has asked for), and stands for them.

use tcp_trace::{api::Connection, core::tcp_state::TcpState as S};

use super::{
    actor::Actor,
    daemon::Daemon,
    deadline::until,
    sock::Sock,
    story::{Ends, changes, counts, last_words, looking_on, tells, turned, words},
    truth,
    wire::Wire,
};

const CLIENT: &str = "close>syn_sent syn_sent>established established>fin_wait1";

/// A client left of a wire and a server right of it, with their connection.
struct Scene {
    wire: Wire,
    daemon: Daemon,
    client: Actor,
    server: Actor,
    v4: bool,
    /// Whether mini-sockets are told. Where they are not, whoever leaves `FIN_WAIT2` in silence is
    /// taken to have one, whatever the kernel says a moment later.
    hooked: bool,
}

/// Both ends of a connection, the client's first.
struct Pair<'a> {
    client: Sock<'a>,
    server: Sock<'a>,
    ends: Ends,
}

impl Scene {
    fn play(scenario: impl Fn(&Self)) {
        for v4 in [true, false] {
            let wire = Wire::new();
            let (client, server) = (wire.left.actor("rs-client"), wire.right.actor("rs-server"));
            let daemon = looking_on(&[&wire.left, &wire.right]);
            let hooked = daemon.sees_time_wait();
            let scene = Self { wire, daemon, client, server, v4, hooked };
            scenario(&scene);
            let metrics = scene.daemon.metrics();
            assert_eq!(metrics.count("tcp_trace_illegal_transitions_total"), 0);
            assert_eq!(metrics.nonzero("tcp_trace_events_lost_total").len(), 0);
        }
    }

    fn pair(&self) -> Pair<'_> {
        let listener = self.server.listen((Wire::right_address(self.v4), 0).into());
        let client = self.client.connect(listener.local());
        let server = listener.accept();
        Pair { client, server, ends: (client.local(), listener.local()) }
    }

    /// Waits until the kernel shows the left end's full socket in `state`, or none.
    #[track_caller]
    fn stands(&self, ends: Ends, state: Option<S>) {
        let netns = [&self.wire.left, &self.wire.right];
        let shown = || {
            let mut rows = netns.iter().flat_map(|netns| truth::sockets(netns));
            rows.find(|row| (row.local, row.remote) == ends).map(|row| row.state)
        };
        until(
            || format!("{ends:?} should be in {state:?} and is in {:?}", shown()),
            || (shown() == state).then_some(()),
        );
    }

    /// Waits until the connection is told to have ended so.
    #[track_caller]
    fn ended(
        &self,
        ends: Ends,
        (reason, by): (&str, Option<&str>),
        error: Option<&str>,
    ) -> Connection {
        let is = |known: &Connection| {
            known.closed_at.is_some()
                && known.close_reason.as_deref() == Some(reason)
                && known.closed_by.as_deref() == by
                && known.error.as_deref() == error
                && known.complete
        };
        tells(&self.daemon, ends, &format!("{reason} by {by:?}, {error:?}"), is)
    }

    /// The same of one that was in `FIN_WAIT2`: where it is taken to have a mini-socket, it is told
    /// to have closed in order, with a RST after.
    #[track_caller]
    fn given_up(&self, ends: Ends, reason: &str) -> Connection {
        let reason = if self.hooked { reason } else { "fin_active" };
        let told = self.ended(ends, (reason, Some("local")), None);
        assert!(words(&told).contains(&"~rst".to_owned()), "{told:#?}");
        let way = format!("{CLIENT} fin_wait1>fin_wait2 fin_wait2>");
        let end = if self.hooked { "close" } else { "fin_wait2 fin_wait2>close" };
        assert_eq!(changes(&told), format!("{way}{end}"));
        told
    }

    /// A figure of the left end's extended statistics.
    fn mib(&self, name: &str) -> u64 {
        truth::mib(&self.wire.left, "TcpExt", name)
    }

    /// Waits until so many connections have ended by a RST that came, and by one that was sent.
    #[track_caller]
    fn resets(&self, received: u64, sent: u64) {
        counts(&self.daemon, "tcp_trace_resets_total{direction=\"received\"}", received);
        counts(&self.daemon, "tcp_trace_resets_total{direction=\"sent\"}", sent);
    }
}

fn says(told: &Connection, words: &str) -> bool {
    told.timeline.as_deref().unwrap().iter().any(|step| step.text.contains(words))
}

const RST_SENT: (&str, Option<&str>) = ("rst_sent", Some("local"));

#[test]
#[ignore = "needs root"]
fn data_that_crosses_a_close_is_answered_with_a_reset() {
    Scene::play(|scene| {
        let pair = scene.pair();
        scene.wire.hold();
        pair.client.close();
        pair.server.send(b"crosses the FIN");
        scene.wire.until_held(0);
        scene.wire.until_held(1);
        scene.stands(pair.ends, Some(S::FinWait1));
        scene.wire.deliver();
        scene.stands(pair.ends, None);
        let told = scene.ended(pair.ends, RST_SENT, None);
        assert_eq!(changes(&told), format!("{CLIENT} fin_wait1>close"));
        assert_eq!(words(&told).last().unwrap(), "~rst", "{told:#?}");
        assert_eq!(scene.mib("TCPAbortOnData"), 1);
        scene.wire.release();
        // The RST finds the server after the FIN.
        scene.stands(turned(pair.ends), None);
        scene.ended(turned(pair.ends), ("reset_after_fin", Some("remote")), Some("EPIPE"));
        scene.resets(1, 1);
    });
}

#[test]
#[ignore = "needs root"]
fn data_that_acknowledges_a_close_is_answered_with_a_reset() {
    Scene::play(|scene| {
        let pair = scene.pair();
        // Otherwise the acknowledgement alone would come first.
        scene.wire.lose_bare_acks();
        pair.client.close();
        scene.stands(turned(pair.ends), Some(S::CloseWait));
        scene.stands(pair.ends, Some(S::FinWait1));
        pair.server.send(b"acknowledges the FIN");
        scene.stands(pair.ends, None);
        let told = scene.given_up(pair.ends, "rst_sent");
        if scene.hooked {
            assert!(says(&told, "data came for the closed socket"), "{told:#?}");
            assert!(last_words(&told).contains("sent a RST"), "{told:#?}");
        }
        assert_eq!(scene.mib("TCPAbortOnData"), 1);
        scene.stands(turned(pair.ends), None);
        scene.ended(turned(pair.ends), ("reset_after_fin", Some("remote")), Some("EPIPE"));
        scene.resets(1, 1);
    });
}

#[test]
#[ignore = "needs root"]
fn an_orphan_that_may_not_wait_is_given_up() {
    Scene::play(|scene| {
        let pair = scene.pair();
        pair.client.set_number(libc::IPPROTO_TCP, libc::TCP_LINGER2, -1);
        pair.client.shutdown();
        scene.stands(pair.ends, Some(S::FinWait2));
        pair.client.close();
        scene.stands(pair.ends, None);
        let told = scene.given_up(pair.ends, "orphan_killed");
        assert!(!scene.hooked || says(&told, "TCP_LINGER2"), "{told:#?}");
        assert_eq!(scene.mib("TCPAbortOnLinger"), 1);
        scene.stands(turned(pair.ends), None);
        scene.ended(turned(pair.ends), ("reset_after_fin", Some("remote")), Some("EPIPE"));
        scene.resets(1, 1);
    });
}

/// Both ends have sent something that the other one has not got yet when the server gives up: its
/// RST finds the client in a state of its closing.
#[test]
#[ignore = "needs root"]
fn a_reset_ends_a_connection_in_every_state_of_its_closing() {
    Scene::play(|scene| {
        // FIN_WAIT1: the RST comes in place of an answer to the FIN.
        let pair = scene.pair();
        scene.wire.hold();
        pair.client.shutdown();
        scene.stands(pair.ends, Some(S::FinWait1));
        pair.server.abort();
        scene.wire.until_reset_is_held(1);
        scene.wire.deliver_to(0);
        scene.stands(pair.ends, None);
        let told = scene.ended(pair.ends, ("reset_after_fin", Some("local")), Some("ECONNRESET"));
        assert_eq!(changes(&told), format!("{CLIENT} fin_wait1>close"));
        scene.ended(turned(pair.ends), ("abort_linger", Some("local")), None);
        pair.client.close();
        scene.wire.forget();
        scene.wire.release();

        // The same of an orphan: nobody is there to get the error.
        let pair = scene.pair();
        scene.wire.hold();
        pair.client.close();
        scene.stands(pair.ends, Some(S::FinWait1));
        pair.server.abort();
        scene.wire.until_reset_is_held(1);
        scene.wire.deliver_to(0);
        scene.stands(pair.ends, None);
        scene.ended(pair.ends, ("reset_after_fin", Some("local")), Some("ECONNRESET"));
        scene.wire.forget();
        scene.wire.release();

        // CLOSING: both have sent a FIN, and only the client has got the other's.
        let pair = scene.pair();
        scene.wire.hold();
        pair.client.shutdown();
        pair.server.shutdown();
        scene.wire.until_fins_are_held();
        scene.wire.deliver_to(0);
        scene.stands(pair.ends, Some(S::Closing));
        pair.server.abort();
        scene.wire.until_reset_is_held(1);
        scene.wire.deliver_to(0);
        scene.stands(pair.ends, None);
        scene.ended(pair.ends, ("reset_after_fin", Some("both")), Some("ECONNRESET"));
        pair.client.close();
        scene.wire.forget();
        scene.wire.release();

        // LAST_ACK: the server's FIN has been answered by the client's own.
        let pair = scene.pair();
        pair.server.shutdown();
        scene.stands(pair.ends, Some(S::CloseWait));
        scene.wire.hold();
        pair.client.shutdown();
        scene.stands(pair.ends, Some(S::LastAck));
        pair.server.abort();
        scene.wire.until_reset_is_held(1);
        scene.wire.deliver_to(0);
        scene.stands(pair.ends, None);
        scene.ended(pair.ends, ("reset_after_fin", Some("remote")), Some("ECONNRESET"));
        pair.client.close();
        scene.wire.forget();
        scene.wire.release();
    });
}

/// A RST that comes for a half-open handshake leaves nothing: it never was a connection.
#[test]
#[ignore = "needs root"]
fn a_reset_ends_a_handshake() {
    Scene::play(|scene| {
        let listener = scene.server.listen((Wire::right_address(scene.v4), 0).into());
        scene.wire.hold();
        let client = scene.client.socket(listener.local());
        client.set_nonblocking();
        client.connect(listener.local()).unwrap_err();
        let ends = (client.local(), listener.local());
        scene.wire.until_held(0);
        scene.wire.deliver_to(1);
        scene.stands(turned(ends), Some(S::SynRecv));
        counts(&scene.daemon, "tcp_trace_half_open", 1);
        // With its socket gone, the client's host answers the SYN-ACK with a RST.
        client.close();
        scene.stands(ends, None);
        scene.wire.release();
        scene.stands(turned(ends), None);
        assert!(scene.daemon.stories(ends.1, ends.0).is_empty());
        let given_up = scene.daemon.stories(ends.0, ends.1);
        assert!(given_up.len() <= 1, "{given_up:#?}");
        // Nothing tells of a request's end but the next look, or its time.
        listener.close();
        counts(&scene.daemon, "tcp_trace_half_open", 0);
    });
}
