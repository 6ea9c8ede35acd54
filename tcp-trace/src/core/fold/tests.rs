//! The governor's mind, and folding against a table that is told everything.

use proptest::prelude::*;
use tcp_trace_common::{
    FOLD_STEPS, FOLDED_RECORD_LEN, FoldStep, KIND_FOLDED, VALID_COOKIE, VALID_FLAGS, fold_code,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::*;
use crate::core::{
    event::{Body, Event, Flow, LifeStep, Origin, Protocol, SockFlags, SocketId, StateChange},
    table::{Limits, Table},
    tcp_state::TcpState as S,
    timeline::{Mark, StepKind},
};

const MS: u64 = 1_000_000;

/// What the governor orders when it looks every 100 ms and there have been so many events.
fn orders(governor: &mut Governor, from_ms: u64, events: &[u64], sum: &mut u64) -> Vec<Order> {
    let look = |(number, events): (usize, &u64)| {
        *sum += events;
        let now = Ts((from_ms + 100 * (number as u64 + 1)) * MS);
        governor.look(now, Load { events: *sum, lost: 0 }, || true)
    };
    events.iter().enumerate().map(look).collect()
}

#[test]
fn a_storm_folds_and_a_calm_while_ends_it() {
    let mut governor = Governor::new(Mode::Auto, 20_000);
    let mut sum = 0;
    let quiet = orders(&mut governor, 1_000, &[0, 1_900, 1_900], &mut sum);
    assert_eq!(quiet, [Order::Off; 3]);
    assert_eq!(orders(&mut governor, 1_300, &[2_100], &mut sum), [Order::On]);
    // Half of the limit and more keeps it up, for as long as it takes.
    assert_eq!(orders(&mut governor, 1_400, &[1_100; 80], &mut sum), [Order::On; 80]);
    let calm = orders(&mut governor, 9_400, &[900; 49], &mut sum);
    assert_eq!(calm, [Order::On; 49]);
    assert_eq!(orders(&mut governor, 14_300, &[900], &mut sum), [Order::Drain]);
    assert!(!governor.is_folding());
    let after = orders(&mut governor, 14_400, &[900; 10], &mut sum);
    assert_eq!((after[8], after[9]), (Order::Drain, Order::Off));
    assert_eq!(governor.standing().switches, 2);
    let folded_ms = governor.standing().folded_ns / MS;
    assert_eq!(folded_ms, 13_000);
}

#[test]
fn a_loss_folds_at_once_and_a_full_mode_never_does() {
    for (mode, order) in [(Mode::Auto, Order::On), (Mode::Full, Order::Off)] {
        let mut governor = Governor::new(mode, 20_000);
        governor.look(Ts(MS), Load::default(), || true);
        let load = Load { events: 1 << 40, lost: 1 };
        assert_eq!(governor.look(Ts(101 * MS), load, || true), order);
    }
    let mut governor = Governor::new(Mode::Folded, 1);
    assert_eq!(governor.look(Ts(MS), Load::default(), || true), Order::On);
}

#[test]
fn it_drains_until_nothing_is_folded() {
    let mut governor = Governor::new(Mode::Auto, 10);
    let mut sum = 0;
    orders(&mut governor, 0, &[0, 100], &mut sum);
    orders(&mut governor, 200, &[0; 52], &mut sum);
    let load = Load { events: sum, lost: 0 };
    assert_eq!(governor.look(Ts(20_000 * MS), load, || false), Order::Drain);
    assert_eq!(governor.look(Ts(20_100 * MS), load, || true), Order::Off);
}

#[test]
fn modes_go_by_their_names() {
    for mode in [Mode::Full, Mode::Folded, Mode::Auto] {
        assert_eq!(mode.name().parse(), Ok(mode));
    }
    assert!("half".parse::<Mode>().is_err());
}

proptest! {
    /// It never goes from off to draining, nor from folding to off.
    #[test]
    fn orders_follow_each_other_in_turn(steps in proptest::collection::vec(
        (0u64..400, 0u64..5_000, any::<bool>(), any::<bool>()), 1..200,
    )) {
        let mut governor = Governor::new(Mode::Auto, 10_000);
        let (mut now, mut load, mut before) = (0, Load::default(), Order::Off);
        for (pause, events, lost, empty) in steps {
            now += pause * MS;
            load.events += events;
            load.lost += u64::from(lost && events % 97 == 0);
            let order = governor.look(Ts(now), load, || empty);
            prop_assert!(
                !matches!((before, order), (Order::Off, Order::Drain) | (Order::On, Order::Off))
            );
            before = order;
        }
    }
}

fn id(sk: u64) -> SocketId {
    SocketId { cookie: std::num::NonZeroU64::new(1_000 + sk), sk }
}

fn flow(sk: u64) -> Flow {
    let port = u16::try_from(1_000 + sk % 10_000).unwrap();
    Flow { local: ([10, 0, 0, 1], port).into(), remote: ([10, 0, 0, 2], 443).into() }
}

fn change(sk: u64, old: S, new: S) -> StateChange {
    StateChange {
        socket: id(sk),
        origin: Origin::Live,
        old,
        new,
        flow: flow(sk),
        protocol: Protocol::Tcp,
        netns: Some(7),
        error: 0,
        transfer: None,
        flags: Some(SockFlags { attached: true, ..SockFlags::default() }),
        current: None,
        silent: None,
    }
}

/// A life that the programs would see, without its times.
fn life() -> impl Strategy<Value = &'static [(S, S)]> {
    const CLIENT: &[(S, S)] = &[
        (S::Close, S::SynSent),
        (S::SynSent, S::Established),
        (S::Established, S::FinWait1),
        (S::FinWait1, S::FinWait2),
        (S::FinWait2, S::Close),
    ];
    const SERVER: &[(S, S)] = &[
        (S::Listen, S::SynRecv),
        (S::SynRecv, S::Established),
        (S::Established, S::CloseWait),
        (S::CloseWait, S::LastAck),
        (S::LastAck, S::Close),
    ];
    const CROSSED: &[(S, S)] = &[
        (S::Close, S::SynSent),
        (S::SynSent, S::Established),
        (S::Established, S::FinWait1),
        (S::FinWait1, S::Closing),
        (S::Closing, S::Close),
    ];
    const RESET: &[(S, S)] =
        &[(S::Listen, S::SynRecv), (S::SynRecv, S::Established), (S::Established, S::Close)];
    const REFUSED: &[(S, S)] = &[(S::Close, S::SynSent), (S::SynSent, S::Close)];
    proptest::sample::select(vec![CLIENT, SERVER, CROSSED, RESET, REFUSED])
}

/// The programs' side of folding, as `tcp-trace-ebpf/src/fold.rs` does it.
#[derive(Default)]
struct Programs {
    order: u32,
    longest_ns: u64,
    places: std::collections::BTreeMap<u64, FoldedRecord>,
}

enum Report {
    Step(Event),
    Folded(Box<FoldedRecord>),
}

impl Programs {
    fn change(&mut self, at: u64, sk: u64, old: S, new: S, out: &mut Vec<Report>) {
        let plain = || Report::Step(Event { at: Ts(at), body: Body::State(change(sk, old, new)) });
        if self.order == FOLD_OFF {
            return out.push(plain());
        }
        if matches!((old, new), (S::Close, S::SynSent) | (S::Listen, S::SynRecv)) {
            if self.order != FOLD_ON {
                return out.push(plain());
            }
            let mut record = FoldedRecord::new_zeroed();
            record.state.kind = KIND_FOLDED;
            record.state.len = u16::try_from(FOLDED_RECORD_LEN).unwrap();
            record.state.sk = sk;
            self.places.insert(sk, record);
        }
        let Some(place) = self.places.get_mut(&sk) else { return out.push(plain()) };
        let count = usize::try_from(place.count).unwrap();
        let young = count == 0 || at - place.steps[0].time_ns <= self.longest_ns;
        let fits = self.order == FOLD_ON && young && count < FOLD_STEPS;
        if fits {
            let code = fold_code(old as u8, new as u8);
            let sock_flags = tcp_trace_common::SOCK_ATTACHED;
            place.steps[count] = FoldStep { time_ns: at, code, sock_flags, ..FoldStep::default() };
            place.count += 1;
        }
        if !fits || new == S::Close {
            let record = finished(*place, at, sk);
            self.places.remove(&sk);
            out.push(Report::Folded(Box::new(record)));
        }
        if !fits {
            out.push(plain());
        }
    }

    /// What the daemon reads off the places.
    fn look(&self, now: u64, out: &mut Vec<Report>) {
        for (sk, place) in &self.places {
            if now - place.steps[0].time_ns > self.longest_ns {
                let record = FoldedRecord { unfinished: 1, ..finished(*place, now, *sk) };
                out.push(Report::Folded(Box::new(record)));
            }
        }
    }
}

fn finished(mut record: FoldedRecord, at: u64, sk: u64) -> FoldedRecord {
    let octets = |end: std::net::SocketAddr| match end.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    };
    let Flow { local, remote } = flow(sk);
    record.state.time_ns = at;
    record.state.cookie = 1_000 + sk;
    record.state.protocol = 6;
    record.state.netns = 7;
    record.state.valid = VALID_COOKIE | VALID_FLAGS | tcp_trace_common::VALID_NETNS;
    (record.state.local_addr, record.state.local_port) = (octets(local), local.port());
    (record.state.remote_addr, record.state.remote_port) = (octets(remote), remote.port());
    record
}

/// What a table knows in the end, without the marks of folding.
fn summary(table: &Table) -> Vec<String> {
    let mut all: Vec<_> = table
        .live()
        .map(|known| ("open", known))
        .chain(table.closed().map(|known| ("closed", known)))
        .map(|(place, known)| {
            let steps: Vec<_> = known
                .timeline
                .steps()
                .filter(|step| !matches!(step.kind, StepKind::Mark(Mark::Folded(_))))
                .collect();
            let (flow, state, since) = (known.flow(), known.state, known.state_since);
            format!(
                "{place} {flow:?} {state} {since:?} {:?} {:?} {:?} {steps:?}",
                known.opened_at,
                known.closed(),
                known.gap
            )
        })
        .collect();
    all.sort();
    all
}

proptest! {
    /// However the order changes and whenever the daemon looks, the table ends as if everything had
    /// been told step by step.
    #[test]
    fn folding_changes_nothing_of_what_is_known(
        lives in proptest::collection::vec((life(), any::<bool>()), 1..12),
        acts in proptest::collection::vec((0usize..12, 1u64..400, 0u8..12), 1..120),
    ) {
        let limits = Limits { live: 100, closed: 100 };
        let (mut full, mut folded) = (Table::new(limits), Table::new(limits));
        let (mut programs, mut told) = (Programs { longest_ns: 1_000, ..Programs::default() }, Told::default());
        let mut gone = vec![0usize; lives.len()];
        let (mut now, mut out) = (1_000, Vec::new());
        // Everything ends, or is looked at in the end.
        let rest = (0..lives.len()).flat_map(|slot| std::iter::repeat_n((slot, 1, 9), 5));
        for (slot, pause, act) in acts.into_iter().chain(rest) {
            now += pause;
            match act {
                0 => programs.order = FOLD_ON,
                1 if programs.order == FOLD_ON => programs.order = FOLD_DRAIN,
                2 if programs.places.is_empty() && programs.order == FOLD_DRAIN => programs.order = FOLD_OFF,
                3 => programs.look(now, &mut out),
                _ => {}
            }
            let slot = slot % lives.len();
            let (life, whole) = lives[slot];
            let most = if whole { life.len() } else { life.len() - 1 };
            if gone[slot] < most {
                let (old, new) = life[gone[slot]];
                gone[slot] += 1;
                let sk = slot as u64 + 1;
                full.apply(&Event { at: Ts(now), body: Body::State(change(sk, old, new)) });
                programs.change(now, sk, old, new, &mut out);
            }
            for report in out.drain(..) {
                apply(&mut folded, &mut told, report);
            }
        }
        programs.look(now + 10_000, &mut out);
        for report in out.drain(..) {
            apply(&mut folded, &mut told, report);
        }
        full.finish();
        folded.finish();
        prop_assert_eq!(summary(&folded), summary(&full));
        prop_assert_eq!(folded.population().held(), full.population().held());
        prop_assert_eq!(folded.statistics().closed, full.statistics().closed);
        prop_assert_eq!(folded.statistics().gaps, 0);
    }

    #[test]
    fn any_bytes_unfold_or_say_why(bytes in proptest::collection::vec(any::<u8>(), FOLDED_RECORD_LEN)) {
        let mut record = FoldedRecord::new_zeroed();
        record.as_mut_bytes().copy_from_slice(&bytes);
        record.state.kind = KIND_FOLDED;
        record.state.len = u16::try_from(FOLDED_RECORD_LEN).unwrap();
        let record = decode::folded(record.as_bytes()).unwrap().unwrap();
        let mut told = Told::default();
        let before = told.take(&record);
        if let Ok(events) = decode::unfold(&record, before) {
            prop_assert!(events.len() <= FOLD_STEPS + 1);
        }
    }
}

fn apply(table: &mut Table, told: &mut Told, report: Report) {
    match report {
        Report::Step(event) => drop(table.apply(&event)),
        Report::Folded(record) => {
            let before = told.take(&record);
            for event in decode::unfold(&record, before).unwrap() {
                table.apply(&event);
            }
        }
    }
}

#[test]
fn a_timeline_says_that_it_was_folded() {
    let (mut programs, mut out) =
        (Programs { order: FOLD_ON, longest_ns: 1_000, ..Programs::default() }, Vec::new());
    programs.change(5, 1, S::Close, S::SynSent, &mut out);
    programs.change(9, 1, S::SynSent, S::Close, &mut out);
    let [Report::Folded(record)] = &out[..] else { panic!("one record") };
    let events = decode::unfold(record, 0).unwrap();
    let Body::Life(life) = &events[1].body else { panic!("{events:?}") };
    assert_eq!((life.what, events[1].at), (LifeStep::Folded { steps: 2 }, Ts(5)));
    let mut table = Table::new(Limits { live: 1, closed: 1 });
    for event in &events {
        table.apply(event);
    }
    table.finish();
    let known = table.closed().next().unwrap();
    let marks = known.timeline.steps().filter(|step| step.kind == StepKind::Mark(Mark::Folded(2)));
    assert_eq!((marks.count(), known.timeline.steps().len()), (1, 3));
    assert_eq!(table.statistics().folded, 1);
}
