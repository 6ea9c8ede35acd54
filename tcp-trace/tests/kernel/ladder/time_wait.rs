//! What comes for a `TIME_WAIT`, and its end.

use std::time::Duration;

use super::{ACCEPTS, CONNECTS, Far, Near, rungs, turned};
use crate::{
    deadline::{until, until_good},
    sock::Sock,
};

/// How long `TIME_WAIT` lasts, in seconds (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_SECONDS: u64 = 60;

/// The rungs of whoever closes first, until the other one does; the kernel may take its time with an
/// ACK, so that a FIN that follows at once would take it along.
const FIRST: &str = "established>fin_wait1 | out FIN,ACK 1/1 | in ACK 1/2 | fin_wait1>fin_wait2";
/// And from there on.
const FOLLOWED: &str = "in FIN,ACK 1/2 | out ACK 2/2";

/// A socket of the client's that shares its port with mini-sockets.
fn bound(near: &Near, port: u16) -> Sock<'_> {
    let mut local = crate::sock::loopback(near.v4);
    local.set_port(port);
    let sock = near.client.socket(local);
    sock.set_number(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    sock.bind(local).unwrap();
    sock
}

#[test]
#[ignore = "needs root"]
fn a_new_syn_takes_the_place_of_a_time_wait() {
    Near::play(&[], |near| {
        let listener = near.listen();
        let first = bound(near, 4002);
        first.connect(listener.local()).unwrap();
        let ends = (listener.local(), first.local());
        let server = listener.accept();
        server.close();
        near.climbs(ends, &[ACCEPTS, FIRST]);
        first.close();
        let before = near.climbs(ends, &[ACCEPTS, FIRST, FOLLOWED]);

        let second = bound(near, 4002);
        second.connect(ends.0).unwrap();
        let _accepted = listener.accept();
        let after = near.climbs(ends, &[ACCEPTS]);
        assert_ne!(after.id, before.id);
        near.climbs(turned(ends), &[CONNECTS]);
        // The SYN is the new one's; the old one ends as it was.
        let stories = near.stories(ends);
        let old = stories.iter().find(|known| known.id == before.id).unwrap();
        assert_eq!(rungs(old), rungs(&before));
    });
}

/// A SYN that was on its way for long comes when the connection is over: it is answered, and begins
/// nothing.
#[test]
#[ignore = "needs root"]
fn an_old_syn_meets_a_time_wait() {
    Far::play(&[], |far| {
        far.wire.keep_syn();
        let pair = far.pair();
        let ends = turned(pair.ends);
        pair.server.close();
        far.climbs(ends, &[ACCEPTS, FIRST]);
        pair.client.close();
        let before = far.climbs(ends, &[ACCEPTS, FIRST, FOLLOWED]);
        far.wire.hold();
        far.wire.repeat_syn(1);
        let after = far.climbs(ends, &[ACCEPTS, FIRST, FOLLOWED, "in SYN 0 again"]);
        assert_eq!(after.id, before.id);
        let is_there = || {
            let rows = crate::truth::with_minis(&far.wire.right);
            rows.iter().any(|row| row.mini && (row.local, row.remote) == ends)
        };
        assert!(is_there());
        // Its answer finds nobody any more, and the RST that comes back ends the TIME_WAIT before
        // its time: the hazard of RFC 1337.
        far.wire.release();
        let killed = ["in SYN 0 again", "in RST 2"];
        far.climbs(ends, &[ACCEPTS, FIRST, FOLLOWED, killed[0], killed[1]]);
        until(|| "the RST ends no TIME_WAIT".to_owned(), || (!is_there()).then_some(()));
    });
}

#[test]
#[ignore = "needs root"]
fn a_time_wait_ends_after_its_time() {
    // A minute is long enough for one family.
    Near::play_over(&[true], &[], |near| {
        let pair = near.pair();
        pair.client.close();
        near.climbs(pair.ends, &[CONNECTS, FIRST]);
        pair.server.close();
        near.climbs(pair.ends, &[CONNECTS, FIRST, FOLLOWED]);
        let story = || near.stories(pair.ends).pop();
        let is_over = || story().is_some_and(|known| known.closed_at.is_some());
        let tick = Duration::from_millis(200);
        let patience = Duration::from_secs(2 * TIME_WAIT_SECONDS);
        until_good(patience, tick, || {
            is_over().then_some(()).ok_or_else(|| format!("{:#?}", story()))
        })
        .unwrap();
        let over = story().unwrap();
        let steps = over.timeline.as_deref().unwrap();
        let (last_ack, end) = (&steps[steps.len() - 2], &steps[steps.len() - 1]);
        assert_eq!(end.to.as_deref(), Some("close"), "{over:#?}");
        let lasted = end.offset_us - last_ack.offset_us;
        // Where no hook tells of its end, a snapshot shows what was left, and that is rounded.
        let least = (TIME_WAIT_SECONDS - 1) * 1_000_000;
        assert!((least..2 * least).contains(&lasted), "{over:#?}");
        until(
            || "a mini-socket is left".to_owned(),
            || {
                let rows = crate::truth::with_minis(&near.netns);
                rows.iter().all(|row| !row.mini).then_some(())
            },
        );
    });
}
