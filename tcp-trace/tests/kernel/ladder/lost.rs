//! Segments that get lost, and come again.

use super::{ACCEPTS, CONNECTS, Far, mirrors, turned};

#[test]
#[ignore = "needs root"]
fn a_syn_is_lost() {
    Far::play(&[], |far| {
        let listener = far.listen();
        far.wire.lose();
        let (client, ends) = far.begin(listener);
        far.until_sent_again(0);
        far.wire.release();
        let server = listener.accept();
        far.climbs(
            ends,
            &[
                "close>syn_sent | out SYN 0 | out SYN 0 again | in SYN,ACK 0/1",
                "syn_sent>established | out ACK 1/1",
            ],
        );
        // The first that comes is no repetition to the server.
        far.climbs(turned(ends), &[ACCEPTS]);
        client.close();
        server.close();
    });
}

#[test]
#[ignore = "needs root"]
fn a_syn_ack_is_lost() {
    Far::play(&[], |far| {
        let listener = far.listen();
        far.wire.hold();
        let (client, ends) = far.begin(listener);
        far.wire.until_held(0);
        far.wire.deliver_to(1);
        far.wire.until_held(1);
        far.wire.lose();
        far.wire.forget();
        far.until_sent_again(1);
        far.wire.release();
        let server = listener.accept();
        // Either end may be the one whose repetition gets through.
        let told = far.climbs_in_the_end(turned(ends), &[ACCEPTS]);
        let again = super::rungs(&told);
        assert!(again.contains(&"out SYN,ACK 0/1 again".to_owned()), "{again:#?}");
        far.climbs_in_the_end(ends, &[CONNECTS]);
        client.close();
        server.close();
    });
}

#[test]
#[ignore = "needs root"]
fn a_fin_is_lost() {
    Far::play(&[], |far| {
        let pair = far.pair();
        far.climbs(turned(pair.ends), &[ACCEPTS]);
        far.wire.lose();
        pair.client.close();
        far.until_sent_again(0);
        far.wire.release();
        far.climbs(
            turned(pair.ends),
            &[ACCEPTS, "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2"],
        );
        pair.server.close();
        let client = far.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | out FIN,ACK 1/1 again | in ACK 1/2",
                "fin_wait1>fin_wait2 | in FIN,ACK 1/2 | out ACK 2/2",
            ],
        );
        let again = client.timeline.as_deref().unwrap().iter();
        let again = again
            .filter(|step| step.wire.as_ref().is_some_and(|wire| wire.retransmit))
            .collect::<Vec<_>>();
        assert!(again.iter().all(|step| step.text.contains("again")), "{again:#?}");
    });
}

#[test]
#[ignore = "needs root"]
fn the_last_ack_is_lost() {
    Far::play(&[], |far| {
        let pair = far.pair();
        far.climbs(turned(pair.ends), &[ACCEPTS]);
        pair.client.close();
        pair.server.read_to_end(b"");
        far.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
            ],
        );
        far.wire.lose_bare_acks_from(0);
        pair.server.close();
        far.until_sent_again(1);
        far.wire.release();
        let server = far.climbs_in_the_end(
            turned(pair.ends),
            &[
                ACCEPTS,
                "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2",
                "close_wait>last_ack | out FIN,ACK 1/2 | in ACK 2/2 | last_ack>close",
            ],
        );
        let again = super::rungs(&server);
        assert!(again.contains(&"out FIN,ACK 1/2 again".to_owned()), "{again:#?}");
        // What is left of the client answers each time.
        let client = far.climbs_in_the_end(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
                "in FIN,ACK 1/2 | out ACK 2/2",
            ],
        );
        let again = super::rungs(&client);
        let repeated = ["in FIN,ACK 1/2 again", "out ACK 2/2 again"];
        assert!(repeated.iter().all(|rung| again.contains(&(*rung).to_owned())), "{again:#?}");
        mirrors_all_but_lost(&client, &server);
    });
}

/// The numbers agree, whatever got lost between.
#[track_caller]
fn mirrors_all_but_lost(client: &tcp_trace::api::Connection, server: &tcp_trace::api::Connection) {
    mirrors(client, server);
}
