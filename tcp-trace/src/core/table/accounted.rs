//! Whatever passes, in whatever order: each segment is in one place, and all places are bounded.

use proptest::prelude::*;
use tcp_trace_common as wire;

use super::{scene::Scene, tests::assert_consistent, *};
use crate::core::{
    event::{LifeStep, TimeWaitEnd},
    exchange::SEGMENT_LIMIT,
    pending::PER_FLOW,
    segment::Travel,
    statistics::SegmentCounts,
    story,
    timeline::STEP_LIMIT,
};
use TcpState as S;

const SYN: u8 = wire::TCP_SYN;
const ACK: u8 = wire::TCP_ACK;
const FIN: u8 = wire::TCP_FIN;
const RST: u8 = wire::TCP_RST;
const SECOND: u64 = 1_000_000;

/// Anything at all, on few flows.
#[derive(Clone, Debug)]
enum Any {
    State(u64, usize, usize),
    Mini(u64, bool),
    Request,
    Segment(bool, u8, u32, u32),
    Tick(u64),
}

fn any_event() -> impl Strategy<Value = (u16, Any)> {
    let flags = prop::sample::select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, 0, 255]);
    let segment = (any::<bool>(), flags, 0u32..4, 0u32..4);
    let what = prop_oneof![
        (0u64..3, 0usize..12, 0usize..12).prop_map(|(sk, old, new)| Any::State(sk, old, new)),
        (0u64..3, any::<bool>()).prop_map(|(sk, born)| Any::Mini(sk, born)),
        Just(Any::Request),
        segment.clone().prop_map(|(out, flags, seq, ack)| Any::Segment(out, flags, seq, ack)),
        segment.prop_map(|(out, flags, seq, ack)| Any::Segment(out, flags, seq, ack)),
        (0u64..100).prop_map(Any::Tick),
    ];
    (1u16..4, what)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Each segment is in one place, whatever comes, in whatever order.
    #[test]
    fn every_segment_is_accounted_for_once(
        events in prop::collection::vec(any_event(), 0..200),
        backwards in any::<bool>(),
    ) {
        let mut scene = Scene::server();
        scene.table.limits = Limits { live: 4, closed: 3 };
        let (mut passed, mut now) = (0, 10_000_000u64);
        for (port, event) in events {
            scene.flow.remote.set_port(port);
            now = if backwards { now - 100 } else { now + 100 };
            match event {
                Any::State(sk, old, new) => {
                    scene.sk_is(sk + u64::from(port) * 10);
                    scene.state(now, S::ALL[old], S::ALL[new]);
                }
                Any::Mini(sk, born) => {
                    scene.sk_is(sk + u64::from(port) * 10);
                    let (substate, why) = (S::TimeWait, TimeWaitEnd::Reused);
                    scene.life(now, if born {
                        LifeStep::TimeWaitBorn { substate, from: sk }
                    } else {
                        LifeStep::TimeWaitEnded { substate, why }
                    });
                }
                Any::Request => { scene.life(now, LifeStep::Request); }
                Any::Segment(out, flags, seq, ack) => {
                    passed += 1;
                    let travel = if out { Travel::Out } else { Travel::In };
                    scene.pass(now, travel, flags, (seq, ack));
                }
                Any::Tick(seconds) => {
                    if !backwards { now += seconds * SECOND; }
                    scene.table.tick(Ts(now * 1_000));
                }
            }
            let SegmentCounts { joined, after_end, strangers, refused, pending } =
                scene.table.segments();
            prop_assert_eq!(joined + after_end + strangers + refused + pending, passed);
            prop_assert!(pending <= 3 * PER_FLOW as u64);
            assert_consistent(&scene.table);
        }
        for connection in scene.table.live().chain(scene.table.closed()) {
            let story = story::tell(connection);
            prop_assert!(story.len() <= SEGMENT_LIMIT + STEP_LIMIT + 3);
        }
        scene.table.finish();
        scene.table.tick(Ts(u64::MAX));
        scene.table.tick(Ts(u64::MAX));
        prop_assert_eq!(scene.table.segments().pending, 0);
    }
}
