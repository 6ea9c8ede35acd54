//! The host's own bounds, queues and what is sent again.

use std::{num::NonZeroU64, time::Duration};

use super::{MINUTE, sole};
use crate::core::{
    coverage::{Mib, Mibs},
    diagnosis::{
        Finding, Kind, Severity,
        evidence::{ListenerQueue, NetnsFacts},
        scene::*,
    },
    event::{Body, LifeStep},
    tcp_state::TcpState as S,
};

fn pid(found: &Finding) -> Option<u32> {
    found.who.map(|who| who.pid())
}

/// Every namespace tells the host's orphans.
#[test]
fn orphans_are_the_hosts_and_count_once() {
    let mut scene = Scene::new();
    let bounds = |orphans| NetnsFacts {
        orphans: Some(orphans),
        max_orphans: Some(1_000),
        ..NetnsFacts::default()
    };
    for netns in 2..12 {
        scene.facts.namespaces.insert(netns, bounds(300));
    }
    scene.list();
    assert_eq!(scene.report().findings, []);
    scene.facts.namespaces.insert(12, bounds(800));
    scene.list();
    let report = scene.report();
    let found = sole(&report);
    assert_eq!((found.kind, found.count), (Kind::Orphans, 800), "{found:#?}");
}

#[test]
fn mini_sockets_in_fin_wait2_count_against_the_limit() {
    let mut scene = Scene::new();
    scene.facts.namespaces.get_mut(&NETNS).unwrap().tw_buckets = Some(10);
    scene.list();
    for _ in 0..8 {
        let id = scene.connects(7, "10.0.0.9:80");
        scene.to(id, S::Established, S::FinWait1);
        scene.to(id, S::FinWait1, S::FinWait2);
        scene.life(id, LifeStep::TimeWaitBorn { substate: S::FinWait2, from: id });
        scene.to(id, S::FinWait2, S::Close);
    }
    let report = scene.report();
    let found = sole(&report);
    assert_eq!((found.kind, found.count), (Kind::TimeWaitBuckets, 8), "{found:#?}");
    assert!(report.calm.iter().all(|line| !line.contains("TIME_WAIT")), "{report:#?}");
}

/// `backlog` places, of which `requests` are taken, each answered `again` times over.
fn flooded(backlog: u32, requests: u32, again: u32, set: impl Fn(&mut NetnsFacts)) -> Scene {
    let mut scene = Scene::new();
    let listener = NonZeroU64::new(scene.listens(7, 80)).unwrap();
    scene.facts.listeners.insert(listener, ListenerQueue { waiting: 0, room: backlog });
    set(scene.facts.namespaces.get_mut(&NETNS).unwrap());
    for _ in 0..requests {
        let peer = scene.request(80);
        if again > 0 {
            scene.retransmit(peer, again);
        }
    }
    scene.list();
    scene
}

#[test]
fn a_flood_is_one_where_the_listener_has_no_room_left() {
    // With cookies, the listener's own queue is all there is, however long the other may be.
    let cookies = |facts: &mut NetnsFacts| {
        (facts.syn_backlog, facts.syncookies) = (Some(4_096), Some(1));
    };
    let scene = flooded(50, 50, 1, cookies);
    let report = scene.report();
    let found = sole(&report);
    assert_eq!((found.kind, found.severity), (Kind::SynRecvFlood, Severity::Serious));
    assert_eq!((found.count, pid(found)), (50, Some(7)));
    assert_eq!(found.exhaustion.unwrap().limit, 50);

    // A few of a short queue are on their way, and no flood.
    assert_eq!(flooded(5, 5, 0, cookies).report().findings, []);
    // Unless cookies had to be sent for others.
    let mut scene = flooded(5, 5, 0, cookies);
    let mut mibs = Mibs::default();
    for sent in [0, 9] {
        mibs.set(Mib::SyncookiesSent, sent);
        scene.book.take_mibs(&[(NETNS, mibs)], scene.now);
        scene.wait(Duration::from_secs(1));
    }
    assert_eq!(sole(&scene.report()).counts[1], ("syncookies", 9));

    // Without cookies, a quarter of the shared backlog is kept for those that are known.
    let bare =
        |facts: &mut NetnsFacts| (facts.syn_backlog, facts.syncookies) = (Some(256), Some(0));
    let report = flooded(4_096, 180, 0, bare).report();
    let found = sole(&report);
    assert_eq!((found.severity, found.exhaustion.unwrap().limit), (Severity::Serious, 192));
}

#[test]
fn what_nothing_has_shown_since_a_loss_is_no_leak_yet() {
    let mut scene = Scene::new();
    scene.wait(2 * MINUTE);
    for _ in 0..5 {
        let id = scene.accepts(7, 80);
        scene.fin(id, 0);
        scene.read(id, 0);
    }
    scene.wait(3 * MINUTE);
    assert_eq!(sole(&scene.report()).count, 5);
    // They may have been closed, and nobody was told.
    scene.apply(Body::Lost { count: 1000 });
    assert_eq!(scene.report().findings, []);
    // They were not.
    scene.wait(Duration::from_secs(1));
    scene.list();
    assert_eq!(sole(&scene.report()).count, 5);
    // Nor does the next loss make anybody forget what one more snapshot shows.
    scene.apply(Body::Lost { count: 1 });
    scene.wait(MINUTE);
    assert_eq!(sole(&scene.report()).count, 5);
}

#[test]
fn what_is_sent_again_is_its_process_s_where_it_is_of_one() {
    let mut scene = Scene::new();
    let mut fins = |pids: &[u32], port| {
        for pid in pids {
            let id = scene.accepts(*pid, port);
            scene.to(id, S::Established, S::FinWait1);
            for _ in 0..25 {
                scene.life(id, LifeStep::Retransmit(S::FinWait1));
            }
        }
    };
    fins(&[7, 7], 50_000);
    fins(&[8, 9], 50_001);
    let mut report = scene.report();
    report.findings.sort_by_key(|found| found.service.clone());
    let told: Vec<_> = report
        .findings
        .iter()
        .map(|f| (f.kind, f.service.as_deref().unwrap(), pid(f), f.count))
        .collect();
    let expected = [
        (Kind::Retransmits, "port 50000", Some(7), 50),
        (Kind::Retransmits, "port 50001", None, 50),
    ];
    assert_eq!(told, expected);
    assert_eq!(report.findings[0].evidence[0].connections.len(), 2, "each once");
}

/// Each stands in `CLOSE_WAIT` for minutes, and one is replaced every now and then.
#[test]
fn a_restart_makes_no_leak_of_a_pool_that_comes_round_slowly() {
    for (size, every) in [(6, 24), (6, 40), (12, 10), (20, 6), (4, 55)] {
        let mut scene = Scene::new();
        let mut pool = std::collections::VecDeque::new();
        let mut turns = 0;
        let mut turn = |scene: &mut Scene, second: u64, judged: bool| {
            if second.is_multiple_of(every) {
                turns += 1;
                if pool.len() >= size {
                    scene.close(pool.pop_front().unwrap());
                }
                let id = scene.connects(7, "10.0.0.5:443");
                scene.fin(id, 0);
                scene.read(id, 0);
                pool.push_back(id);
            }
            if judged {
                assert_eq!(scene.report().findings, [], "{size} every {every} s: {second}");
            }
        };
        scene.pass(30 * MINUTE, |scene, second| turn(scene, second, false));
        scene.restart();
        scene.pass(30 * MINUTE, |scene, second| turn(scene, second, true));
    }
}

/// Of connections that were there before, nobody has seen which side opened them.
#[test]
fn a_service_is_known_after_a_restart_whatever_its_port() {
    for port in [80, 50_051, 60_999] {
        let mut scene = Scene::new();
        let mut pool = std::collections::VecDeque::new();
        let mut turn = |scene: &mut Scene, second: u64| {
            if second.is_multiple_of(10) {
                if pool.len() >= 12 {
                    scene.close(pool.pop_front().unwrap());
                }
                let id = scene.connects(7, &format!("10.0.0.5:{port}"));
                scene.fin(id, 0);
                scene.read(id, 0);
                pool.push_back(id);
            }
        };
        scene.pass(10 * MINUTE, &mut turn);
        scene.restart();
        scene.pass(10 * MINUTE, |scene, second| {
            turn(scene, second);
            assert_eq!(scene.report().findings, [], "port {port}: {second}");
        });
    }
}

/// For ten times as long as old is, nobody is told of anything: a pool is one still.
#[test]
fn a_pool_is_one_after_a_long_loss() {
    for gap in [1, 9, 11, 30] {
        let mut scene = Scene::new();
        let mut pool = std::collections::VecDeque::new();
        let mut turn = |scene: &mut Scene, second: u64, told: bool| {
            if !second.is_multiple_of(20) {
                return;
            }
            if pool.len() >= 6 {
                let id = pool.pop_front().unwrap();
                if told {
                    scene.close(id);
                } else {
                    scene.sockets.remove(&id);
                }
            }
            let id = scene.connects(7, "10.0.0.5:443");
            scene.fin(id, 0);
            scene.read(id, 0);
            pool.push_back(id);
        };
        scene.pass(20 * MINUTE, |scene, second| turn(scene, second, true));
        // Nobody looks, and what happens is not told.
        let end = scene.now.after(gap * MINUTE);
        scene.book.lost(end);
        for second in 0..u64::from(gap) * 60 {
            turn(&mut scene, second, false);
        }
        scene.now = end;
        scene.apply(Body::Lost { count: 1 });
        scene.pass(10 * MINUTE, |scene, second| {
            turn(scene, second, true);
            assert_eq!(scene.report().findings, [], "{gap} min: {second}");
        });
    }
}

/// Connects to this host's own service, which nobody answers, with so many of its places taken.
fn unanswered(remote: &str, queue: ListenerQueue) -> Scene {
    let mut scene = Scene::new();
    let listener = scene.listens(9, 9_000);
    scene.facts.listeners.insert(NonZeroU64::new(listener).unwrap(), queue);
    scene.list();
    for _ in 0..30 {
        let id = scene.tries(7, remote);
        scene.life(id, LifeStep::Retransmit(S::SynSent));
        scene.ends(id, S::SynSent, S::Close, crate::core::errno::ETIMEDOUT);
    }
    scene
}

#[test]
fn unanswered_connects_are_laid_to_the_full_listener_where_it_is_seen() {
    let of = |scene: &Scene, kind| {
        let mut report = scene.report();
        report.findings.retain(|found| found.kind == kind);
        sole(&report).clone()
    };
    let full = ListenerQueue { waiting: 17, room: 16 };
    let scene = unanswered("10.0.0.1:9000", full);
    for kind in [Kind::ConnectTimeout, Kind::Retransmits] {
        let found = of(&scene, kind);
        assert_eq!(found.cause, Some("accept_queue_full"), "{found:#?}");
        let cause = found.evidence.iter().find(|line| line.label == "cause").unwrap();
        for words in ["p9 9", "10.0.0.1:9000", "17 connections wait", "backlog is 16"] {
            assert!(cause.text.contains(words), "{words}: {}", cause.text);
        }
        assert_eq!(found.evidence.iter().filter(|line| line.label == "cause").count(), 1);
        assert!(found.see.iter().any(|see| see == "tcp-trace show 1"), "{found:#?}");
    }
    let others = [
        // As many as it may have are no overflow, and another host's service is not ours.
        ("10.0.0.1:9000", ListenerQueue { waiting: 16, room: 16 }),
        ("10.0.0.2:9000", full),
        ("10.0.0.1:9001", full),
    ];
    for (remote, queue) in others {
        let found = of(&unanswered(remote, queue), Kind::ConnectTimeout);
        assert_eq!(found.cause, None, "{found:#?}");
    }
}
