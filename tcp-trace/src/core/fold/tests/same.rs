//! Folding against a table that is told everything: whatever is folded and whenever, all that is
//! known and counted in the end is the same.

use std::num::NonZeroU64;

use proptest::prelude::*;
use tcp_trace_common::{
    FOLD_DRAIN, FOLD_OFF, FOLD_ON, FOLD_STEPS, FOLDED_RECORD_LEN, FoldedRecord, KIND_FOLDED,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::model::{Programs, RESET, Report, Seen::Change, any_life, caller, change, refused};
use crate::core::{
    clock::Ts,
    decode,
    event::{Body, Event, LifeStep, SocketId},
    fold::Told,
    sources::Sources,
    statistics::Statistics,
    table::{Limits, Table},
    tcp_state::TcpState as S,
    timeline::{Mark, StepKind},
};

fn table() -> Table {
    let mut table = Table::new(Limits { live: 100, closed: 100 });
    table.set_sources(Sources { time_wait: true, calls: true, resets: true });
    table
}

fn tell(table: &mut Table, told: &mut Told, report: Report) {
    match report {
        Report::Plain(event) => drop(table.apply(&event)),
        Report::Folded(record) => {
            let before = told.take(&record);
            decode::unfold(&record, before, |event| {
                table.apply(event);
            })
            .unwrap();
        }
    }
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
                "{place} {flow:?} {state} {since:?} {:?} {:?} {:?} {:?} {:?} {:?} {steps:?}",
                known.opened_at,
                known.owner(),
                known.mini(),
                known.judged(),
                known.closed(),
                known.gap
            )
        })
        .collect();
    all.sort();
    all
}

/// All that is counted, but for how much was folded.
fn counts(table: &Table) -> String {
    let statistics = Statistics { folded: 0, ..table.statistics().clone() };
    let population = table.population();
    let matrix = population.applied_matrix();
    format!("{statistics:#?} {:?} {matrix:?} {:?}", population.held(), table.half_open())
}

proptest! {
    /// However the order changes, whenever the daemon looks, and whatever of a connection is told at
    /// once: the table ends as if everything had been told step by step.
    #[test]
    fn folding_changes_nothing_of_what_is_known(
        lives in proptest::collection::vec((any_life(), any::<bool>()), 1..12),
        acts in proptest::collection::vec((0usize..12, 2u64..400, 0u8..12), 1..160),
    ) {
        let (mut full, mut folded, mut told) = (table(), table(), Told::default());
        let mut programs = Programs { longest_ns: 1_000, ..Programs::default() };
        let mut gone = vec![0usize; lives.len()];
        let (mut now, mut out) = (1_000, Vec::new());
        // Everything ends, or is looked at in the end.
        let rest = (0..lives.len()).flat_map(|slot| std::iter::repeat_n((slot, 2, 9), 10));
        for (slot, pause, act) in acts.into_iter().chain(rest) {
            now += pause;
            match act {
                0 | 5 => programs.order = FOLD_ON,
                1 if programs.order == FOLD_ON => programs.order = FOLD_DRAIN,
                2 if programs.places.is_empty() && programs.order == FOLD_DRAIN => {
                    programs.order = FOLD_OFF;
                }
                3 | 4 => programs.look(now - 1, act == 4, &mut out),
                _ => {}
            }
            let slot = slot % lives.len();
            let (life, whole) = lives[slot];
            let most = if whole { life.len() } else { life.len() - 1 };
            if gone[slot] < most {
                let (seen, sk) = (life[gone[slot]], slot as u64 + 1);
                gone[slot] += 1;
                full.apply(&Event { at: Ts(now), body: seen.event(sk) });
                programs.see(now, sk, seen, &mut out);
            }
            for report in out.drain(..) {
                tell(&mut folded, &mut told, report);
            }
        }
        programs.look(now + 10_000, true, &mut out);
        for report in out.drain(..) {
            tell(&mut folded, &mut told, report);
        }
        full.finish();
        folded.finish();
        prop_assert_eq!(summary(&folded), summary(&full));
        prop_assert_eq!(counts(&folded), counts(&full));
        prop_assert_eq!(folded.statistics().gaps, 0);
        prop_assert_eq!(folded.statistics().illegal_transitions, 0);
    }

    #[test]
    fn any_bytes_unfold_or_say_why(
        bytes in proptest::collection::vec(any::<u8>(), FOLDED_RECORD_LEN),
    ) {
        let mut record = FoldedRecord::new_zeroed();
        record.as_mut_bytes().copy_from_slice(&bytes);
        record.state.kind = KIND_FOLDED;
        record.state.len = u16::try_from(FOLDED_RECORD_LEN).unwrap();
        let record = decode::folded(record.as_bytes()).unwrap().unwrap();
        let mut told = Told::default();
        let before = told.take(&record);
        let mut events = 0;
        let most = decode::unfold(&record, before, |_| events += 1).map_or(0, |()| FOLD_STEPS + 1);
        prop_assert!(events <= most);
    }
}

#[test]
fn a_timeline_says_that_it_was_folded() {
    let mut events = Vec::new();
    decode::unfold(&refused(), 0, |event| events.push(event.clone())).unwrap();
    let Body::Life(life) = &events[1].body else { panic!("{events:?}") };
    assert_eq!((life.what, events[1].at), (LifeStep::Folded { steps: 3 }, Ts(5)));
    let mut table = table();
    for event in &events {
        table.apply(event);
    }
    table.finish();
    let known = table.closed().next().unwrap();
    let marks = known.timeline.steps().filter(|step| step.kind == StepKind::Mark(Mark::Folded(3)));
    assert_eq!((marks.count(), known.timeline.steps().len()), (1, 4));
    assert_eq!(table.statistics().folded, 1);
}

/// A listener may be gone by the time its short connections are told.
#[test]
fn who_is_told_after_its_listener_has_ended_has_its_owner_and_its_syn() {
    let listener = |old, new| {
        let Body::State(mut listener) = change(1, old, new) else { unreachable!() };
        listener.socket = SocketId { cookie: NonZeroU64::new(99), sk: 99 };
        listener.flow.remote = ([0, 0, 0, 0], 0).into();
        listener.current = Some(caller(5).task);
        Body::State(listener)
    };
    let mut told = Vec::new();
    for folds in [false, true] {
        let mut programs = Programs { longest_ns: 1_000, ..Programs::default() };
        programs.order = if folds { FOLD_ON } else { FOLD_OFF };
        let (mut table, mut out, mut memory) = (table(), Vec::new(), Told::default());
        table.apply(&Event { at: Ts(1), body: listener(S::Close, S::Listen) });
        for (number, seen) in RESET[..3].iter().enumerate() {
            programs.see(10 + number as u64, 1, *seen, &mut out);
        }
        out.push(Report::Plain(Event { at: Ts(20), body: listener(S::Listen, S::Close) }));
        programs.see(30, 1, Change(S::Established, S::Close), &mut out);
        for report in out {
            tell(&mut table, &mut memory, report);
        }
        table.finish();
        told.push((summary(&table), format!("{:?}", table.half_open())));
        assert!(table.closed().any(|known| known.owner().is_some_and(|owner| owner.pid == 5)));
    }
    assert_eq!(told[0], told[1]);
}
