//! What segments tell of the two ends that sent them.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::conversations::{Conversations, Sighting},
    told::*,
};
use crate::core::{
    clock::Ts, close::CloseReason as R, direction::Direction, tcp_state::TcpState as S,
};

#[test]
fn a_close_in_order_with_data() {
    let told = after_open(&[
        (CLIENT, ACK, 101, 501, 10),
        (SERVER, ACK, 501, 111, 20),
        (CLIENT, FIN, 111, 521, 0),
        (SERVER, ACK, 521, 112, 0),
        (SERVER, FIN, 521, 112, 0),
        (CLIENT, ACK, 112, 522, 0),
    ]);
    assert_eq!(told.stands(CLIENT), (S::TimeWait, Some((R::FinActive, BY_LOCAL))));
    assert_eq!(told.stands(SERVER), (S::Close, Some((R::FinPassive, BY_REMOTE))));
    let (client, server) = (told.one(CLIENT), told.one(SERVER));
    assert_eq!((client.direction, server.direction), (Direction::Outbound, Direction::Inbound));
    assert_eq!((client.bytes_sent(), client.bytes_received()), (Some(10), Some(20)));
    assert_eq!((server.bytes_sent(), server.bytes_received()), (Some(20), Some(10)));
    assert!(client.is_complete(0) && server.is_complete(0) && client.unread_bytes().is_none());
    assert_eq!(told.shown(CLIENT), [SYN, ACK, FIN, ACK]);
    assert_eq!(told.shown(SERVER), [SYN_ACK, ACK, FIN]);
}

#[test]
fn fins_that_cross_close_both_sides_at_once() {
    let told = after_open(&[
        (CLIENT, FIN, 101, 501, 0),
        (SERVER, FIN, 501, 101, 0),
        (CLIENT, ACK, 102, 502, 0),
        (SERVER, ACK, 502, 102, 0),
    ]);
    assert_eq!(told.stands(CLIENT), (S::TimeWait, Some((R::Simultaneous, BY_BOTH))));
    assert_eq!(told.stands(SERVER), (S::TimeWait, Some((R::Simultaneous, BY_BOTH))));
}

#[test]
fn syns_that_cross_open_both_ends_outbound() {
    let told = Told::of(&[
        (CLIENT, SYN, 100, 0, 0),
        (SERVER, SYN, 500, 0, 0),
        (CLIENT, SYN_ACK, 100, 501, 0),
        (SERVER, SYN_ACK, 500, 101, 0),
        (CLIENT, ACK, 101, 501, 3),
        (SERVER, ACK, 501, 104, 0),
    ]);
    for end in [CLIENT, SERVER] {
        assert_eq!(told.stands(end), (S::Established, None));
        assert_eq!(told.one(end).direction, Direction::Outbound);
    }
}

#[test]
fn resets_are_told_from_either_end() {
    let refused = Told::of(&[(CLIENT, SYN, 100, 0, 0), (SERVER, RST_ACK, 0, 101, 0)]);
    assert_eq!(refused.stands(CLIENT), (S::Close, Some((R::Refused, BY_REMOTE))));
    assert!(refused.all(SERVER).is_empty());

    let aborted = after_open(&[(SERVER, RST_ACK, 501, 101, 0)]);
    assert_eq!(aborted.stands(SERVER), (S::Close, Some((R::RstSent, BY_LOCAL))));
    assert_eq!(aborted.stands(CLIENT), (S::Close, Some((R::RstReceived, BY_REMOTE))));

    let late = after_open(&[
        (CLIENT, FIN, 101, 501, 0),
        (SERVER, ACK, 501, 102, 0),
        (SERVER, ACK, 501, 102, 9),
        (CLIENT, RST, 102, 0, 0),
    ]);
    assert_eq!(late.stands(CLIENT), (S::Close, Some((R::RstSent, BY_LOCAL))));
    assert_eq!(late.stands(SERVER), (S::Close, Some((R::ResetAfterFin, BY_REMOTE))));
    assert_eq!(late.one(SERVER).judged().unwrap().verdict.error, 32);
}

#[test]
fn a_reset_that_does_not_fit_is_nobody_s() {
    let told = after_open(&[(SERVER, RST, 501 + (1 << 31), 0, 0)]);
    assert_eq!((told.stands(CLIENT).0, told.stands(SERVER).0), (S::Established, S::Established));
    assert_eq!(told.conversations.figures().strangers, 1);
}

#[test]
fn a_scan_leaves_no_server_behind() {
    let told = Told::of(&[OPEN[0], OPEN[1], (CLIENT, RST, 101, 0, 0)]);
    assert_eq!(told.stands(CLIENT), (S::Close, Some((R::Unknown, BY_LOCAL))));
    assert!(told.all(SERVER).is_empty());
}

#[test]
fn a_client_that_hears_nothing_is_not_connected() {
    // The SYN-ACKs pass, and get lost further on.
    let told = Told::of(&[OPEN[0], OPEN[1], OPEN[0], OPEN[1]]);
    assert_eq!(told.stands(CLIENT), (S::SynSent, None));
    assert!(told.all(SERVER).is_empty());
}

#[test]
fn a_syn_is_given_up_once_the_next_is_overdue() {
    let ask = |told: &mut Told, at| told.take(&sighting(at, CLIENT, SYN, 100, 0, 0));
    let mut told = Told::new();
    for at in [0, 1000, 3000] {
        ask(&mut told, at);
    }
    let early = told.until(8_900);
    assert_eq!(early.stands(CLIENT), (S::SynSent, None));
    let late = early.until(9_100);
    assert_eq!(late.stands(CLIENT), (S::Close, Some((R::ConnectTimeout, None))));
    assert_eq!(late.one(CLIENT).closed().unwrap().at, Ts(7_000 * MILLI));

    let mut once = Told::new();
    ask(&mut once, 0);
    assert_eq!(once.until(5_000).stands(CLIENT), (S::Close, Some((R::Unknown, BY_LOCAL))));
}

#[test]
fn time_wait_ends_by_itself_or_by_the_next_connection() {
    let close =
        [(CLIENT, FIN, 101, 501, 0), (SERVER, FIN, 501, 102, 0), (CLIENT, ACK, 102, 502, 0)];
    let told = after_open(&close).until(60_500);
    assert_eq!(told.stands(CLIENT), (S::TimeWait, Some((R::FinActive, BY_LOCAL))));
    assert!(told.one(CLIENT).closed().is_some());

    let again = [
        (CLIENT, SYN, 9_100, 0, 0),
        (SERVER, SYN_ACK, 9_500, 9_101, 0),
        (CLIENT, ACK, 9_101, 9_501, 0),
    ];
    let told = after_open(&[&close[..], &again].concat());
    for end in [CLIENT, SERVER] {
        let [before, now] = told.all(end)[..] else { panic!("{end}") };
        assert!(before.closed().is_some() && now.state == S::Established, "{end}");
    }
}

#[test]
fn what_began_before_the_capture_is_found() {
    let told = Told::of(&[
        (SERVER, ACK, 5_000, 900, 100),
        (CLIENT, ACK, 900, 5_100, 0),
        (SERVER, FIN, 5_100, 900, 0),
        (CLIENT, ACK, 900, 5_101, 0),
    ]);
    assert_eq!((told.stands(SERVER).0, told.stands(CLIENT).0), (S::FinWait2, S::CloseWait));
    for end in [CLIENT, SERVER] {
        let one = told.one(end);
        assert!(one.found && one.direction == Direction::Unknown && !one.is_complete(0));
    }
    assert_eq!(told.one(CLIENT).bytes_received(), Some(100));
    // An ACK alone may be the last of a connection.
    assert!(Told::of(&[(CLIENT, ACK, 1, 1, 0)]).all(CLIENT).is_empty());
    // The SYN was missed: who answers tells of it.
    let told = Told::of(&OPEN[1..]);
    assert_eq!((told.stands(CLIENT).0, told.stands(SERVER).0), (S::Established, S::Established));
    assert_eq!(told.one(CLIENT).direction, Direction::Outbound);
}

#[test]
fn one_direction_alone_tells_what_it_can() {
    let close =
        [(CLIENT, FIN, 101, 501, 0), (SERVER, FIN, 501, 102, 0), (CLIENT, ACK, 102, 502, 0)];
    let all = [&OPEN[..], &close].concat();
    let of = |end: &str| {
        let rows: Vec<_> = all.iter().copied().filter(|row| row.0 == end).collect();
        Told::of(&rows)
    };
    let client = of(CLIENT);
    assert_eq!(client.one(CLIENT).direction, Direction::Outbound);
    assert_eq!(client.one(SERVER).direction, Direction::Inbound);
    assert_eq!(client.stands(SERVER).0, S::CloseWait);
    let server = of(SERVER);
    assert_eq!(server.one(CLIENT).direction, Direction::Outbound);
    assert_eq!(server.one(SERVER).state, S::FinWait1);
}

#[test]
fn an_old_connection_s_peer_may_live_on_until_it_is_reset() {
    // The client's host started anew and uses the same port: the server challenges, is reset, and
    // takes the SYN that is sent again.
    let told = after_open(&[
        (CLIENT, SYN, 70_000, 0, 0),
        (SERVER, ACK, 501, 101, 0),
        (CLIENT, RST, 101, 0, 0),
        (CLIENT, SYN, 70_000, 0, 0),
        (SERVER, SYN_ACK, 90_000, 70_001, 0),
        (CLIENT, ACK, 70_001, 90_001, 0),
    ]);
    let [before, now] = told.all(SERVER)[..] else { panic!("{:#?}", told.all(SERVER)) };
    assert_eq!(before.judged().unwrap().verdict.reason, R::RstReceived);
    assert_eq!(now.state, S::Established);
    let [before, now] = told.all(CLIENT)[..] else { panic!("{:#?}", told.all(CLIENT)) };
    assert_eq!(before.judged().unwrap().verdict.reason, R::Unknown);
    assert_eq!(now.state, S::Established);
}

#[test]
fn retransmissions_probes_and_doubles_are_told_apart() {
    let told = after_open(&[
        (CLIENT, ACK, 101, 501, 50),
        // Again, of which a part is new.
        (CLIENT, ACK, 131, 501, 40),
        (CLIENT, ACK, 101, 501, 50),
        (SERVER, ACK, 501, 171, 0),
        // A keep-alive probe and its answer.
        (CLIENT, ACK, 170, 501, 0),
        (CLIENT, ACK, 170, 501, 1),
        (SERVER, ACK, 501, 171, 0),
    ]);
    let client = told.one(CLIENT);
    assert_eq!(client.transfer.unwrap().retransmits, 1);
    assert_eq!(client.bytes_sent(), Some(70));

    let mut twice = Told::new();
    for (at, row) in (1..).zip(OPEN) {
        let seen = sighting(at, row.0, row.1, row.2, row.3, row.4);
        twice.take(&seen);
        twice.take(&Sighting { at: Ts(seen.at.0 + 20_000), ..seen });
    }
    assert_eq!(twice.shown(CLIENT), [SYN, ACK]);
    assert_eq!(twice.conversations.figures().doubles, 3);
}

#[test]
fn sequence_numbers_wrap_around() {
    let near = u32::MAX - 2;
    let told = Told::of(&[
        (CLIENT, SYN, near, 0, 0),
        (SERVER, SYN_ACK, u32::MAX, near.wrapping_add(1), 0),
        (CLIENT, ACK, near.wrapping_add(1), 0, 0),
        (CLIENT, ACK, near.wrapping_add(1), 0, 10),
        (SERVER, FIN, 0, 8, 0),
        (CLIENT, FIN, 8, 1, 0),
        (SERVER, ACK, 1, 9, 0),
    ]);
    assert_eq!(told.stands(CLIENT), (S::Close, Some((R::FinPassive, BY_REMOTE))));
    assert_eq!(told.one(CLIENT).bytes_sent(), Some(10));
}

#[test]
fn memory_is_bounded_and_what_is_over_makes_room() {
    let mut conversations = Conversations::new(2);
    let mut events = Vec::new();
    let mut ask = |conversations: &mut Conversations, at, port| {
        let mut syn = sighting(at, CLIENT, SYN, 100, 0, 0);
        syn.source.set_port(port);
        conversations.take(&syn, &mut events);
    };
    for port in 1..=3 {
        ask(&mut conversations, 0, port);
    }
    assert_eq!(conversations.figures().refused, 1);
    ask(&mut conversations, Duration::from_secs(10).as_millis().try_into().unwrap(), 3);
    assert_eq!((conversations.figures().refused, conversations.figures().taken), (1, 3));
}

proptest! {
    /// No order of any segments breaks the inference or the table behind it.
    #[test]
    fn any_segments_are_survived(
        rows in proptest::collection::vec(
            (any::<bool>(), any::<u8>(), 0u32..8, 0u32..8, 0u32..4, 0u64..2000), 0..200),
        base: u32,
    ) {
        let mut told = Told::new();
        let mut at = 0;
        for (client, flags, seq, ack, payload, gap) in rows {
            at += gap * gap / 40;
            let from = if client { CLIENT } else { SERVER };
            let (seq, ack) = (base.wrapping_add(seq), base.wrapping_add(ack));
            told.take(&sighting(at, from, flags, seq, ack, payload));
        }
        told.until(at + 1);
    }
}
