//! Handshakes that are not the common one.

use std::net::SocketAddr;

use super::{ACCEPTS, CONNECTS, Far, Near, mirrors, rungs, turned};
use crate::{deadline::until, wire::Wire};

#[test]
#[ignore = "needs root"]
fn syns_cross() {
    Far::play(&[], |far| {
        let at = |address| SocketAddr::new(address, 4000);
        let (one, other) = (at(Wire::left_address(far.v4)), at(Wire::right_address(far.v4)));
        far.wire.hold();
        let socks =
            [(&far.client, one, other), (&far.server, other, one)].map(|(actor, from, to)| {
                let sock = actor.socket(from);
                sock.bind(from).unwrap();
                sock.set_nonblocking();
                sock.connect(to).unwrap_err();
                sock
            });
        far.wire.until_held(0);
        far.wire.until_held(1);
        far.wire.release();
        let wanted = [
            "close>syn_sent",
            "out SYN 0",
            "in SYN 0",
            "syn_sent>syn_recv",
            "out SYN,ACK 0/1",
            "in SYN,ACK 0/1",
            "syn_recv>established",
        ];
        for ends in [(one, other), (other, one)] {
            // What crosses is answered once more by some kernels.
            let story = || far.stories(ends).pop();
            until(
                || format!("{ends:?}: {:#?}", story().as_ref().map(rungs)),
                || {
                    let told = rungs(&story()?);
                    let mut told = told.iter();
                    wanted.iter().all(|rung| told.any(|other| other == rung)).then_some(())
                },
            );
        }
        socks.into_iter().for_each(super::Sock::abort);
    });
}

/// The kernel keeps nothing of the SYN, so only the segments tell when it came.
#[test]
#[ignore = "needs root"]
fn a_cookie_stands_for_the_request() {
    Near::play(&[("ipv4/tcp_syncookies", "2")], |near| {
        let cookies = || crate::truth::mib(&near.netns, "TcpExt", "SyncookiesRecv");
        let before = cookies();
        let pair = near.pair();
        assert_eq!(cookies(), before + 1, "the handshake went by a cookie");
        let client = near.climbs(pair.ends, &[CONNECTS]);
        let server = near.climbs(turned(pair.ends), &[ACCEPTS]);
        mirrors(&client, &server);
    });
}

#[test]
#[ignore = "needs root"]
fn data_travels_with_the_syn() {
    // Client and server, without the cookie that would have to be asked for first.
    Near::play(&[("ipv4/tcp_fastopen", "1543")], |near| {
        let listener = near.server.socket(crate::sock::loopback(near.v4));
        listener.bind(crate::sock::loopback(near.v4)).unwrap();
        listener.set_number(libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 5);
        listener.listen(5);
        let client = near.client.socket(listener.local());
        client.send_fast(listener.local(), b"early").unwrap();
        let ends = (client.local(), listener.local());
        let server = listener.accept();
        server.wait_for(5);
        let known = near.climbs(
            ends,
            &[
                "close>syn_sent | out SYN 0 +5 | in SYN,ACK 0/6 | syn_sent>established",
                "out ACK 6/1",
            ],
        );
        assert!(
            known.timeline.as_deref().unwrap().iter().any(|step| step.text.contains("Fast Open")),
            "{known:#?}"
        );
        // The socket is born before the handshake is over, and before its answer goes out.
        near.climbs(
            turned(ends),
            &[
                "in SYN 0 +5 | listen>syn_recv | out SYN,ACK 0/6 | in ACK 6/1",
                "syn_recv>established",
            ],
        );
    });
}
