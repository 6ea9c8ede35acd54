//! Segments against the connections that they are of.

use tcp_trace_common as wire;

use super::{scene::Scene, tests::assert_consistent, *};
use crate::core::{
    event::{LifeStep, TimeWaitEnd},
    segment::Travel::{In, Out},
    statistics::SegmentCounts,
    story::{self, What},
};
use TcpState as S;

const SYN: u8 = wire::TCP_SYN;
const ACK: u8 = wire::TCP_ACK;
const FIN: u8 = wire::TCP_FIN;
const RST: u8 = wire::TCP_RST;
const SECOND: u64 = 1_000_000;

/// The story in few words: states and what passed.
fn told(connection: &Connection) -> Vec<String> {
    let words = |told: &story::Told| match &told.what {
        What::Step(StepKind::State { to, .. }) => to.to_string(),
        What::Step(StepKind::MiniBorn { substate, .. }) => format!("mini {substate}"),
        What::Step(StepKind::MiniEnded { .. }) => "mini over".to_owned(),
        What::Step(StepKind::Call { call, .. }) => format!("{}()", call.name()),
        What::Step(StepKind::Segment { segment, count, .. }) => format!("{segment:?} x{count}"),
        What::Step(StepKind::Mark(mark)) => format!("{mark:?}"),
        What::Wire(segment) => {
            let again = if segment.retransmit { " again" } else { "" };
            format!("{} {}{again}", segment.travel.name(), segment.header.flags)
        }
        What::Omitted(count) => format!("{count} omitted"),
    };
    story::tell(connection).iter().map(words).collect()
}

fn counts(joined: u64, after_end: u64, strangers: u64, pending: u64) -> SegmentCounts {
    SegmentCounts { joined, after_end, strangers, refused: 0, pending }
}

/// Up to ESTABLISHED, the SYN at the first microsecond.
fn accepted(scene: &mut Scene) -> &mut Scene {
    scene
        .pass(1, In, SYN, (0, 0))
        .life(2, LifeStep::Request)
        .pass(3, Out, SYN | ACK, (0, 1))
        .pass(61, In, ACK, (1, 1))
        .state(63, S::Listen, S::SynRecv)
        .state(64, S::SynRecv, S::Established)
}

fn connected(scene: &mut Scene) -> &mut Scene {
    scene
        .state(1, S::Close, S::SynSent)
        .pass(3, Out, SYN, (0, 0))
        .pass(60, In, SYN | ACK, (0, 1))
        .state(62, S::SynSent, S::Established)
        .pass(63, Out, ACK, (1, 1))
}

#[test]
fn a_server_has_its_handshake_from_the_syn_on() {
    let mut scene = Scene::server();
    accepted(&mut scene);
    let story = ["in SYN", "out SYN,ACK", "in ACK", "SYN_RECV", "ESTABLISHED"];
    assert_eq!(told(scene.connection()), story);
    assert_eq!(scene.table.segments(), counts(3, 0, 0, 0));
}

#[test]
fn a_client_has_its_handshake_whenever_its_port_is_told() {
    for told_late in [false, true] {
        let mut scene = Scene::client();
        if told_late {
            let mut change = scene.change(S::Close, S::SynSent);
            change.flow.local.set_port(0);
            scene.put(1, Body::State(change)).pass(3, Out, SYN, (0, 0)).pass(
                60,
                In,
                SYN | ACK,
                (0, 1),
            );
            assert_eq!(scene.table.segments(), counts(0, 0, 0, 2));
            scene.state(62, S::SynSent, S::Established).pass(63, Out, ACK, (1, 1));
        } else {
            connected(&mut scene);
        }
        let story = ["SYN_SENT", "out SYN", "in SYN,ACK", "ESTABLISHED", "out ACK"];
        assert_eq!(told(scene.connection()), story);
        assert_eq!(scene.table.segments(), counts(3, 0, 0, 0));
    }
}

#[test]
fn four_segments_end_what_the_peer_closed_first() {
    let mut scene = Scene::server();
    accepted(&mut scene)
        .pass(100, In, FIN | ACK, (1, 1))
        .state(101, S::Established, S::CloseWait)
        .pass(102, Out, ACK, (1, 2))
        .state(200, S::CloseWait, S::LastAck)
        .pass(201, Out, FIN | ACK, (1, 2))
        .pass(250, In, ACK, (2, 2))
        .state(251, S::LastAck, S::Close);
    let story = told(scene.connection());
    let end = ["in FIN,ACK", "CLOSE_WAIT", "out ACK", "LAST_ACK", "out FIN,ACK", "in ACK", "CLOSE"];
    assert_eq!(story[5..], end);
    assert_eq!(scene.table.segments(), counts(7, 0, 0, 0));
}

#[test]
fn the_last_ack_may_come_after_the_end_and_changes_nothing_of_it() {
    let mut scene = Scene::server();
    accepted(&mut scene)
        .pass(100, In, FIN | ACK, (1, 1))
        .state(101, S::Established, S::CloseWait)
        .state(200, S::CloseWait, S::LastAck)
        .pass(201, Out, FIN | ACK, (1, 2))
        .state(251, S::LastAck, S::Close);
    let end = scene.connection().closed();
    scene.pass(250, In, ACK, (2, 2)).pass(2 * SECOND, Out, RST, (2, 2));
    assert_eq!(told(scene.connection())[9..], ["in ACK", "CLOSE", "out RST"]);
    assert_eq!((scene.connection().closed(), scene.table.segments()), (end, counts(5, 2, 0, 0)));
    scene.pass(90 * SECOND, In, RST, (2, 2));
    assert_eq!(scene.table.segments(), counts(5, 2, 1, 0));
}

#[test]
fn three_segments_end_what_we_closed_first_and_the_mini_socket_goes_on_hearing() {
    let mut scene = Scene::client();
    connected(&mut scene)
        .state(100, S::Established, S::FinWait1)
        .pass(101, Out, FIN | ACK, (1, 1))
        .pass(150, In, FIN | ACK, (1, 2))
        .state(151, S::FinWait1, S::FinWait2)
        .life(152, LifeStep::TimeWaitBorn { substate: S::TimeWait, from: 7 })
        .state(153, S::FinWait2, S::Close)
        .pass(154, Out, ACK, (2, 2))
        .pass(400_000, In, FIN | ACK, (1, 2))
        .pass(400_001, Out, ACK, (2, 2));
    let end = [
        "FIN_WAIT1",
        "out FIN,ACK",
        "in FIN,ACK",
        "FIN_WAIT2",
        "mini TIME_WAIT",
        "out ACK",
        "in FIN,ACK again",
        "out ACK again",
    ];
    assert_eq!(told(scene.connection())[5..], end);
    assert_eq!(scene.table.segments(), counts(8, 0, 0, 0));
    assert_consistent(&scene.table);
}

#[test]
fn a_half_close_waits_between_its_fins() {
    let mut scene = Scene::client();
    connected(&mut scene)
        .state(100, S::Established, S::FinWait1)
        .pass(101, Out, FIN | ACK, (413, 1))
        .pass(150, In, ACK, (1, 414))
        .state(151, S::FinWait1, S::FinWait2)
        .pass(9 * SECOND, In, FIN | ACK, (1_901, 414))
        .state(9 * SECOND + 1, S::FinWait2, S::TimeWait);
    let data: Vec<_> = story::tell(scene.connection())
        .iter()
        .filter_map(|told| match &told.what {
            What::Wire(segment) => Some((segment.data_in, segment.data_out)),
            _ => None,
        })
        .collect();
    assert_eq!(data, [(0, 0), (0, 0), (0, 0), (0, 412), (0, 0), (1_900, 0)]);
}

#[test]
fn syns_and_fins_may_cross() {
    let mut scene = Scene::client();
    scene
        .state(1, S::Close, S::SynSent)
        .pass(2, Out, SYN, (0, 0))
        .pass(20, In, SYN, (0, 0))
        .state(21, S::SynSent, S::SynRecv)
        .pass(22, Out, SYN | ACK, (0, 1))
        .pass(40, In, SYN | ACK, (0, 1))
        .state(41, S::SynRecv, S::Established)
        .state(50, S::Established, S::FinWait1)
        .pass(51, Out, FIN | ACK, (1, 1))
        .pass(52, In, FIN | ACK, (1, 1))
        .state(53, S::FinWait1, S::Closing)
        .pass(54, Out, ACK, (2, 2))
        .pass(90, In, ACK, (2, 2))
        .state(91, S::Closing, S::TimeWait);
    assert!(told(scene.connection()).iter().all(|word| !word.ends_with("again")));
    assert_eq!(scene.table.segments(), counts(8, 0, 0, 0));
}

#[test]
fn what_two_hooks_tell_is_told_once() {
    let mut scene = Scene::client();
    scene
        .state(1, S::Close, S::SynSent)
        .pass(2, Out, SYN, (0, 0))
        .life(SECOND, LifeStep::Retransmit(S::SynSent))
        .pass(SECOND + 1, Out, SYN, (0, 0))
        .life(3 * SECOND, LifeStep::Retransmit(S::SynSent));
    // The last one was lost on its way here.
    assert_eq!(
        told(scene.connection()),
        ["SYN_SENT", "out SYN", "Retransmit(SynSent) x1", "out SYN again"]
    );
    scene.pass(3 * SECOND + 1, Out, SYN, (0, 0));
    let again = ["SYN_SENT", "out SYN", "out SYN again", "out SYN again"];
    assert_eq!(told(scene.connection()), again);
    let resets = LifeStep::ResetSent { reason: None, unasked: false };
    scene.life(3 * SECOND + 5, resets).pass(3 * SECOND + 9, Out, RST, (1, 0));
    assert_eq!(told(scene.connection())[4..], ["out RST"]);
}

#[test]
fn syn_acks_sent_again_are_told_once() {
    let mut scene = Scene::server();
    scene
        .pass(1, In, SYN, (0, 0))
        .life(2, LifeStep::Request)
        .pass(3, Out, SYN | ACK, (0, 1))
        .life(SECOND, LifeStep::SynAckRetransmit(1))
        .pass(SECOND + 1, Out, SYN | ACK, (0, 1))
        .pass(SECOND + 60, In, ACK, (1, 1))
        .state(SECOND + 61, S::Listen, S::SynRecv)
        .state(SECOND + 62, S::SynRecv, S::Established);
    let story = ["in SYN", "out SYN,ACK", "out SYN,ACK again", "in ACK", "SYN_RECV", "ESTABLISHED"];
    assert_eq!(told(scene.connection()), story);
}

#[test]
fn a_refusal_has_its_rst() {
    let mut scene = Scene::client();
    let mut refused = scene.change(S::SynSent, S::Close);
    refused.error = 111;
    scene
        .state(1, S::Close, S::SynSent)
        .pass(2, Out, SYN, (0, 0))
        .pass(40, In, RST | ACK, (0, 1))
        .put(41, Body::State(refused));
    assert_eq!(told(scene.connection()), ["SYN_SENT", "out SYN", "in RST,ACK", "CLOSE"]);
}

#[test]
fn what_nobody_claims_is_of_strangers() {
    let mut scene = Scene::server();
    scene.pass(1, In, SYN, (0, 0)).pass(2, In, ACK, (1, 1));
    assert_eq!(scene.table.segments(), counts(0, 0, 0, 2));
    scene.table.tick(Ts(63 * SECOND * 1_000));
    assert_eq!(scene.table.segments(), counts(0, 0, 0, 2));
    scene.table.tick(Ts(65 * SECOND * 1_000));
    assert_eq!(scene.table.segments(), counts(0, 0, 2, 0));
    // Answered with a RST: nobody listens, and nobody will come.
    scene.pass(66 * SECOND, In, SYN, (0, 0)).pass(66 * SECOND + 1, Out, RST | ACK, (0, 1));
    scene.table.tick(Ts(68 * SECOND * 1_000));
    assert_eq!(scene.table.segments(), counts(0, 0, 4, 0));
    scene.pass(70 * SECOND, In, FIN | ACK, (1, 1));
    assert_eq!(scene.table.segments(), counts(0, 0, 5, 0));
}

fn waiting(scene: &mut Scene) -> &mut Scene {
    connected(scene)
        .state(100, S::Established, S::FinWait1)
        .pass(101, Out, FIN | ACK, (1, 1))
        .pass(150, In, FIN | ACK, (1, 2))
        .state(151, S::FinWait1, S::FinWait2)
        .life(152, LifeStep::TimeWaitBorn { substate: S::TimeWait, from: 7 })
        .state(153, S::FinWait2, S::Close)
}

#[test]
fn a_new_connection_takes_its_syn_and_leaves_the_old_one_its_own() {
    let mut scene = Scene::client();
    waiting(&mut scene).pass(SECOND, In, SYN, (90_000, 0));
    assert_eq!(scene.table.segments(), counts(5, 0, 0, 1));
    let why = TimeWaitEnd::Reused;
    scene.life(SECOND + 1, LifeStep::TimeWaitEnded { substate: S::TimeWait, why });
    scene.pass(SECOND + 2, Out, SYN | ACK, (80_000, 90_001));
    // The peer takes its time.
    scene.table.tick(Ts(5 * SECOND * 1_000));
    assert_eq!(scene.table.segments(), counts(5, 0, 0, 2));
    scene.pass(6 * SECOND, In, ACK, (90_001, 80_001));
    scene.another();
    scene.state(6 * SECOND + 1, S::Listen, S::SynRecv);
    scene.state(6 * SECOND + 2, S::SynRecv, S::Established);
    let story = ["in SYN", "out SYN,ACK", "in ACK", "SYN_RECV", "ESTABLISHED"];
    assert_eq!(told(scene.table.live().next().unwrap()), story);
    assert_eq!(told(scene.table.closed().next().unwrap()).last().unwrap(), "mini over");
    assert_eq!(scene.table.segments(), counts(8, 0, 0, 0));
}

#[test]
fn an_old_duplicate_syn_stays_with_the_mini_socket_that_it_met() {
    let mut scene = Scene::client();
    waiting(&mut scene).pass(SECOND, In, SYN, (90_000, 0)).pass(SECOND + 1, Out, ACK, (2, 2));
    scene.table.tick(Ts(3 * SECOND * 1_000));
    let story = told(scene.connection());
    assert_eq!(story[story.len() - 2..], ["in SYN", "out ACK"]);
    assert_eq!(scene.table.segments(), counts(7, 0, 0, 0));
}

#[test]
fn a_snapshot_that_came_first_hands_the_segments_on_to_the_birth() {
    let mut scene = Scene::client();
    let mut found = scene.change(S::SynSent, S::SynSent);
    found.origin = Origin::Snapshot;
    found.socket = scene.row();
    let found_cookie = found.socket.cookie;
    scene.put(1, Body::State(found)).pass(2, Out, SYN, (0, 0));
    let mut birth = scene.change(S::Close, S::SynSent);
    birth.socket.cookie = found_cookie;
    scene.put(3, Body::State(birth));
    assert_eq!(told(scene.connection()), ["out SYN", "SYN_SENT"]);
    assert_eq!((scene.table.len(), scene.table.segments()), (1, counts(1, 0, 0, 0)));
}

#[test]
fn one_connection_keeps_a_bounded_number() {
    let mut scene = Scene::server();
    accepted(&mut scene);
    for n in 0..1_000 {
        scene.pass(100 + u64::from(n), In, FIN | ACK, (n, 1));
    }
    let story = told(scene.connection());
    assert!(story.contains(&"939 omitted".to_owned()), "{story:?}");
    assert!(story.len() < 80);
    assert_eq!(scene.table.segments().joined, 1_003);
}

/// A client's orphan in `FIN_WAIT2`, whose mini-socket is told or inferred.
fn orphan(hooked: bool) -> Scene {
    let mut scene = Scene::client();
    scene.table.set_sources(Sources { time_wait: hooked, calls: true, resets: true });
    connected(&mut scene)
        .state(100, S::Established, S::FinWait1)
        .pass(101, Out, FIN | ACK, (1, 1))
        .pass(150, In, ACK, (1, 2))
        .state(151, S::FinWait1, S::FinWait2);
    let mut end = scene.change(S::FinWait2, S::Close);
    let rcv_nxt = super::scene::ITS.wrapping_add(1);
    end.transfer = Some(crate::core::event::Transfer { rcv_nxt, ..Default::default() });
    end.flags = Some(crate::core::event::SockFlags { dead: true, ..Default::default() });
    scene.put(152, Body::State(end));
    scene
}

/// How many have left this state after a time that is known.
fn stood(scene: &Scene, state: S) -> u64 {
    scene.table.statistics().state_durations[state.index()].count()
}

/// Likewise, a RST is all that tells of an early end.
#[test]
fn a_reset_ends_an_inferred_mini_socket() {
    for (travel, seq) in [(Out, 2), (In, 1)] {
        let mut scene = orphan(false);
        // One out of place ends nothing.
        scene.pass(200, In, RST, (900_000, 0));
        assert_eq!(scene.table.live.len(), 1);
        scene.pass(300, travel, RST, (seq, 0));
        assert_eq!(scene.table.live.len(), 0, "{travel:?}");
        let closed = scene.table.closed.back().unwrap();
        assert_eq!(told(closed).last().map(String::as_str), Some("mini over"), "{closed:#?}");
        assert_eq!(stood(&scene, S::FinWait2), 2, "the full socket, and the mini-socket");
        assert_consistent(&scene.table);
    }
}

/// Without hooks for mini-sockets, the wire tells when the peer's FIN came, and nothing else does.
#[test]
fn a_fin_turns_an_inferred_mini_socket_to_time_wait() {
    let closed = orphan;
    let state = |scene: &Scene| scene.table.live.iter().next().map(|(_, known)| known.state);
    let mut scene = closed(false);
    assert_eq!(state(&scene), Some(S::FinWait2));
    // One that lies ahead has to wait for what is missing, and the kernel answers it with a RST.
    scene.pass(200, In, FIN | ACK, (9, 2));
    assert_eq!(state(&scene), Some(S::FinWait2));
    scene.pass(300, In, FIN | ACK, (1, 2)).pass(301, Out, ACK, (2, 2));
    assert_eq!(state(&scene), Some(S::TimeWait));
    assert_eq!(stood(&scene, S::FinWait2), 2, "the full socket, and the mini-socket");
    assert_consistent(&scene.table);
    scene.table.tick(Ts(90 * SECOND * 1_000));
    assert_eq!(state(&scene), None, "a minute later it is over");
    assert_eq!(stood(&scene, S::TimeWait), 0, "its end was reckoned and not seen");
    assert_consistent(&scene.table);

    // A hook has the better word.
    let mut scene = closed(true);
    let before = state(&scene);
    scene.pass(300, In, FIN | ACK, (1, 2));
    assert_eq!(state(&scene), before);
}
