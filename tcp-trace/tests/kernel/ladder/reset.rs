//! RSTs, in each state that can get one.

use super::{ACCEPTS, CONNECTS, Far, Near, turned};
use crate::deadline::until;

#[test]
#[ignore = "needs root"]
fn nobody_listens() {
    Near::play(&[], |near| {
        let listener = near.listen();
        let at = listener.local();
        listener.close();
        let client = near.client.socket(at);
        let mut local = crate::sock::loopback(near.v4);
        local.set_port(4001);
        client.bind(local).unwrap();
        client.connect(at).unwrap_err();
        // Whoever answers has no number of its own to count from.
        near.climbs((local, at), &["close>syn_sent | out SYN 0 | in RST,ACK ?/1 | syn_sent>close"]);
        // The other end is nobody's: counted, and kept nowhere.
        assert!(near.stories((at, local)).is_empty());
    });
}

#[test]
#[ignore = "needs root"]
fn an_abort_resets_an_established_connection() {
    Near::play(&[], |near| {
        let pair = near.pair();
        near.climbs(pair.ends, &[CONNECTS]);
        pair.client.abort();
        near.climbs(pair.ends, &[CONNECTS, "established>close | out RST,ACK 1/1"]);
        near.climbs(turned(pair.ends), &[ACCEPTS, "in RST,ACK 1/1 | established>close"]);
        pair.server.close();
    });
}

#[test]
#[ignore = "needs root"]
fn data_left_unread_resets_at_close() {
    Near::play(&[], |near| {
        let pair = near.pair();
        pair.client.send(b"12345");
        pair.server.wait_for(5);
        pair.server.close();
        near.climbs(pair.ends, &[CONNECTS, "in RST,ACK 1/6 | established>close"]);
        near.climbs(turned(pair.ends), &[ACCEPTS, "established>close | out RST,ACK 1/6"]);
        pair.client.close();
    });
}

#[test]
#[ignore = "needs root"]
fn a_reset_after_either_fin() {
    Near::play(&[], |near| {
        let pair = near.pair();
        pair.client.shutdown();
        pair.server.read_to_end(b"");
        near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
            ],
        );
        // FIN_WAIT2, told to the end that stands in CLOSE_WAIT: and the other way round.
        pair.client.abort();
        near.climbs(
            turned(pair.ends),
            &[
                ACCEPTS,
                "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2",
                "in RST,ACK 2/1 | close_wait>close",
            ],
        );
        pair.server.close();

        let pair = near.pair();
        pair.client.shutdown();
        pair.server.read_to_end(b"");
        near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
            ],
        );
        pair.server.abort();
        // The full socket's change to CLOSE is not to be told from the birth of a mini-socket.
        near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
                "in RST,ACK 1/2",
            ],
        );
        pair.client.close();
    });
}

#[test]
#[ignore = "needs root"]
fn a_reset_before_the_fin_is_answered() {
    Far::play(&[], |far| {
        // FIN_WAIT1: the RST comes in place of an answer.
        let pair = far.pair();
        far.climbs(turned(pair.ends), &[ACCEPTS]);
        far.wire.hold();
        pair.client.shutdown();
        far.wire.until_held(0);
        pair.server.abort();
        far.wire.until_reset_is_held(1);
        far.wire.deliver_to(0);
        far.climbs_in_the_end(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in RST,ACK 1/1 | fin_wait1>close",
            ],
        );
        pair.client.close();
        far.wire.forget();
        far.wire.release();

        // CLOSING: both have sent a FIN, and only the client has got the other's.
        let pair = far.pair();
        far.climbs(turned(pair.ends), &[ACCEPTS]);
        far.wire.hold();
        pair.client.shutdown();
        pair.server.shutdown();
        far.wire.until_fins_are_held();
        far.wire.deliver_to(0);
        far.climbs_in_the_end(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in FIN,ACK 1/1 | out ACK 2/2",
                "fin_wait1>closing",
            ],
        );
        pair.server.abort();
        far.wire.until_reset_is_held(1);
        far.wire.deliver_to(0);
        far.climbs_in_the_end(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in FIN,ACK 1/1 | out ACK 2/2",
                "fin_wait1>closing | in RST,ACK 2/1 | closing>close",
            ],
        );
        pair.client.close();
        far.wire.forget();
        far.wire.release();

        // LAST_ACK: the server's FIN has been answered by the client's own.
        let pair = far.pair();
        pair.server.shutdown();
        pair.client.read_to_end(b"");
        let closed = "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2";
        far.climbs(pair.ends, &[CONNECTS, closed]);
        far.wire.hold();
        pair.client.shutdown();
        far.wire.until_held(0);
        pair.server.abort();
        far.wire.until_reset_is_held(1);
        far.wire.deliver_to(0);
        far.climbs_in_the_end(
            pair.ends,
            &[
                CONNECTS,
                closed,
                "close_wait>last_ack | out FIN,ACK 1/2 | in RST,ACK 2/1 | last_ack>close",
            ],
        );
        pair.client.close();
        far.wire.forget();
        far.wire.release();
    });
}

/// The client gives up between its SYN and the answer: its host resets what the server has begun.
#[test]
#[ignore = "needs root"]
fn a_reset_ends_a_handshake() {
    Far::play(&[], |far| {
        let listener = far.listen();
        far.wire.hold();
        let (client, ends) = far.begin(listener);
        far.wire.until_held(0);
        far.wire.deliver_to(1);
        far.wire.until_held(1);
        client.close();
        far.wire.release();
        // No connection came of it at the server's, and none is shown.
        let in_resets = || {
            let metrics = far.daemons[1].metrics();
            let values = metrics.nonzero("tcp_trace_segments_total");
            let resets = |labels: &&String| {
                labels.contains("flag=\"rst\"") && labels.contains("direction=\"in\"")
            };
            values.keys().filter(resets).map(|labels| values[labels]).sum::<u64>()
        };
        until(|| "no RST has come".to_owned(), || (in_resets() > 0).then_some(()));
        assert!(far.stories(turned(ends)).is_empty());
    });
}

/// Data that nobody can read any more is answered with a RST by what is left of the socket.
#[test]
#[ignore = "needs root"]
fn a_reset_from_a_mini_socket() {
    Near::play(&[], |near| {
        let pair = near.pair();
        pair.client.close();
        pair.server.read_to_end(b"");
        near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
            ],
        );
        pair.server.send(b"late");
        near.climbs(
            turned(pair.ends),
            &[
                ACCEPTS,
                "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2",
                "in RST 2 | close_wait>close",
            ],
        );
        near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
                "out RST 2",
            ],
        );
        pair.server.close();
    });
}
