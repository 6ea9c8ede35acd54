//! Sockets left in `CLOSE_WAIT`: whose doing, since when, and how fast they grow.

use std::time::Duration;

use super::{super::*, MINUTE, five, scene::*, sole};

#[test]
fn every_cause_is_told() {
    type Make = fn(&mut Scene);
    let causes: [(&str, Make); 5] = [
        ("not_closed", |scene| {
            let id = scene.accepts(7, 80);
            scene.fin(id, 0);
            scene.read(id, 0);
        }),
        ("not_closed", |scene| {
            let id = scene.connects(7, "10.0.0.2:80");
            scene.fin(id, 0);
            scene.read(id, 0);
        }),
        ("not_read", |scene| {
            let id = scene.accepts(7, 80);
            scene.fin(id, 100);
        }),
        ("not_accepted", |scene| {
            let id = scene.child(80);
            scene.fin(id, 0);
        }),
        ("send_blocked", |scene| {
            let id = scene.accepts(7, 80);
            scene.sockets.get_mut(&id).unwrap().transfer.write_seq += 5_000;
            scene.fin(id, 0);
            scene.read(id, 0);
        }),
    ];
    for (cause, make) in causes {
        let scene = five(make);
        let report = scene.report();
        let found = sole(&report);
        assert_eq!((found.kind, found.count), (Kind::CloseWaitLeak, 5), "{cause}");
        assert_eq!(found.cause, Some(cause), "{found:#?}");
        let pid = found.who.map(|who| who.pid());
        assert_eq!(pid, (cause != "not_accepted").then_some(7), "{cause}");
        assert!(found.evidence.iter().any(|line| line.connections.len() == 5), "{found:#?}");
        assert!(!found.advice.is_empty() && !found.see.is_empty());
        // All of them within seconds, and none for minutes: what there is does not grow.
        assert_eq!(found.growth, None);
    }
}

#[test]
fn a_leak_is_found_soon_and_its_growth_told_within_5_percent() {
    let mut scene = Scene::new();
    let facts =
        evidence::ProcessFacts { descriptors: 1_000, limit: Some(4_096), ..Default::default() };
    scene.facts.processes.insert(7, facts);
    scene.pass(20 * MINUTE, |scene, second| {
        // 15 a minute, among a hundred that come and go in order.
        for n in 0..2 {
            let id = scene.accepts(7, 8080);
            scene.fin(id, 0);
            scene.read(id, 0);
            if !(n == 0 && second % 4 == 0) {
                scene.close(id);
            }
        }
    });
    let report = scene.report();
    let found = sole(&report);
    assert_eq!(found.severity, Severity::Serious);
    assert_eq!(found.cause, Some("not_closed"));
    let growth = found.growth.unwrap();
    assert!((growth.per_second / 0.25 - 1.0).abs() < 0.05, "{growth:?}");
    let left = found.exhaustion.unwrap().left.unwrap().as_secs_f64();
    assert!((left / (3_096.0 / 0.25) - 1.0).abs() < 0.05, "{left}");
    assert_eq!(found.confidence, Confidence::High);
    assert_eq!(found.count, 285, "20 minutes of 15, less the last one");
}

#[test]
fn a_leak_beside_slow_closers_is_a_leak() {
    let mut scene = Scene::new();
    let mut slow = std::collections::VecDeque::new();
    scene.pass(40 * MINUTE, |scene, second| {
        let id = scene.accepts(7, 8080);
        scene.fin(id, 0);
        scene.read(id, 0);
        if second % 10 != 0 {
            slow.push_back(id);
        }
        // Closed after two minutes.
        if slow.len() > 108 {
            scene.close(slow.pop_front().unwrap());
        }
    });
    let report = scene.report();
    assert_eq!(sole(&report).kind, Kind::CloseWaitLeak);
    let growth = sole(&report).growth.unwrap();
    assert!((growth.per_second / 0.1 - 1.0).abs() < 0.1, "{growth:?}");
}

#[test]
fn the_kernel_tells_of_sockets_that_were_there_before_how_old_they_are() {
    let mut scene = five(|scene| {
        let id = scene.accepts(7, 80);
        scene.fin(id, 0);
        scene.read(id, 0);
    });
    let long = Duration::from_hours(3);
    for id in 1..=5 {
        let idle = evidence::Idle { sent: long, received: long, heard: long };
        let facts = evidence::SocketFacts { idle: Some(idle), ..Default::default() };
        scene.facts.sockets.insert(std::num::NonZeroU64::new(id).unwrap(), facts);
    }
    scene.restart();
    let report = scene.report();
    let found = sole(&report);
    assert!(scene.now.since(found.since.unwrap()) >= long, "{found:#?}");
    assert_eq!(found.confidence, Confidence::Low);
    assert!(found.unseen[0].contains("grows"), "{found:#?}");
}

#[test]
fn sockets_held_by_another_process_are_its_doing() {
    let mut scene = five(|scene| {
        let id = scene.accepts(7, 80);
        scene.fin(id, 0);
        scene.read(id, 0);
    });
    for id in 1..=5 {
        let comm = crate::core::event::Comm::from_text("worker");
        let holder = evidence::Descriptor { pid: 99, comm, fd: 5 };
        let facts = evidence::SocketFacts { holders: vec![holder], holders_count: 1, idle: None };
        scene.facts.sockets.insert(std::num::NonZeroU64::new(id).unwrap(), facts);
    }
    scene.list();
    let report = scene.report();
    let found = sole(&report);
    assert_eq!(found.kind, Kind::HeldAfterFork);
    let held = found.evidence.iter().find(|line| line.label == "held by").unwrap();
    assert!(held.text.contains("worker 99 as fd 5"), "{held:?}");
}

#[test]
fn the_growth_of_a_hundred_thousand_sockets_is_told_within_5_percent() {
    let mut scene = Scene::new();
    scene.pass(Duration::from_secs(200), |scene, _| {
        for _ in 0..500 {
            let id = scene.accepts(7, 8080);
            scene.fin(id, 0);
        }
    });
    let report = scene.report();
    let growth = sole(&report).growth.unwrap();
    assert!((growth.per_second / 500.0 - 1.0).abs() < 0.05, "{growth:?}");
}

#[test]
fn leaks_are_counted_for_the_metrics() {
    let mut scene = five(|scene| {
        let id = scene.accepts(7, 80);
        scene.fin(id, 0);
        scene.read(id, 0);
    });
    let key = (crate::core::event::Comm::from_text("p7"), "not_closed");
    assert_eq!(scene.book.leaks().leaked[&key], 5);
    assert_eq!(scene.book.leaks().total[&key], 5);
    assert_eq!(scene.book.leaks().findings["close_wait_leak"], 1);
    for id in 1..=5 {
        scene.close(id);
    }
    scene.wait(Duration::from_secs(10));
    assert_eq!(scene.book.leaks().leaked.get(&key), None);
    assert_eq!(scene.book.leaks().total[&key], 5);
}

#[test]
fn leaks_of_names_beyond_those_counted_apart_are_counted_together() {
    let mut scene = Scene::new();
    scene.book = Casebook::new(Thresholds::default()).with_leak_names(2);
    scene.wait(MINUTE);
    for pid in 1..=5 {
        for _ in 0..6 {
            let id = scene.accepts(pid, 80);
            scene.fin(id, 0);
            scene.read(id, 0);
        }
    }
    scene.wait(3 * MINUTE);
    let leaks = scene.book.leaks();
    let name = crate::core::event::Comm::from_text;
    let counted = leaks.total.iter().filter(|(_, count)| **count > 0);
    let counted: Vec<_> = counted.map(|((name, _), count)| (*name, *count)).collect();
    assert_eq!(
        counted,
        [(name("other"), 18), (name("p1"), 6), (name("p2"), 6)],
        "in no place twice"
    );
    assert_eq!(leaks.names_folded, 3);
    assert_eq!(leaks.leaked.len(), 5 * Cause::ALL.len());
}

/// A process that leaks five sockets every two seconds while it is told to, and closes others in order.
fn leaks(scene: &mut Scene, span: Duration, leaks: bool, mut look: impl FnMut(u64, &Finding)) {
    scene.pass(span, |scene, second| {
        for n in 0..5 {
            let id = scene.accepts(7, 8080);
            scene.fin(id, 0);
            scene.read(id, 0);
            if !leaks || n >= 2 + second % 2 {
                scene.close(id);
            }
        }
        let report = scene.report();
        if let Some(found) = report.findings.first() {
            look(second, found);
        }
    });
}

#[test]
fn a_leak_that_stops_is_said_to_have_stopped_and_one_that_returns_to_grow() {
    let mut scene = Scene::new();
    let facts =
        evidence::ProcessFacts { descriptors: 2_000, limit: Some(65_536), ..Default::default() };
    scene.facts.processes.insert(7, facts);
    leaks(&mut scene, 8 * MINUTE, true, |_, _| {});
    let growth = sole(&scene.report()).growth.unwrap();
    assert!((growth.per_second / 2.5 - 1.0).abs() < 0.05, "{growth:?}");

    let mut grew = 0;
    leaks(&mut scene, 5 * MINUTE, false, |second, found| {
        let left = found.exhaustion.unwrap().left;
        if found.growth.is_some() {
            assert!(second < 45, "{second} s after its end: {found:#?}");
            grew = second;
            return;
        }
        let grown = found.grown.unwrap();
        assert!((grown.growth.per_second / 2.5 - 1.0).abs() < 0.05, "{grown:?}");
        assert_eq!((left, found.severity), (None, Severity::Warning), "{found:#?}");
        let text = &found.evidence[0].text;
        assert!(text.contains("+2.5 per second until "), "{text}");
        assert!(text.contains(" ago, not growing since; 2,000 of 65,536 file"), "{text}");
    });
    assert!(grew > 0 && sole(&scene.report()).grown.is_some(), "{grew}");
    let name = crate::core::event::Comm::from_text("p7");
    assert!(scene.book.leaks().exhaustion[&name].is_infinite());

    leaks(&mut scene, 3 * MINUTE, true, |second, found| {
        assert!(second < 60 || found.growth.is_some(), "{second} s after it went on: {found:#?}");
    });
    let report = scene.report();
    let found = sole(&report);
    let growth = found.growth.unwrap();
    assert!((growth.per_second / 2.5 - 1.0).abs() < 0.05, "{growth:?}");
    assert_eq!((found.grown, found.severity), (None, Severity::Serious));
    assert!(found.exhaustion.unwrap().left.is_some());
}
