//! Lives told by more than state changes: calls, mini-sockets, requests, resets.

use std::num::NonZeroU64;

use super::{
    tests::{assert_consistent, change, event, table, walk},
    *,
};
use crate::core::{
    close::{CloseReason, ClosedBy},
    direction::Direction,
    event::{Caller, Comm, LifeEvent, LifeStep, Protocol, SockFlags, SocketId, Task, TimeWaitEnd},
    owner::OwnerSource,
    timeline::{Call, Segment},
};
use TcpState as S;

const SECOND: u64 = 1_000_000_000;
const ORPHAN: SockFlags =
    SockFlags { attached: false, dead: true, fin_received: false, shutdown: 3, subflow: false };

fn life(at: u64, sk: u64, what: LifeStep) -> Event {
    let StateChange { flow, netns, .. } = change(sk, S::Close, S::Close);
    let socket = SocketId { cookie: None, sk };
    let body = LifeEvent { socket, flow, protocol: Protocol::Tcp, netns, what };
    Event { at: Ts(at), body: Body::Life(body) }
}

fn caller(name: &str, pid: u32) -> Caller {
    let task = Task { pid, tid: pid, comm: Comm::from_text(name) };
    Caller { task, started_ns: NonZeroU64::new(9), cgroup: NonZeroU64::new(4) }
}

fn ending(sk: u64, old: S, flags: SockFlags) -> StateChange {
    StateChange { flags: Some(flags), ..change(sk, old, S::Close) }
}

#[test]
fn who_accepts_owns_and_is_counted_so() {
    let mut table = table();
    walk(&mut table, 2, &[S::Listen, S::SynRecv, S::Established]);
    table.apply(&life(5_000, 2, LifeStep::Accept(Some(caller("worker", 11)))));
    let known = table.live().next().unwrap();
    let owner = known.owner().unwrap();
    assert_eq!((owner.pid, owner.source), (11, OwnerSource::Accept));
    assert_eq!((owner.started_ns, owner.cgroup), (NonZeroU64::new(9), NonZeroU64::new(4)));
    assert!(matches!(
        known.timeline.steps().nth(2).unwrap().kind,
        StepKind::Call { call: Call::Accept, .. }
    ));
    let counted: Vec<_> = table.processes().iter().map(|process| process.name.text()).collect();
    assert_eq!(counted, ["worker"]);
    assert_consistent(&table);
}

#[test]
fn a_close_that_is_told_is_one_step() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1]);
    table.apply(&life(5_000, 1, LifeStep::Close(Some(caller("curl", 7)), S::FinWait1)));
    walk(&mut table, 1, &[S::FinWait1, S::FinWait1]);
    let known = table.live().next().unwrap();
    let closes = known.timeline.steps();
    let closes = closes.filter(|s| matches!(s.kind, StepKind::Call { call: Call::Close, .. }));
    assert_eq!(closes.count(), 1);
    assert_eq!(known.owner().unwrap().source, OwnerSource::Connect);
}

#[test]
fn a_mini_socket_carries_the_connection_on_to_its_own_end() {
    let mut table = table();
    table.set_sources(Sources { time_wait: true, ..Sources::default() });
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1, S::FinWait2]);
    let born = LifeStep::TimeWaitBorn { substate: S::FinWait2, from: 1 };
    table.apply(&life(6_000, 77, born));
    table.apply(&event(6_001, ending(1, S::FinWait2, ORPHAN)));
    let known = table.live().next().unwrap();
    assert_eq!((known.state, known.is_full()), (S::FinWait2, false));
    assert_eq!(table.statistics().closed_count(CloseReason::FinActive, Some(ClosedBy::Local)), 1);
    table.apply(&life(7_000, 77, LifeStep::TimeWaitSubstate));
    assert_eq!(table.live().next().unwrap().state, S::TimeWait);
    let why = TimeWaitEnd::Reused;
    table.apply(&life(8_000, 77, LifeStep::TimeWaitEnded { substate: S::TimeWait, why }));
    let ended = table.closed().next().unwrap();
    assert_eq!(ended.closed().unwrap().at, Ts(8_000));
    assert_eq!(ended.judged().unwrap().at, Ts(6_001));
    assert!(ended.is_complete(0) && table.is_empty());
    assert_eq!(table.statistics().time_wait_ended[why as usize], 1);
    assert_eq!(table.statistics().closed_count(CloseReason::FinActive, Some(ClosedBy::Local)), 1);
}

#[test]
fn events_that_a_snapshot_has_overtaken_change_nothing() {
    let mut table = table();
    let since = Ts(9 * SECOND);
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1]);
    table.apply(&life(10 * SECOND, 0, LifeStep::SnapshotBegun { since }));
    let found = LifeStep::FoundTimeWait { substate: S::FinWait2, left_ms: 60_000 };
    let mut row = life(10 * SECOND, 0, found);
    if let Body::Life(row) = &mut row.body {
        row.socket.cookie = NonZeroU64::new(4);
    }
    table.apply(&row);
    table.apply(&life(10 * SECOND, 0, LifeStep::SnapshotEnded { whole: true }));
    assert_eq!(table.live().next().unwrap().state, S::FinWait2);
    table.apply(&event(9_900_000_000, change(1, S::FinWait1, S::FinWait2)));
    table.apply(&event(9_900_000_001, ending(1, S::FinWait2, ORPHAN)));
    let known = table.live().next().unwrap();
    assert_eq!((table.len(), known.state, known.is_full()), (1, S::FinWait2, false));
    assert_consistent(&table);
}

#[test]
fn time_wait_is_inferred_and_ends_by_its_time_or_by_a_new_connection() {
    let done = SockFlags { fin_received: true, ..ORPHAN };
    for reused in [false, true] {
        let mut table = table();
        walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1, S::FinWait2]);
        table.apply(&event(6_000, ending(1, S::FinWait2, done)));
        assert_eq!(table.live().next().unwrap().state, S::TimeWait);
        if reused {
            walk(&mut table, 5, &[S::Close, S::SynSent]);
        } else {
            table.tick(Ts(59 * SECOND));
            assert_eq!(table.len(), 1);
            table.tick(Ts(61 * SECOND));
        }
        let why = if reused { TimeWaitEnd::Reused } else { TimeWaitEnd::Expired };
        let last = table.closed().next().unwrap().timeline.steps().last().unwrap().kind;
        assert_eq!(last, StepKind::MiniEnded { substate: S::TimeWait, why: Some(why) });
        assert_eq!(table.len(), usize::from(reused));
        assert_consistent(&table);
    }
}

#[test]
fn a_peer_has_closed_only_if_its_fin_came() {
    let told = |hooked: bool, fin: bool, over: bool| {
        let mut table = table();
        table.set_sources(Sources { time_wait: hooked, ..Sources::default() });
        walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1, S::FinWait2]);
        assert_eq!(table.live().next().unwrap().peer_closed(), Some(false));
        if hooked {
            let born = LifeStep::TimeWaitBorn { substate: S::FinWait2, from: 1 };
            table.apply(&life(6_000, 77, born));
        }
        table.apply(&event(6_001, ending(1, S::FinWait2, ORPHAN)));
        if fin {
            table.apply(&life(7_000, 77, LifeStep::TimeWaitSubstate));
        }
        let substate = if fin { S::TimeWait } else { S::FinWait2 };
        if over && hooked {
            let why = TimeWaitEnd::Expired;
            table.apply(&life(60 * SECOND, 77, LifeStep::TimeWaitEnded { substate, why }));
        } else if over {
            table.tick(Ts(61 * SECOND));
        }
        let known = table.live().chain(table.closed()).next().unwrap();
        assert_eq!(known.closed().is_some(), over);
        let last = known.timeline.steps().last().unwrap();
        (known.peer_closed(), crate::core::sentence::of_step(known, &last))
    };
    assert_eq!(told(true, false, false).0, Some(false));
    assert_eq!(told(true, true, true).0, Some(true));
    let (closed, words) = told(true, false, true);
    assert_eq!(closed, Some(false));
    assert!(words.starts_with("the peer never closed"), "{words}");
    // Nothing tells of a FIN that comes to a mini-socket without hooks.
    let (closed, words) = told(false, false, true);
    assert_eq!(closed, None);
    assert!(words.starts_with("no FIN of the peer was seen"), "{words}");
}

#[test]
fn a_child_begins_with_the_peer_s_syn() {
    let mut table = table();
    table.apply(&life(100, 50, LifeStep::Request));
    table.apply(&life(200, 50, LifeStep::SynAckRetransmit(1)));
    assert_eq!(table.half_open().open, 1);
    table.apply(&event(300, change(2, S::Listen, S::SynRecv)));
    table.apply(&event(400, change(2, S::SynRecv, S::Established)));
    let known = table.live().next().unwrap();
    assert_eq!(known.opened_at, Ts(100));
    let segments: Vec<_> = known
        .timeline
        .steps()
        .filter_map(|step| match step.kind {
            StepKind::Segment { segment, count, .. } => Some((step.at.0, segment, count)),
            _ => None,
        })
        .collect();
    assert_eq!(segments, [(100, Segment::SynReceived, 1), (200, Segment::SynAckAgain, 1)]);
    assert_eq!(table.statistics().inbound_handshakes.count(), 1);
    assert_eq!((table.half_open().open, table.half_open().taken), (0, 1));
}

#[test]
fn a_child_of_a_cookie_has_no_handshake_to_time() {
    let mut table = table();
    walk(&mut table, 2, &[S::Listen, S::SynRecv, S::Established]);
    assert_eq!(table.statistics().inbound_handshakes.count(), 0);
}

#[test]
fn a_reset_just_after_the_end_of_an_orphan_is_its_reason() {
    for reset in [false, true] {
        let mut table = table();
        table.set_sources(Sources { time_wait: true, calls: true, resets: true });
        walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1]);
        table.apply(&event(6_000, ending(1, S::FinWait1, ORPHAN)));
        assert_eq!(table.closed().count(), 0);
        if reset {
            let asked = LifeStep::ResetSent { reason: None, unasked: false };
            table.apply(&life(6_100, 1, asked));
        } else {
            table.tick(Ts(SECOND));
        }
        let reason = if reset { CloseReason::RstSent } else { CloseReason::OrphanKilled };
        let known = table.next_decided().unwrap();
        assert_eq!(known.judged().unwrap().verdict.reason, reason);
        assert_eq!(table.statistics().closed_count(reason, Some(ClosedBy::Local)), 1);
        assert!(table.next_decided().is_none());
    }
}

#[test]
fn what_ends_an_orphan_is_told_by_the_reset_that_follows() {
    let orphans = [(S::FinWait1, 0), (S::FinWait2, 0), (S::FinWait1, 104), (S::FinWait2, 104)];
    for ((state, error), unasked) in
        orphans.into_iter().flat_map(|orphan| [(orphan, false), (orphan, true)])
    {
        let mut table = table();
        table.set_sources(Sources { time_wait: true, calls: true, resets: true });
        walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1]);
        if state == S::FinWait2 {
            walk(&mut table, 1, &[S::FinWait1, S::FinWait2]);
        }
        table.apply(&event(6_000, StateChange { error, ..ending(1, state, ORPHAN) }));
        assert_eq!(table.closed().count(), 0);
        table.apply(&life(6_100, 1, LifeStep::ResetSent { reason: None, unasked }));
        let verdict = table.next_decided().unwrap().judged().unwrap().verdict;
        let reason = if unasked { CloseReason::OrphanKilled } else { CloseReason::RstSent };
        assert_eq!((verdict.reason, verdict.error), (reason, 0), "{state} {error}");
        assert_eq!(table.statistics().resets_received, 0);
    }
}

#[test]
fn a_reset_received_by_an_orphan_is_decided_late() {
    let mut table = table();
    table.set_sources(Sources { time_wait: true, calls: true, resets: true });
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1]);
    table.apply(&event(6_000, StateChange { error: 104, ..ending(1, S::FinWait1, ORPHAN) }));
    table.tick(Ts(SECOND));
    let verdict = table.next_decided().unwrap().judged().unwrap().verdict;
    assert_eq!((verdict.reason, verdict.error), (CloseReason::ResetAfterFin, 104));
    assert_eq!(table.statistics().resets_received, 1);
}

#[test]
fn parents_of_mptcp_are_listed_and_not_counted() {
    let mut table = table();
    let birth = change(1, S::Close, S::SynSent);
    table.apply(&event(1, StateChange { protocol: Protocol::Mptcp, ..birth }));
    assert_eq!(table.len(), 1);
    assert_eq!(table.population().held(), &[0; 13]);
    let end = ending(1, S::SynSent, ORPHAN);
    table.apply(&event(2, StateChange { protocol: Protocol::Mptcp, ..end }));
    assert_eq!(table.statistics().closed, [[0; 4]; 16]);
    assert_eq!(table.population().applied_matrix().total(), 0);
}

#[test]
fn who_accepts_before_the_handshake_is_over_knows_both_ends() {
    let mut table = table();
    let mut birth = change(2, S::Listen, S::SynRecv);
    let whole = birth.flow;
    birth.flow.remote = "0.0.0.0:0".parse().unwrap();
    table.apply(&event(1, birth));
    assert!(!table.live().next().unwrap().has_both_ends());
    table.apply(&life(2, 2, LifeStep::Accept(Some(caller("worker", 11)))));
    assert_eq!(table.live().next().unwrap().flow(), whole);
    table.apply(&event(3, change(2, S::SynRecv, S::Established)));
    assert!(table.live().next().unwrap().is_complete(0));
    assert_consistent(&table);
}

#[test]
fn a_parent_of_mptcp_is_cloned_off_its_listener_and_ends_without_a_mini_socket() {
    let mut table = table();
    let parent = |change| StateChange { protocol: Protocol::Mptcp, ..change };
    table.apply(&event(1, parent(change(1, S::Close, S::Listen))));
    table.apply(&event(1, parent(change(1, S::Listen, S::Listen))));
    assert_eq!(table.live().next().unwrap().timeline.steps().len(), 1);
    table.apply(&event(2, parent(change(2, S::Listen, S::Established))));
    assert_eq!(table.len(), 2);
    let child = table.live().find(|known| known.state == S::Established).unwrap();
    assert!(child.direction == Direction::Inbound && !child.found && child.is_complete(0));
    table.apply(&event(3, parent(change(2, S::Established, S::FinWait1))));
    table.apply(&event(4, parent(change(2, S::FinWait1, S::FinWait2))));
    table.apply(&event(5, parent(ending(2, S::FinWait2, ORPHAN))));
    assert_eq!(table.len(), 1);
    let ended = table.closed().next().unwrap();
    assert!(ended.mini().is_none() && ended.closed().is_some());
    assert_eq!(table.statistics().illegal_transitions, 0);
    assert_consistent(&table);
}

#[test]
fn a_namespace_takes_all_of_its_own_along() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established]);
    table.apply(&life(50, 9, LifeStep::Request));
    table.apply(&life(5_000, 0, LifeStep::NetnsGone));
    assert!(table.is_empty());
    assert_eq!(table.half_open().open, 0);
    assert_consistent(&table);
}

fn any_step() -> impl proptest::strategy::Strategy<Value = LifeStep> {
    use proptest::prelude::*;
    let state = (0usize..12).prop_map(|index| S::ALL[index]);
    (0u8..19, state, 0u64..400, any::<bool>()).prop_map(|(kind, state, number, flag)| {
        let substate = if flag { S::FinWait2 } else { S::TimeWait };
        let count = u32::try_from(number).unwrap();
        let why = TimeWaitEnd::ALL[count as usize % 4];
        match kind {
            0 => LifeStep::Connect(Some(caller("a", count))),
            1 => LifeStep::Accept(Some(caller("b", count))),
            2 => LifeStep::Close(Some(caller("c", count)), state),
            3 | 4 => LifeStep::TimeWaitBorn { substate, from: number % 8 },
            5 | 6 => LifeStep::TimeWaitSubstate,
            7 | 8 => LifeStep::TimeWaitEnded { substate, why },
            9 => LifeStep::TimeWaitRefused,
            10 => LifeStep::Request,
            11 => LifeStep::SynAckRetransmit(count),
            12 => LifeStep::ResetSent { reason: flag.then_some(count), unasked: flag },
            13 => LifeStep::Retransmit(state),
            14 => LifeStep::Destroyed,
            15 => LifeStep::SnapshotBegun { since: Ts(number) },
            16 => LifeStep::SnapshotEnded { whole: flag },
            17 => LifeStep::FoundTimeWait { substate, left_ms: count },
            _ => LifeStep::FoundRequest { retransmits: count },
        }
    })
}

proptest::proptest! {
    /// Nothing that hooks could tell, in whatever order, breaks the table.
    #[test]
    fn any_telling_is_survived(
        steps in proptest::collection::vec(
            (any_step(), 0u64..8, 0u64..4, 0usize..12, 0usize..12, 0u8..6), 0..200),
        hooked: bool,
    ) {
        let mut table = Table::new(Limits { live: 5, closed: 3 });
        table.set_sources(Sources { time_wait: hooked, calls: hooked, resets: hooked });
        for (at, (what, sk, cookie, old, new, kind)) in steps.into_iter().enumerate() {
            let at = at as u64 * 10_000_000;
            let mut event = match kind {
                0..3 => life(at, sk, what),
                _ => event(at, change(sk, S::ALL[old], S::ALL[new])),
            };
            match &mut event.body {
                Body::Life(life) => life.socket.cookie = NonZeroU64::new(cookie),
                Body::State(change) => {
                    change.socket.cookie = NonZeroU64::new(cookie);
                    if kind == 5 {
                        (change.origin, change.old) = (Origin::Snapshot, change.new);
                    }
                }
                Body::Segment(_) | Body::Stack(_) | Body::Lost { .. } => {}
            }
            table.apply(&event);
            if sk == 7 {
                table.tick(event.at);
            }
            assert!(table.len() <= 5 && table.closed().count() <= 3);
            assert_consistent(&table);
        }
        table.finish();
        table.apply(&life(u64::MAX, 0, LifeStep::NetnsGone));
        assert!(table.is_empty());
    }
}
