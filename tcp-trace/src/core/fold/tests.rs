//! The governor's mind.

use proptest::prelude::*;

use super::{governor::Load, *};
use crate::core::clock::Ts;

const MS: u64 = 1_000_000;

/// What the governor orders when it looks every 100 ms and there have been so many events.
fn orders(governor: &mut Governor, from_ms: u64, events: &[u64], sum: &mut u64) -> Vec<Order> {
    let look = |(number, events): (usize, &u64)| {
        *sum += events;
        let now = Ts((from_ms + 100 * (number as u64 + 1)) * MS);
        governor.look(now, Load { events: *sum, ..Load::default() }, || true)
    };
    events.iter().enumerate().map(look).collect()
}

#[test]
fn a_storm_folds_and_a_calm_while_ends_it() {
    let mut governor = Governor::new(Mode::Auto, 20_000);
    let mut sum = 0;
    let quiet = orders(&mut governor, 1_000, &[0, 1_900, 1_900], &mut sum);
    assert_eq!(quiet, [Order::Off; 3]);
    // A burst that is over within the second is none; nor is the limit itself.
    let burst = [9_000, 0, 0, 0, 0, 0, 7_200, 0, 0];
    assert_eq!(orders(&mut governor, 1_300, &burst, &mut sum), [Order::Off; 9]);
    assert_eq!(governor.standing().since, None);
    assert_eq!(orders(&mut governor, 2_200, &[2_000, 10_801], &mut sum), [Order::Off, Order::On]);
    let standing = governor.standing();
    assert_eq!((standing.why, standing.since), (Some(Why::Rate(20_001)), Some(Ts(2_400 * MS))));
    // Half of the limit and more keeps it up, for as long as it takes.
    assert_eq!(orders(&mut governor, 2_400, &[1_100; 80], &mut sum), [Order::On; 80]);
    // The window passes, then it is calm for five seconds.
    let calm = orders(&mut governor, 10_400, &[900; 53], &mut sum);
    assert_eq!(calm, [Order::On; 53]);
    assert_eq!(orders(&mut governor, 15_700, &[900], &mut sum), [Order::Drain]);
    assert!(!governor.is_folding());
    let standing = governor.standing();
    assert_eq!((standing.why, standing.since), (Some(Why::Rate(20_001)), Some(Ts(15_800 * MS))));
    let after = orders(&mut governor, 15_800, &[900; 10], &mut sum);
    assert_eq!((after[8], after[9]), (Order::Drain, Order::Off));
    assert_eq!(governor.standing().switches, 2);
    let folded_ms = governor.standing().folded_ns / MS;
    assert_eq!(folded_ms, 13_400);
}

#[test]
fn a_loss_or_a_full_buffer_folds_at_once_and_a_full_mode_never_does() {
    let lost = Load { events: 0, lost: 1, behind: 0 };
    let behind = Load { events: 0, lost: 0, behind: 1 };
    for (mode, order) in [(Mode::Auto, Order::On), (Mode::Full, Order::Off)] {
        for (load, why) in [(lost, Why::Loss), (behind, Why::Behind)] {
            let mut governor = Governor::new(mode, 20_000);
            governor.look(Ts(MS), Load::default(), || true);
            assert_eq!(governor.look(Ts(101 * MS), load, || true), order);
            assert_eq!(governor.standing().why, Some(why).filter(|_| order == Order::On));
            // What has been lost long ago is no reason any more.
            assert_ne!(governor.look(Ts(5_200 * MS), load, || true), Order::On);
        }
    }
    let mut governor = Governor::new(Mode::Folded, 1);
    assert_eq!(governor.look(Ts(MS), Load::default(), || true), Order::On);
    assert_eq!(governor.standing().why, Some(Why::Chosen));
}

#[test]
fn it_drains_until_nothing_is_folded() {
    let mut governor = Governor::new(Mode::Auto, 10);
    let mut sum = 0;
    orders(&mut governor, 0, &[0, 100], &mut sum);
    orders(&mut governor, 200, &[0; 62], &mut sum);
    let load = Load { events: sum, ..Load::default() };
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

mod model;
mod same;
mod seed;
