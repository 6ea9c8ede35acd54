//! The table against a model of the kernel: whatever is lost, gauges are exact, and a whole snapshot
//! puts everything right; where nothing is lost, it finds nothing to put right.

use std::{collections::BTreeMap, num::NonZeroU64};

use proptest::prelude::*;

use super::{tests::legal_next, *};
use crate::core::{
    event::{Flow, LifeEvent, LifeStep, Protocol, SockFlags, SocketId, TimeWaitEnd},
    population::Matrix,
    reconcile::Reconciled,
    time_wait::TimeWaitCounters,
};
use TcpState as S;

const MS: u64 = 1_000_000;
const NETNS: Option<u32> = Some(1);

/// A socket that is there, full or mini.
#[derive(Clone, Copy, Debug)]
struct Sock {
    cookie: u64,
    sk: u64,
    state: S,
    mini: bool,
}

impl Sock {
    fn flow(&self) -> Flow {
        let end = |port: u64| {
            let address = std::net::Ipv4Addr::from(u32::try_from(port >> 15).unwrap());
            (address, u16::try_from(port & 0x7fff).unwrap() | 0x8000).into()
        };
        Flow { local: end(1), remote: end(self.cookie) }
    }
}

/// What the kernel does next.
#[derive(Clone, Debug)]
struct Act {
    slot: usize,
    pick: usize,
    choice: u8,
    lost: bool,
}

fn acts(length: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = (0usize..6, 0usize..8, any::<u8>(), any::<bool>())
        .prop_map(|(slot, pick, choice, lost)| Act { slot, pick, choice, lost });
    proptest::collection::vec(act, 1..length)
}

/// The kernel, and the table that listens to it.
struct World {
    table: Table,
    now: u64,
    cookies: bool,
    lossy: bool,
    last_cookie: u64,
    sockets: [Option<Sock>; 6],
    minis: Vec<Sock>,
    kernel: Matrix,
    counters: TimeWaitCounters,
}

impl World {
    fn new(cookies: bool, lossy: bool) -> Self {
        let mut table = Table::new(Limits { live: 100, closed: 100 });
        table.set_sources(Sources { time_wait: true, calls: true, resets: true });
        let mut world = Self {
            table,
            now: MS,
            cookies,
            lossy,
            last_cookie: 0,
            sockets: [None; 6],
            minis: Vec::new(),
            kernel: Matrix::default(),
            counters: TimeWaitCounters::default(),
        };
        let rows = world.rows();
        world.snapshot(world.now, rows);
        world
    }

    fn send(&mut self, body: Body, lost: bool) {
        self.now += MS;
        let body = if lost && self.lossy { Body::Lost { count: 1 } } else { body };
        self.table.apply(&Event { at: Ts(self.now), body });
    }

    fn id(&self, sock: &Sock) -> SocketId {
        let cookie = NonZeroU64::new(sock.cookie).filter(|_| self.cookies);
        SocketId { cookie, sk: sock.sk }
    }

    fn life(&self, sock: &Sock, what: LifeStep) -> Body {
        let (socket, flow) = (self.id(sock), sock.flow());
        Body::Life(LifeEvent { socket, flow, protocol: Protocol::Tcp, netns: NETNS, what })
    }

    fn state(&self, sock: &Sock, old: S, new: S) -> StateChange {
        let unset = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let mut flow = sock.flow();
        if [old, new].contains(&S::Listen) {
            flow.remote = unset;
        }
        StateChange {
            socket: self.id(sock),
            origin: Origin::Live,
            old,
            new,
            flow,
            protocol: Protocol::Tcp,
            netns: NETNS,
            error: 0,
            transfer: None,
            flags: Some(SockFlags { attached: true, ..SockFlags::default() }),
            current: None,
            silent: None,
        }
    }

    fn act(&mut self, act: &Act) {
        if act.choice.is_multiple_of(4) && !self.minis.is_empty() {
            self.step_mini(act);
        } else {
            self.step_full(act);
        }
    }

    fn step_full(&mut self, act: &Act) {
        let lost = |bit: u8| act.lost && act.choice & bit != 0;
        let known = self.sockets[act.slot];
        let (sock, old, new) = if let Some(sock) = known {
            (sock, sock.state, legal_next(sock.state, act.pick))
        } else {
            self.last_cookie += 1;
            let sk = act.slot as u64 + 1;
            let sock = Sock { cookie: self.last_cookie, sk, state: S::Close, mini: false };
            let (inbound, listens) = (act.choice & 8 != 0, act.pick == 1);
            match (inbound, listens) {
                (true, _) => (sock, S::Listen, S::SynRecv),
                (false, true) => (sock, S::Close, S::Listen),
                (false, false) => (sock, S::Close, S::SynSent),
            }
        };
        let carried = new == S::Close && matches!(old, S::FinWait2 | S::Closing);
        if carried && act.choice & 64 != 0 {
            let waits = old == S::FinWait2 && act.choice & 128 != 0;
            let substate = if waits { S::FinWait2 } else { S::TimeWait };
            let mini = Sock { sk: 1000 + sock.cookie, state: substate, mini: true, ..sock };
            *(if waits {
                &mut self.counters.born_fin_wait2
            } else {
                &mut self.counters.born_time_wait
            }) += 1;
            self.minis.push(mini);
            let what = LifeStep::TimeWaitBorn { substate, from: sock.sk };
            self.send(self.life(&mini, what), lost(1));
        }
        self.kernel.raise(old, new);
        self.sockets[act.slot] = Some(Sock { state: new, ..sock }).filter(|_| new != S::Close);
        self.send(Body::State(self.state(&sock, old, new)), lost(2));
    }

    fn step_mini(&mut self, act: &Act) {
        let index = act.pick % self.minis.len();
        let mini = self.minis[index];
        if mini.state == S::FinWait2 && act.choice & 8 != 0 {
            self.counters.substate += 1;
            self.minis[index].state = S::TimeWait;
            self.send(self.life(&mini, LifeStep::TimeWaitSubstate), act.lost);
            return;
        }
        let why = TimeWaitEnd::ALL[act.slot % 4];
        let ended = match mini.state {
            S::FinWait2 => &mut self.counters.ended_fin_wait2,
            _ => &mut self.counters.ended_time_wait,
        };
        ended[why as usize] += 1;
        self.minis.remove(index);
        let what = LifeStep::TimeWaitEnded { substate: mini.state, why };
        self.send(self.life(&mini, what), act.lost);
    }

    fn there(&self) -> impl Iterator<Item = &Sock> {
        self.sockets.iter().flatten().chain(&self.minis)
    }

    fn rows(&self) -> Vec<Sock> {
        self.there().copied().collect()
    }

    /// Hands the table these rows as what was read between `since` and now.
    fn snapshot(&mut self, since: u64, rows: Vec<Sock>) {
        self.mark(LifeStep::SnapshotBegun { since: Ts(since) });
        self.show(rows);
        self.mark(LifeStep::SnapshotEnded { whole: true });
    }

    /// A mark before or after a snapshot's rows.
    fn mark(&mut self, what: LifeStep) {
        let nobody = Sock { cookie: 0, sk: 0, state: S::Close, mini: false };
        let socket = SocketId { cookie: None, sk: 0 };
        let flow = nobody.flow();
        let life = LifeEvent { socket, flow, protocol: Protocol::Tcp, netns: NETNS, what };
        self.table.apply(&Event { at: Ts(self.now), body: Body::Life(life) });
    }

    fn show(&mut self, rows: Vec<Sock>) {
        for row in rows {
            let socket = SocketId { cookie: NonZeroU64::new(row.cookie), sk: 0 };
            let body = if row.mini {
                let what = LifeStep::FoundTimeWait { substate: row.state, left_ms: 60_000 };
                let Body::Life(life) = self.life(&row, what) else { continue };
                Body::Life(LifeEvent { socket, ..life })
            } else {
                let change = self.state(&row, row.state, row.state);
                Body::State(StateChange { socket, origin: Origin::Snapshot, ..change })
            };
            self.table.apply(&Event { at: Ts(self.now), body });
        }
    }

    fn truth(&self) -> BTreeMap<(S, bool), usize> {
        count(self.there().map(|sock| (sock.state, sock.mini)))
    }

    fn held(&self) -> BTreeMap<(S, bool), usize> {
        count(self.table.live().map(|known| (known.state, !known.is_full())))
    }

    fn gauges_are_exact(&self) -> Result<(), TestCaseError> {
        let gauges = self.table.gauges(&self.kernel, &self.counters);
        for state in S::ALL {
            let there = self.there().filter(|sock| sock.state == state).count() as u64;
            prop_assert_eq!(gauges[state.index()], there, "{} {:?}", state, self.rows());
        }
        super::tests::assert_consistent(&self.table);
        Ok(())
    }
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_whole_snapshot_puts_everything_right(
        acts in acts(120),
        cookies in any::<bool>(),
        every in 1usize..40,
        piece in 1usize..8,
    ) {
        let mut world = World::new(cookies, true);
        for (index, act) in acts.iter().enumerate() {
            world.act(act);
            world.gauges_are_exact()?;
            if index % every == 0 {
                world.now += 1_000 * MS;
                let since = Ts(world.now);
                world.mark(LifeStep::SnapshotBegun { since });
                for rows in world.rows().chunks(piece) {
                    world.show(rows.to_vec());
                    world.mark(LifeStep::SnapshotGoesOn { since });
                }
                world.mark(LifeStep::SnapshotEnded { whole: true });
                prop_assert_eq!(world.held(), world.truth());
                world.gauges_are_exact()?;
            }
        }
    }

    /// Snapshots come while events go on: each socket is read before or after some of them.
    #[test]
    fn without_a_loss_a_snapshot_changes_nothing(
        acts in acts(120),
        cookies in any::<bool>(),
        every in 2usize..40,
        pause in prop_oneof![Just(0u64), Just(1_000)],
    ) {
        let mut world = World::new(cookies, false);
        let mut early: Option<(u64, Vec<Sock>)> = None;
        for (index, act) in acts.iter().enumerate() {
            if index % every == 0 {
                world.now += pause * MS;
                let rows = world.rows().into_iter().filter(|row| row.cookie.is_multiple_of(2));
                early = Some((world.now, rows.collect()));
            }
            world.act(act);
            prop_assert_eq!(world.held(), world.truth());
            if index % every == every / 2
                && let Some((since, mut rows)) = early.take()
            {
                rows.extend(world.rows().into_iter().filter(|row| row.cookie % 2 == 1));
                world.snapshot(since, rows);
            }
            prop_assert_eq!(world.table.statistics().reconciled, Reconciled::default());
            prop_assert_eq!(world.table.statistics().ended_unseen, 0);
            prop_assert_eq!(world.held(), world.truth());
            world.gauges_are_exact()?;
        }
    }

    /// It comes in pieces, each read a while before it is handed over, and events go on all the time; a
    /// first try may be given up. Where sockets go by no cookie, two that look alike could be taken for each
    /// other between the pieces: there a snapshot has but one.
    #[test]
    fn without_a_loss_the_pieces_of_a_snapshot_change_nothing(
        acts in acts(160),
        cut in 1u64..8,
        pieces in 1u64..5,
        every in 1usize..12,
        pause in prop_oneof![Just(0u64), Just(1_000)],
    ) {
        let mut world = World::new(true, false);
        let (mut number, mut tried) = (0, false);
        let mut read: Option<(Ts, Vec<Sock>)> = None;
        for (index, act) in acts.iter().enumerate() {
            if index % every == 0 {
                if let Some((since, rows)) = read.take() {
                    world.mark(match number {
                        0 => LifeStep::SnapshotBegun { since },
                        _ => LifeStep::SnapshotGoesOn { since },
                    });
                    world.show(rows);
                    number += 1;
                    let whole = number == pieces;
                    if whole || number == cut && !tried {
                        world.mark(LifeStep::SnapshotEnded { whole });
                        (number, tried) = (0, !whole);
                    }
                }
                world.now += pause * MS;
                let is_read = |row: &Sock| row.cookie % pieces == number;
                read = Some((Ts(world.now), world.rows().into_iter().filter(is_read).collect()));
            }
            world.act(act);
            if world.sockets[act.slot].is_some_and(|sock| sock.state == S::SynRecv) {
                // A child's first two changes come together, and the second has its cookie.
                world.act(&Act { choice: 1, ..act.clone() });
            }
            prop_assert_eq!(world.table.statistics().reconciled, Reconciled::default());
            prop_assert_eq!(world.table.statistics().ended_unseen, 0);
            prop_assert_eq!(world.held(), world.truth());
            world.gauges_are_exact()?;
        }
    }
}
