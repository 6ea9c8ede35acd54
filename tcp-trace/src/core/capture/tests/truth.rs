//! What is inferred, held against sockets that know.

use proptest::prelude::*;

use super::{
    super::conversations::Conversations,
    model::World,
    told::{CLIENT, SERVER, sighting},
};
use crate::core::{
    clock::Ts,
    close::{CloseReason as R, ClosedBy},
    connection::Connection,
    event::Event,
    table::{Limits, Table},
    tcp_state::TcpState as S,
};

fn inferred(world: &World) -> Table {
    let mut table = Table::new(Limits::default());
    let (mut conversations, mut events) = (Conversations::default(), Vec::<Event>::new());
    let mut at = 0;
    for (from, header) in &world.seen {
        at += 5;
        let mut seen = sighting(at, [CLIENT, SERVER][*from], 0, 0, 0, 0);
        seen.header = *header;
        conversations.take(&seen, &mut events);
    }
    conversations.finish(Ts(at * 1_000_000), &mut events);
    for event in &events {
        table.apply(event);
    }
    assert_eq!(table.statistics().illegal_transitions, 0);
    table
}

fn of<'a>(table: &'a Table, end: &str) -> Option<&'a Connection> {
    let local = end.parse().unwrap();
    let mut all = table.live().chain(table.closed()).filter(|known| known.flow().local == local);
    let found = all.next();
    assert!(all.next().is_none(), "two lives of {end}");
    found
}

fn in_order(reason: R) -> bool {
    matches!(reason, R::FinActive | R::FinPassive | R::Simultaneous)
}

fn seen_from_afar((reason, by): (R, Option<ClosedBy>)) -> (R, Option<ClosedBy>) {
    match reason {
        // Two RSTs may cross as well.
        R::RstReceived | R::ResetAfterFin | R::RstSent => (R::RstReceived, None),
        // Nor which came first at the far end, a FIN with data before it or the ACK of its own.
        R::FinActive | R::Simultaneous => (R::FinActive, None),
        _ => (reason, by),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Wherever segments get lost and whatever is sent again, in the end both sockets stand, and
    /// have ended, as is inferred.
    #[test]
    fn what_is_inferred_is_true(
        acts in proptest::collection::vec((0usize..2, 0u8..10, 1u32..2000), 0..60),
        initial: [u32; 2], tap in 0usize..2, rest in proptest::bool::weighted(0.9),
    ) {
        let mut world = World::new(initial, tap);
        let mut aborted = false;
        for (who, what, size) in acts {
            // One abort: of two at once, the wire does not tell which was first.
            if what == 9 && std::mem::replace(&mut aborted, true) {
                continue;
            }
            world.act(who, what, size);
        }
        if !rest {
            // Cut short, it need only make sense.
            inferred(&world);
            return Ok(());
        }
        world.rest();
        let table = inferred(&world);
        for (side, (end, socket)) in [CLIENT, SERVER].into_iter().zip(&world.sockets).enumerate() {
            let known = of(&table, end);
            if matches!(socket.state, S::Listen | S::NewSynRecv) {
                // The handshake's last ACK may have passed the tap and been lost.
                prop_assert!(known.is_none() || side != tap, "{known:#?}");
                continue;
            }
            let Some(known) = known else { return Err(TestCaseError::fail(format!("no {end}"))) };
            let verdict = known.judged().map(|judged| (judged.verdict.reason, judged.verdict.by));
            match (verdict, socket.end) {
                // Who learned of which FIN first, the tap cannot know.
                (Some(_), Some(_)) if world.fin_lost => {}
                // Nor, of a reset, what was still on its way to or from the far end.
                (Some(told), Some(truth)) if side != tap => {
                    prop_assert_eq!(seen_from_afar(told), seen_from_afar(truth), "{}", end);
                }
                (told, truth) => prop_assert_eq!(told, truth, "{}", end),
            }
            if !world.fin_lost {
                prop_assert_eq!(known.state, socket.state, "{}", end);
            }
            if verdict.is_none_or(|(reason, _)| in_order(reason)) {
                prop_assert_eq!(known.bytes_received(), Some(socket.got), "{}", end);
            }
        }
    }
}
