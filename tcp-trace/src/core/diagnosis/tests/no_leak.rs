//! What stands in `CLOSE_WAIT` and is nobody's leak.

use std::time::Duration;

use super::{MINUTE, five, scene::*, sole};
use crate::core::event::Body;

#[test]
fn a_pool_at_its_plateau_is_no_leak() {
    for eof_read in [false, true] {
        let mut scene = Scene::new();
        let mut pool = std::collections::VecDeque::new();
        scene.pass(30 * MINUTE, |scene, second| {
            // Twelve connections; every ten seconds the oldest is found dead, closed and replaced.
            if second % 10 == 0 {
                if pool.len() >= 12 {
                    scene.close(pool.pop_front().unwrap());
                }
                let id = scene.connects(7, "10.0.0.5:443");
                scene.fin(id, 0);
                if eof_read {
                    scene.read(id, 0);
                }
                pool.push_back(id);
            }
            if second > 240 && second % 60 == 0 {
                assert_eq!(scene.report().findings, [], "{second}");
            }
        });
        let report = scene.report();
        assert_eq!(report.notes.len(), 1, "{report:#?}");
        assert!(report.notes[0].contains("pool"), "{report:#?}");
        assert!(scene.book.leaks().leaked.values().all(|count| *count == 0));
    }
}

#[test]
fn idle_connections_of_a_client_are_no_leak_until_they_are_very_many() {
    let idle = |count: usize| {
        let mut scene = Scene::new();
        for _ in 0..count {
            let id = scene.connects(7, "10.0.0.5:443");
            scene.fin(id, 0);
        }
        scene.wait(10 * MINUTE);
        scene.report()
    };
    let few = idle(8);
    assert_eq!(few.findings, []);
    assert!(few.notes[0].contains("8 idle connections"), "{few:#?}");
    assert_eq!(sole(&idle(200)).cause, Some("not_read"));
}

#[test]
fn a_slow_reader_and_a_half_closed_stream_stand_still_for_nobody() {
    let mut scene = Scene::new();
    let slow: Vec<_> = (0..5).map(|_| scene.accepts(7, 80)).collect();
    let stream: Vec<_> = (0..5).map(|_| scene.accepts(8, 81)).collect();
    for id in &slow {
        scene.fin(*id, 1_000_000);
    }
    for id in &stream {
        scene.fin(*id, 0);
        scene.read(*id, 0);
    }
    scene.pass(20 * MINUTE, |scene, second| {
        for id in &slow {
            scene.sockets.get_mut(id).unwrap().transfer.copied_seq += 500;
        }
        for id in &stream {
            let transfer = &mut scene.sockets.get_mut(id).unwrap().transfer;
            transfer.write_seq += 1_000;
            transfer.snd_una += 1_000;
            transfer.bytes_acked += 1_000;
        }
        if second % 60 == 0 {
            assert_eq!(scene.report().findings, [], "{second}");
        }
    });
    // They are not forgotten: once nothing moves any more, they are found.
    scene.wait(3 * MINUTE);
    let report = scene.report();
    let found: Vec<_> = report.findings.iter().map(|found| found.cause.unwrap()).collect();
    assert_eq!(found.len(), 2, "{report:#?}");
    assert!(found.contains(&"not_read") && found.contains(&"not_closed"));
}

#[test]
fn a_restart_makes_no_leak_of_a_pool_and_loses_none() {
    let mut scene = Scene::new();
    let mut pool = std::collections::VecDeque::new();
    let mut whole = 0;
    let mut turn = |scene: &mut Scene, second: u64| {
        whole += 1;
        if second.is_multiple_of(10) {
            if pool.len() >= 12 {
                scene.close(pool.pop_front().unwrap());
            }
            let id = scene.connects(7, "10.0.0.5:443");
            scene.fin(id, 0);
            scene.read(id, 0);
            pool.push_back(id);
        }
        // One that fills for minutes is no pool before it has come to its plateau.
        if whole > 240 {
            assert_eq!(scene.report().findings, [], "{second}");
        }
    };
    scene.pass(10 * MINUTE, &mut turn);
    scene.restart();
    scene.pass(10 * MINUTE, &mut turn);

    let mut leaky = five(|scene| {
        let id = scene.accepts(7, 80);
        scene.fin(id, 0);
        scene.read(id, 0);
    });
    leaky.restart();
    assert_eq!(leaky.report().findings, [], "ages are not known yet");
    leaky.wait(3 * MINUTE);
    let report = leaky.report();
    let found = sole(&report);
    assert!(found.since_or_earlier && !found.unseen.is_empty(), "{found:#?}");
}

#[test]
fn lost_events_make_no_leak() {
    let mut scene = Scene::new();
    scene.wait(2 * MINUTE);
    for _ in 0..50 {
        let id = scene.accepts(7, 80);
        scene.fin(id, 0);
    }
    // They are closed, and nobody is told for ten seconds.
    scene.apply(Body::Lost { count: 1000 });
    scene.sockets.clear();
    scene.wait(Duration::from_secs(10));
    assert_eq!(scene.report().findings, []);
    scene.list();
    scene.pass(5 * MINUTE, |scene, _| assert_eq!(scene.report().findings, []));
}
