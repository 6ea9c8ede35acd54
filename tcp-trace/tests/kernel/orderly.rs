//! Connections that end in order.

use tcp_trace::core::tcp_state::TcpState as S;

use super::{
    life::Life,
    stage::{Loopback, Wired},
};

/// A client that closes first, and the server that follows.
const FIRST: &str = "close syn_sent established fin_wait1 fin_wait2 close";
const FOLLOWS_IT: &str = "listen syn_recv established close_wait last_ack close";

#[test]
#[ignore = "needs root"]
fn the_client_closes_first() {
    Loopback::play("client_first", |all| {
        let pair = all.pair();
        all.stands(&pair, Some(S::Established), Some(S::Established));
        pair.client.close();
        // The orphan in FIN_WAIT2 is a mini-socket by now.
        all.stands(&pair, None, Some(S::CloseWait));
        pair.server.read_to_end(b"");
        pair.server.close();
        vec![
            pair.client_life()
                .goes(FIRST)
                .ends("fin_active", "local")
                .leaves_unread(0)
                .moves(0, 0)
                .says("fin_wait1", "close() by kt-client"),
            pair.server_life()
                .goes(FOLLOWS_IT)
                .ends("fin_passive", "remote")
                .leaves_unread(0)
                .moves(0, 0),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn the_server_closes_first() {
    Loopback::play("server_first", |all| {
        let pair = all.pair();
        pair.client.send(b"request");
        assert_eq!(pair.server.receive().unwrap(), b"request");
        pair.server.send(b"reply");
        pair.server.close();
        all.stands(&pair, Some(S::CloseWait), None);
        pair.client.read_to_end(b"reply");
        pair.client.close();
        vec![
            pair.client_life()
                .goes("close syn_sent established close_wait last_ack close")
                .ends("fin_passive", "remote")
                .leaves_unread(0)
                .moves(7, 5),
            pair.server_life()
                .goes("listen syn_recv established fin_wait1 fin_wait2 close")
                .ends("fin_active", "local")
                .leaves_unread(0)
                .moves(5, 7),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn a_half_close_lets_the_answer_through() {
    Loopback::play("half_close", |all| {
        let pair = all.pair();
        pair.client.send(b"abc");
        pair.client.shutdown();
        pair.server.read_to_end(b"abc");
        all.stands(&pair, Some(S::FinWait2), Some(S::CloseWait));
        pair.server.send(b"12345");
        pair.server.close();
        // The client's state is CLOSE, its descriptor open; the close() to come changes nothing.
        all.stands(&pair, None, None);
        pair.client.read_to_end(b"12345");
        pair.client.close();
        vec![
            pair.client_life()
                .goes(FIRST)
                .ends("fin_active", "local")
                .leaves_unread(5)
                .moves(3, 5)
                .says("fin_wait1", "shutdown(SHUT_WR) by kt-client"),
            pair.server_life()
                .goes(FOLLOWS_IT)
                .ends("fin_passive", "remote")
                .leaves_unread(0)
                .moves(5, 3),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn a_close_that_changes_nothing_is_told() {
    Loopback::play("close_marker", |all| {
        let pair = all.pair();
        pair.client.shutdown();
        all.stands(&pair, Some(S::FinWait2), Some(S::CloseWait));
        pair.client.close();
        all.stands(&pair, None, Some(S::CloseWait));
        pair.server.close();
        vec![
            pair.client_life()
                .goes("close syn_sent established fin_wait1 fin_wait2 fin_wait2 close")
                .ends("fin_active", "local")
                .moves(0, 0),
            pair.server_life().goes(FOLLOWS_IT).ends("fin_passive", "remote"),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn a_close_before_the_acknowledgement_is_told() {
    Wired::play("close_marker_early", |all| {
        let pair = all.pair();
        all.wire.hold();
        pair.client.shutdown();
        all.stands(&pair, Some(S::FinWait1), Some(S::Established));
        pair.client.close();
        all.wire.release();
        all.stands(&pair, None, Some(S::CloseWait));
        all.wire.hold();
        pair.server.shutdown();
        all.stands(&pair, None, Some(S::LastAck));
        pair.server.close();
        all.wire.release();
        all.stands(&pair, None, None);
        vec![
            pair.client_life()
                .goes("close syn_sent established fin_wait1 fin_wait1 fin_wait2 close")
                .ends("fin_active", "local")
                .moves(0, 0),
            pair.server_life()
                .goes("listen syn_recv established close_wait last_ack last_ack close")
                .ends("fin_passive", "remote")
                .moves(0, 0)
                // Not a close(): that came later.
                .says("last_ack", "shutdown"),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn both_close_at_once() {
    Wired::play("simultaneous", |all| {
        let pair = all.pair();
        all.wire.hold();
        pair.client.shutdown();
        pair.server.shutdown();
        all.wire.until_fins_are_held();
        all.stands(&pair, Some(S::FinWait1), Some(S::FinWait1));
        // The FINs cross; what acknowledges them is held.
        all.wire.deliver();
        all.stands(&pair, Some(S::Closing), Some(S::Closing));
        pair.client.close();
        all.wire.release();
        all.stands(&pair, None, None);
        pair.server.close();
        vec![
            pair.client_life()
                .goes("close syn_sent established fin_wait1 closing closing close")
                .ends("simultaneous", "both")
                .moves(0, 0),
            pair.server_life()
                .goes("listen syn_recv established fin_wait1 closing close")
                .ends("simultaneous", "both")
                .moves(0, 0),
            pair.end(),
        ]
    });
}

#[test]
#[ignore = "needs root"]
fn a_socket_connected_to_itself_opens_and_closes_at_once() {
    Loopback::play("self_connect", |all| {
        let sock = all.client.socket(all.family.loopback());
        sock.bind(all.family.loopback()).unwrap();
        let at = sock.local();
        sock.connect(at).unwrap();
        all.shows(&[(at, at, Some(S::Established))]);
        sock.shutdown();
        all.shows(&[(at, at, None)]);
        sock.close();
        let life = Life { local: Some(at), ..Life::failed(&all.client, at) };
        vec![
            life.goes("close syn_sent syn_recv established fin_wait1 closing close")
                .ends("simultaneous", "both")
                .moves(0, 0),
        ]
    });
}
