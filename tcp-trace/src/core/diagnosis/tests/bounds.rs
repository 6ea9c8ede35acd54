//! What is held too long, and bounds that come near: descriptors, peers, queues, the host.

use std::time::Duration;

use super::{super::*, MINUTE, scene::*};
use crate::core::{errno, event::LifeStep, tcp_state::TcpState as S};

#[test]
fn descriptors_of_dead_connections_are_told_until_they_are_closed() {
    let mut scene = Scene::new();
    let ids: Vec<_> = (0..8).map(|_| scene.accepts(7, 80)).collect();
    for id in &ids {
        scene.ends(*id, S::Established, S::Close, errno::ECONNRESET);
    }
    // Some are closed in time.
    for id in &ids[..3] {
        scene.life(*id, LifeStep::Destroyed);
    }
    scene.wait(2 * MINUTE);
    assert_eq!(scene.report().findings, [], "its descriptors were not looked at");
    assert!(scene.book.suspects(&scene.table, scene.now).closed.contains(&7));

    // Its descriptors have the last word.
    for (unlisted, count) in [(6, 5), (4, 4), (0, 0)] {
        let facts = evidence::ProcessFacts {
            unlisted_count: Some(unlisted),
            unlisted: vec![9],
            ..Default::default()
        };
        scene.facts.processes.insert(7, facts);
        scene.list();
        let told = scene.report();
        assert_eq!(told.findings.first().map_or(0, |found| found.count), count, "{told:#?}");
        assert!(told.findings.iter().all(|found| found.kind == Kind::ClosedDescriptors));
    }
    // Once they are closed, other sockets in no list are nobody's business.
    scene.facts.processes.get_mut(&7).unwrap().unlisted_count = Some(9);
    scene.list();
    for id in &ids[3..] {
        scene.life(*id, LifeStep::Destroyed);
    }
    assert_eq!(scene.report().findings, []);
}

#[test]
fn peers_that_never_close_and_fins_that_nobody_acknowledges_are_told() {
    let mut scene = Scene::new();
    for _ in 0..4 {
        let id = scene.accepts(7, 80);
        scene.to(id, S::Established, S::FinWait1);
        scene.to(id, S::FinWait1, S::FinWait2);
        let id = scene.accepts(8, 81);
        scene.fin(id, 0);
        scene.to(id, S::CloseWait, S::LastAck);
    }
    // One that is sent to is half closed, and well.
    for _ in 0..4 {
        let id = scene.connects(9, "10.0.0.2:80");
        scene.to(id, S::Established, S::FinWait1);
        scene.to(id, S::FinWait1, S::FinWait2);
    }
    scene.pass(5 * MINUTE, |scene, _| {
        for sock in scene.sockets.values_mut().filter(|sock| sock.pid == 9) {
            sock.transfer.bytes_received += 100;
        }
    });
    let report = scene.report();
    let told: Vec<_> =
        report.findings.iter().map(|f| (f.kind, f.who.unwrap().pid(), f.count)).collect();
    assert_eq!(told, [(Kind::FinWait2Held, 7, 4), (Kind::LastAckStuck, 8, 4)]);
}

#[test]
fn listeners_that_are_not_kept_up_with_are_told() {
    let mut scene = Scene::new();
    let listener = scene.listens(7, 80);
    let cookie = std::num::NonZeroU64::new(listener).unwrap();
    let queue = |waiting| evidence::ListenerQueue { waiting, room: 128 };
    scene.facts.listeners.insert(cookie, queue(3));
    scene.list();
    assert_eq!(scene.report().findings, []);
    scene.facts.listeners.insert(cookie, queue(129));
    for _ in 0..100 {
        let peer = scene.request(80);
        scene.retransmit(peer, 2);
    }
    scene.list();
    let report = scene.report();
    let told: Vec<_> =
        report.findings.iter().map(|f| (f.kind, f.who.unwrap().pid(), f.count)).collect();
    assert_eq!(told, [(Kind::AcceptQueue, 7, 129), (Kind::SynRecvFlood, 7, 100)]);
}

#[test]
fn bounds_of_the_host_are_told_when_they_are_near() {
    use crate::core::coverage::{Mib, Mibs};
    let mut scene = Scene::new();
    let facts = scene.facts.namespaces.get_mut(&NETNS).unwrap();
    (facts.orphans, facts.max_orphans) = (Some(900), Some(1_000));
    (facts.memory_pages, facts.memory_limit) = (Some(10), Some(1_000));
    facts.tw_buckets = Some(10);
    for _ in 0..9 {
        let id = scene.connects(7, "10.0.0.9:80");
        scene.close_first(id);
    }
    scene.list();
    let kinds = |scene: &Scene| {
        scene.report().findings.iter().map(|f| (f.kind, f.severity)).collect::<Vec<_>>()
    };
    let orphans = (Kind::Orphans, Severity::Serious);
    assert_eq!(kinds(&scene), [orphans, (Kind::TimeWaitBuckets, Severity::Warning)]);
    let mut mibs = Mibs::default();
    for overflows in [5, 8] {
        mibs.set(Mib::TimeWaitOverflow, overflows);
        scene.book.take_mibs(&[(NETNS, mibs)], scene.now);
        scene.wait(Duration::from_secs(1));
    }
    assert_eq!(kinds(&scene), [orphans, (Kind::TimeWaitBuckets, Severity::Serious)]);
}

#[test]
fn a_process_with_two_leaks_has_one_time_left() {
    let mut scene = Scene::new();
    let facts = evidence::ProcessFacts {
        descriptors: 500,
        limit: Some(1_500),
        unlisted_count: Some(1_000),
        ..Default::default()
    };
    scene.facts.processes.insert(7, facts);
    scene.pass(5 * MINUTE, |scene, second| {
        let dead = scene.accepts(7, 80);
        scene.ends(dead, S::Established, S::Close, errno::ECONNRESET);
        if second % 2 == 0 {
            let leaked = scene.accepts(7, 81);
            scene.fin(leaked, 0);
            scene.read(leaked, 0);
        }
    });
    let kinds = |report: &Report| {
        // The resets are told too, and use nothing up.
        let bounds = report.findings.iter().filter_map(|f| Some((f.kind, f.exhaustion?.left)));
        let mut kinds: Vec<_> =
            bounds.map(|(kind, left)| (kind, left.map(|left| left.as_secs()))).collect();
        kinds.sort();
        kinds
    };
    // Each second one and a half of the thousand that are left.
    let report = scene.report();
    let told = kinds(&report);
    let [(Kind::CloseWaitLeak, Some(one)), (Kind::ClosedDescriptors, Some(other))] = told[..]
    else {
        panic!("{report:#?}");
    };
    assert_eq!(one, other);
    assert!(one.abs_diff(1_000 * 2 / 3) < 35, "{one} s");
    let name = crate::core::event::Comm::from_text("p7");
    assert!(scene.book.leaks().exhaustion[&name] < 705.0);
    // None of them grows any more, and nothing runs out.
    scene.wait(2 * MINUTE);
    let report = scene.report();
    let told = kinds(&report);
    assert_eq!(told, [(Kind::CloseWaitLeak, None), (Kind::ClosedDescriptors, None)], "{report:#?}");
}
