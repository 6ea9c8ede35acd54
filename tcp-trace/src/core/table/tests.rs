use std::{net::SocketAddr, num::NonZeroU64};

use proptest::prelude::*;

use super::*;
use crate::core::{
    close,
    direction::Direction,
    event::{Comm, Flow, Protocol, SockFlags, SocketId, Task},
    owner::OwnerSource,
    population::Matrix,
};
use TcpState as S;

const SERVER: &str = "127.0.0.1:80";
const CLIENT: &str = "127.0.0.1:40000";

pub(super) fn change(sk: u64, old: S, new: S) -> StateChange {
    StateChange {
        socket: SocketId { cookie: None, sk },
        origin: Origin::Live,
        old,
        new,
        flow: Flow { local: CLIENT.parse().unwrap(), remote: SERVER.parse().unwrap() },
        protocol: Protocol::Tcp,
        netns: Some(1),
        error: 0,
        transfer: None,
        flags: Some(SockFlags { attached: true, ..SockFlags::default() }),
        current: Some(Task { pid: 7, tid: 7, comm: Comm::from_text("curl") }),
        silent: None,
    }
}

pub(super) fn event(at: u64, change: StateChange) -> Event {
    Event { at: Ts(at), body: Body::State(change) }
}

pub(super) fn table() -> Table {
    Table::new(Limits { live: 100, closed: 100 })
}

pub(super) fn walk(table: &mut Table, sk: u64, states: &[S]) -> Vec<Outcome> {
    let mut at = 0;
    states
        .windows(2)
        .map(|pair| {
            at += 1_000;
            table.apply(&event(at, change(sk, pair[0], pair[1])))
        })
        .collect()
}

fn only_closed(table: &Table) -> &Connection {
    assert_eq!(table.closed().count(), 1);
    table.closed().next().unwrap()
}

#[test]
fn an_outbound_life_is_told_from_connect_to_the_end() {
    let mut table = table();
    walk(
        &mut table,
        1,
        &[S::Close, S::SynSent, S::Established, S::FinWait1, S::FinWait2, S::Close],
    );
    let connection = only_closed(&table);
    assert_eq!(connection.direction, Direction::Outbound);
    assert_eq!(connection.timeline.steps().len(), 5);
    assert!(connection.is_complete(0));
    let verdict = connection.closed().unwrap().verdict;
    assert_eq!(verdict.by, Some(close::ClosedBy::Local));
    assert_eq!(connection.owner().unwrap().source, OwnerSource::Connect);
    assert!(table.is_empty());
    assert_eq!(table.statistics().outbound_handshakes.count(), 1);
    assert_eq!(table.statistics().teardowns[0].count(), 1);
}

#[test]
fn a_child_takes_its_owner_from_the_listener_and_its_address_from_the_second_event() {
    let mut table = table();
    let server: SocketAddr = SERVER.parse().unwrap();
    let unset: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let mut listen = change(1, S::Close, S::Listen);
    listen.flow = Flow { local: "0.0.0.0:80".parse().unwrap(), remote: unset };
    table.apply(&event(1, listen));
    let mut birth = change(2, S::Listen, S::SynRecv);
    birth.flow = Flow { local: "0.0.0.0:80".parse().unwrap(), remote: unset };
    birth.current = None;
    table.apply(&event(2, birth));
    // The cookie comes only now, on the same address.
    let mut established = change(2, S::SynRecv, S::Established);
    established.socket.cookie = NonZeroU64::new(99);
    established.flow = Flow { local: server, remote: CLIENT.parse().unwrap() };
    table.apply(&event(3, established));
    let connection = table.live().find(|c| c.direction == Direction::Inbound).unwrap();
    assert_eq!(connection.flow().remote.to_string(), CLIENT);
    assert_eq!(connection.owner().map(|o| (o.pid, o.source)), Some((7, OwnerSource::Listener)));
    assert_eq!(connection.timeline.steps().len(), 2);
    assert!(connection.is_complete(0));
    assert_eq!(table.len(), 2);
}

#[test]
fn a_disconnected_socket_lives_again_as_another_connection() {
    let mut table = table();
    let life = [S::Close, S::SynSent, S::Established, S::Close];
    walk(&mut table, 1, &life);
    walk(&mut table, 1, &life);
    let ids: Vec<_> = table.closed().map(|c| c.id.0).collect();
    assert_eq!(ids, [2, 1]);
}

#[test]
fn a_recycled_address_ends_the_life_whose_end_was_lost() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established]);
    walk(&mut table, 1, &[S::Close, S::SynSent]);
    let lost = only_closed(&table);
    assert!(!lost.is_complete(0));
    assert_eq!(lost.timeline.steps().last().unwrap().kind, StepKind::Mark(Mark::Reused));
    assert_eq!(table.statistics().ended_unseen, 1);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_missed_step_is_marked_and_the_state_is_right() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent]);
    walk(&mut table, 1, &[S::CloseWait, S::LastAck]);
    let connection = table.live().next().unwrap();
    assert_eq!(connection.state, S::LastAck);
    assert!(!connection.is_complete(0));
    let missed = Mark::Missed { known: S::SynSent, actual: S::CloseWait };
    assert_eq!(connection.timeline.steps().nth(1).unwrap().kind, StepKind::Mark(missed));
}

#[test]
fn close_after_the_fact_is_a_marker_and_no_new_state() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::FinWait1, S::FinWait1]);
    let connection = table.live().next().unwrap();
    assert_eq!(connection.state, S::FinWait1);
    assert!(matches!(connection.timeline.steps().nth(3).unwrap().kind, StepKind::Call { .. }));
    assert_eq!(walk(&mut table, 9, &[S::Close, S::Close]), [Outcome::Nothing]);
}

#[test]
fn a_loss_makes_a_timeline_doubtful_until_its_next_event_leads_on() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent]);
    table.apply(&Event { at: Ts(5_000), body: Body::Lost { count: 3 } });
    let complete = |t: &Table| t.live().next().unwrap().is_complete(t.loss_epoch());
    assert!(!complete(&table));
    walk(&mut table, 1, &[S::SynSent, S::Established]);
    assert!(complete(&table));
}

#[test]
fn an_illegal_change_is_data() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent, S::LastAck, S::TimeWait]);
    assert_eq!(table.statistics().illegal_transitions, 2);
    assert_eq!(table.live().next().unwrap().state, S::TimeWait);
}

#[test]
fn a_full_table_refuses_and_counts() {
    let mut table = Table::new(Limits { live: 1, closed: 1 });
    walk(&mut table, 1, &[S::Close, S::SynSent]);
    assert_eq!(walk(&mut table, 2, &[S::Close, S::SynSent]), [Outcome::Refused]);
    assert_eq!((table.len(), table.statistics().refused), (1, 1));
    walk(&mut table, 1, &[S::SynSent, S::Close]);
    walk(&mut table, 3, &[S::Close, S::SynSent, S::Close]);
    assert_eq!(table.closed().count(), 1);
}

#[test]
fn a_socket_found_at_start_has_no_known_age() {
    let mut table = table();
    let mut found = change(0, S::CloseWait, S::CloseWait);
    (found.origin, found.socket.cookie) = (Origin::Snapshot, NonZeroU64::new(5));
    table.apply(&event(10, found.clone()));
    table.apply(&event(11, found));
    assert_eq!(table.len(), 1);
    let mut next = change(4, S::CloseWait, S::LastAck);
    next.socket.cookie = NonZeroU64::new(5);
    let Outcome::Stepped(stepped) = table.apply(&event(20, next)) else { panic!("a step") };
    assert_eq!(stepped.stood_ns, None);
    assert_eq!(table.statistics().state_durations[S::CloseWait.index()].count(), 0);
    assert_eq!(
        table.live().next().unwrap().first_fin().map(|f| f.0),
        Some(close::ClosedBy::Remote)
    );
}

#[test]
fn a_socket_that_connects_again_has_no_port_before_it_is_told() {
    let mut table = table();
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::Close]);
    let port = |table: &Table| table.live().next().unwrap().flow().local.port();
    table.apply(&event(50, change(1, S::Close, S::SynSent)));
    assert_eq!(port(&table), 0, "what it shows is the port of before");
    let mut told = change(1, S::SynSent, S::Established);
    told.flow.local.set_port(40_001);
    table.apply(&event(60, told));
    assert_eq!(port(&table), 40_001);
    assert_consistent(&table);
    // Another's is its own.
    let mut table = self::table();
    walk(&mut table, 1, &[S::Close, S::SynSent, S::Established, S::Close]);
    table.apply(&event(50, change(2, S::Close, S::SynSent)));
    assert_ne!(port(&table), 0);
}

/// A truth: sockets that walk legal paths. Events may be lost; the matrix never is.
pub(super) fn legal_next(state: S, pick: usize) -> S {
    let next: Vec<S> = S::ALL
        .into_iter()
        .filter(|new| {
            matches!(
                state.transition(*new),
                Transition::Birth | Transition::Step | Transition::Death
            ) && !(state == S::Listen && *new == S::SynRecv)
        })
        .collect();
    next[pick % next.len()]
}

/// Counts and names are those of what is held.
pub(super) fn assert_consistent(table: &Table) {
    for state in S::ALL {
        let full =
            table.live().filter(|c| c.is_counted() && c.is_full() && c.state == state).count();
        assert_eq!(table.population().held()[state.index()], full as u64, "{state}");
    }
    for substate in [S::FinWait2, S::TimeWait] {
        let minis = table.live().filter(|c| c.mini_substate() == Some(substate)).count();
        assert_eq!(table.population().minis(substate), minis as u64, "mini {substate}");
    }
    let listening = table.live().filter(|c| c.state == S::Listen).count();
    assert_eq!(table.listening(), listening as u64);
    assert!(table.index.slots().all(|slot| table.live.contains(slot)));
    for (slot, connection) in &table.live {
        let names = Names::of(connection);
        assert!(table.index.leads_to(&names, slot) || !connection.is_full(), "{connection:?}");
    }
}

proptest! {
    /// Whatever is lost, the gauges are those of the sockets that exist.
    #[test]
    fn gauges_are_exact_whatever_is_lost(
        steps in proptest::collection::vec((0usize..6, 0usize..8, any::<bool>(), any::<bool>()), 1..200),
        lossy in any::<bool>(),
    ) {
        let mut table = table();
        let mut truth = [S::Close; 6];
        let mut kernel = Matrix::default();
        for (at, (socket, pick, inbound, lost)) in steps.into_iter().enumerate() {
            let state = truth[socket];
            let (old, new) = if state == S::Close && inbound {
                (S::Listen, S::SynRecv)
            } else {
                (state, legal_next(state, pick))
            };
            truth[socket] = new;
            kernel.raise(old, new);
            let at = at as u64;
            if lossy && lost {
                table.apply(&Event { at: Ts(at), body: Body::Lost { count: 1 } });
            } else {
                table.apply(&event(at, change(socket as u64 + 1, old, new)));
            }
        }
        let gauges = table.population().gauges(&kernel, None);
        for state in S::ALL {
            if state != S::Close {
                let there = truth.iter().filter(|s| **s == state).count() as u64;
                let minis = table.population().minis(state) * u64::from(matches!(state, S::FinWait2 | S::TimeWait));
                prop_assert_eq!(gauges[state.index()], there + minis, "{}", state);
            }
        }
    }

    /// Nothing the kernel could say breaks the table or makes it grow past its bounds.
    #[test]
    fn any_sequence_is_survived(
        steps in proptest::collection::vec((0u64..8, 0usize..12, 0usize..12, 0u64..4), 0..300),
    ) {
        let mut table = Table::new(Limits { live: 5, closed: 3 });
        for (at, (sk, old, new, cookie)) in steps.into_iter().enumerate() {
            let mut change = change(sk, S::ALL[old], S::ALL[new]);
            change.socket.cookie = NonZeroU64::new(cookie);
            table.apply(&event(at as u64, change));
            prop_assert!(table.len() <= 5 && table.closed().count() <= 3);
            assert_consistent(&table);
        }
    }
}

#[test]
fn a_snapshot_taken_a_moment_late_does_not_count_twice() {
    let mut table = table();
    let mut kernel = Matrix::default();
    let cookie = NonZeroU64::new(5);
    let mut found = change(0, S::Established, S::Established);
    (found.origin, found.socket.cookie) = (Origin::Snapshot, cookie);
    table.apply(&event(10, found));
    // The socket was born after the snapshot began, and before its row was read.
    for (at, old, new) in [(11, S::Close, S::SynSent), (12, S::SynSent, S::Established)] {
        kernel.raise(old, new);
        let mut live = change(4, old, new);
        live.socket.cookie = cookie;
        table.apply(&event(at, live));
    }
    assert_eq!((table.len(), table.closed().count()), (1, 0));
    assert!(table.live().next().unwrap().is_complete(0));
    assert_eq!(table.population().gauges(&kernel, None)[S::Established.index()], 1);
}
