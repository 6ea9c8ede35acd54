//! Teardowns with FINs alone.

use super::{ACCEPTS, CONNECTS, Far, Near, mirrors, turned};

#[test]
#[ignore = "needs root"]
fn the_client_closes_first_in_four_segments() {
    Near::play(&[], |near| {
        let pair = near.pair();
        let client = near.climbs(pair.ends, &[CONNECTS]);
        let server = near.climbs(turned(pair.ends), &[ACCEPTS]);
        mirrors(&client, &server);
        pair.client.close();
        near.climbs(
            turned(pair.ends),
            &[ACCEPTS, "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2"],
        );
        pair.server.close();
        let client = near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
                "in FIN,ACK 1/2 | out ACK 2/2",
            ],
        );
        let server = near.climbs(
            turned(pair.ends),
            &[
                ACCEPTS,
                "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2",
                "close_wait>last_ack | out FIN,ACK 1/2 | in ACK 2/2 | last_ack>close",
            ],
        );
        mirrors(&client, &server);
    });
}

#[test]
#[ignore = "needs root"]
fn the_server_closes_first_in_four_segments() {
    Near::play(&[], |near| {
        let pair = near.pair();
        pair.server.close();
        near.climbs(
            pair.ends,
            &[CONNECTS, "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2"],
        );
        pair.client.close();
        let client = near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2",
                "close_wait>last_ack | out FIN,ACK 1/2 | in ACK 2/2 | last_ack>close",
            ],
        );
        let server = near.climbs(
            turned(pair.ends),
            &[
                ACCEPTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
                "in FIN,ACK 1/2 | out ACK 2/2",
            ],
        );
        mirrors(&client, &server);
    });
}

/// The server's own ACK of the FIN gets lost: what the client sees is one segment that is both.
#[test]
#[ignore = "needs root"]
fn fin_and_ack_travel_together_in_three_segments() {
    Far::play(&[], |far| {
        let pair = far.pair();
        far.climbs(turned(pair.ends), &[ACCEPTS]);
        far.wire.lose_bare_acks_from(1);
        pair.client.close();
        pair.server.read_to_end(b"");
        pair.server.close();
        far.climbs_in_the_end(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in FIN,ACK 1/2",
                "fin_wait1>fin_wait2 | out ACK 2/2",
            ],
        );
        far.ends_by(pair.ends, "fin_active");
        far.wire.release();
    });
}

#[test]
#[ignore = "needs root"]
fn data_goes_on_flowing_to_the_end_that_has_closed_its_half() {
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
        pair.server.send(b"12345");
        pair.client.wait_for(5);
        pair.server.close();
        let client = near.climbs(
            pair.ends,
            &[
                CONNECTS,
                "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2",
                "in FIN,ACK 6/2 | out ACK 2/7",
            ],
        );
        pair.client.read_to_end(b"12345");
        let server = near.climbs(
            turned(pair.ends),
            &[
                ACCEPTS,
                "in FIN,ACK 1/1 | established>close_wait | out ACK 1/2",
                "close_wait>last_ack | out FIN,ACK 6/2 | in ACK 2/7 | last_ack>close",
            ],
        );
        mirrors(&client, &server);
        pair.client.close();
    });
}

#[test]
#[ignore = "needs root"]
fn fins_cross() {
    Far::play(&[], |far| {
        let pair = far.pair();
        far.climbs(turned(pair.ends), &[ACCEPTS]);
        far.wire.hold();
        pair.client.close();
        pair.server.close();
        far.wire.until_fins_are_held();
        far.wire.release();
        // The kernel answers before it changes the state.
        let crossing = "established>fin_wait1 | out FIN,ACK 1/1 | in FIN,ACK 1/1 | out ACK 2/2 | \
                        fin_wait1>closing | in ACK 2/2";
        let client = far.climbs_in_the_end(pair.ends, &[CONNECTS, crossing]);
        let server = far.climbs_in_the_end(turned(pair.ends), &[ACCEPTS, crossing]);
        mirrors(&client, &server);
        far.ends_by(pair.ends, "simultaneous");
    });
}
