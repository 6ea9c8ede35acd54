//! Findings about a host under a clock of its own, and what must not become one.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{scene::*, *};
use crate::core::{
    errno,
    event::{Body, LifeStep},
    tcp_state::TcpState as S,
};

const MINUTE: Duration = Duration::from_mins(1);

fn sole(report: &Report) -> &Finding {
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    &report.findings[0]
}

/// Five sockets in `CLOSE_WAIT` for a few minutes, made so by `make`.
fn five(make: impl Fn(&mut Scene)) -> Scene {
    let mut scene = Scene::new();
    scene.wait(MINUTE);
    for _ in 0..5 {
        make(&mut scene);
    }
    scene.wait(3 * MINUTE);
    scene
}

#[test]
fn a_quiet_host_gets_calm_lines_and_no_finding() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        scene.accepts(7, 80);
        scene.connects(7, "10.0.0.2:443");
    }
    scene.wait(3 * MINUTE);
    let report = scene.report();
    assert_eq!(report.findings, []);
    assert!(report.calm.len() >= 5, "{report:#?}");
    let text = report.calm.join("; ");
    for words in ["CLOSE_WAIT", "10 of 28,232", "no connect failures", "no reset storm"] {
        assert!(text.contains(words), "{text}");
    }
}

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
fn a_hundred_thousand_sockets_are_diagnosed_in_well_under_a_second() {
    let mut scene = Scene::new();
    scene.pass(Duration::from_secs(200), |scene, _| {
        for _ in 0..500 {
            let id = scene.accepts(7, 8080);
            scene.fin(id, 0);
        }
    });
    let begun = Instant::now();
    let report = scene.report();
    let took = begun.elapsed();
    let growth = sole(&report).growth.unwrap();
    assert!((growth.per_second / 500.0 - 1.0).abs() < 0.05, "{growth:?}");
    println!("{took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn ports_that_run_out_are_told_before_they_do() {
    let mut scene = Scene::new();
    let facts = scene.facts.namespaces.get_mut(&NETNS).unwrap();
    (facts.ports, facts.tw_reuse) = (Some((32_768, 33_767)), Some(0));
    scene.list();
    let mut told = None;
    scene.pass(Duration::from_secs(45), |scene, second| {
        for _ in 0..20 {
            let id = scene.connects(7, "10.0.0.9:80");
            scene.close_first(id);
        }
        let report = scene.report();
        if let Some(found) = report.findings.first().filter(|_| told.is_none()) {
            assert_eq!(found.kind, Kind::PortPressure);
            told = Some((second, found.clone()));
        }
    });
    let (second, found) = told.unwrap();
    assert!(second <= 40, "after {second} s, and they run out after 50 s");
    let left = found.exhaustion.unwrap().left.unwrap().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let truth = 49.0 - second as f64;
    assert!((left - truth).abs() <= 5.0, "{left} s, and it is {truth} s: {found:#?}");
    assert_eq!(found.who.unwrap().pid(), 7);
    let text = format!("{:?}", found.advice);
    assert!(text.contains("tcp_tw_reuse=1 helps") && text.contains("tcp_fin_timeout"), "{text}");
    let report = scene.report();
    assert_eq!(sole(&report).severity, Severity::Serious, "{report:#?}");
}

#[test]
fn a_rate_that_comes_to_rest_below_the_bound_is_no_danger() {
    let mut scene = Scene::new();
    let facts = scene.facts.namespaces.get_mut(&NETNS).unwrap();
    (facts.ports, facts.tw_reuse) = (Some((32_768, 42_767)), Some(0));
    scene.list();
    let mut waiting = std::collections::VecDeque::new();
    scene.pass(4 * MINUTE, |scene, second| {
        // 60 a second for 60 s: 3,600 of 10,000.
        for _ in 0..60 {
            let id = scene.connects(7, "10.0.0.9:80");
            scene.close_first(id);
            waiting.push_back((second, id));
        }
        while waiting.front().is_some_and(|(born, _)| second - born >= 60) {
            scene.expires(waiting.pop_front().unwrap().1);
        }
        assert_eq!(scene.report().findings, [], "{second}");
    });
}

#[test]
fn ports_that_are_reused_do_not_run_out() {
    let mut scene = Scene::new();
    let facts = scene.facts.namespaces.get_mut(&NETNS).unwrap();
    (facts.ports, facts.tw_reuse) = (Some((32_768, 33_767)), Some(1));
    scene.list();
    scene.pass(Duration::from_secs(45), |scene, second| {
        for _ in 0..20 {
            let id = scene.connects(7, "10.0.0.9:80");
            scene.close_first(id);
        }
        assert_eq!(scene.report().findings, [], "{second}");
    });
}

#[test]
fn failed_connects_are_told_by_destination() {
    let mut scene = Scene::new();
    for _ in 0..12 {
        let id = scene.tries(7, "10.0.0.2:9");
        scene.ends(id, S::SynSent, S::Close, errno::ECONNREFUSED);
        let id = scene.tries(8, "10.0.0.3:80");
        scene.ends(id, S::SynSent, S::Close, errno::ETIMEDOUT);
    }
    let id = scene.tries(9, "10.0.0.4:80");
    scene.ends(id, S::SynSent, S::Close, errno::EADDRNOTAVAIL);
    let report = scene.report();
    let told: Vec<_> =
        report.findings.iter().map(|f| (f.kind, f.who.unwrap().pid(), f.count)).collect();
    let expected =
        [(Kind::NoPortLeft, 9, 1), (Kind::ConnectRefused, 7, 12), (Kind::ConnectTimeout, 8, 12)];
    assert_eq!(told, expected);
    assert!(!report.calm.join(" ").contains("connect failures"));
    // What is past is past.
    scene.wait(6 * MINUTE);
    assert_eq!(scene.report().findings, []);
}

#[test]
fn resets_and_retransmits_are_told() {
    let mut scene = Scene::new();
    for _ in 0..120 {
        let id = scene.accepts(7, 80);
        scene.ends(id, S::Established, S::Close, errno::ECONNRESET);
    }
    let id = scene.tries(8, "10.0.0.3:80");
    for _ in 0..25 {
        scene.life(id, LifeStep::Retransmit(S::SynSent));
    }
    let report = scene.report();
    let kinds: Vec<_> = report.findings.iter().map(|f| (f.kind, f.cause)).collect();
    let expected = [(Kind::ResetStorm, Some("rst_received")), (Kind::Retransmits, Some("syn"))];
    assert_eq!(kinds, expected);
}

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
    assert_eq!(leaks.leaked.len(), 5 * super::Cause::ALL.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the sockets do: no panic, bounded memory, and no finding without a socket.
    #[test]
    fn any_host_is_diagnosed(acts in proptest::collection::vec((0u8..8, 0u32..40, 0u32..3), 0..400)) {
        let mut scene = Scene::new();
        let mut open = Vec::new();
        let mut waiting = Vec::new();
        for (act, pick, bytes) in acts {
            let pick = pick as usize;
            match act {
                0 => open.push(scene.accepts(7 + bytes, 80)),
                1 => open.push(scene.connects(7 + bytes, "10.0.0.2:443")),
                2 if !open.is_empty() => {
                    let id = open.swap_remove(pick % open.len());
                    scene.fin(id, bytes);
                    waiting.push(id);
                }
                3 if !waiting.is_empty() => scene.read(waiting[pick % waiting.len()], 0),
                4 if !waiting.is_empty() => {
                    let id = waiting.swap_remove(pick % waiting.len());
                    scene.close(id);
                }
                5 => scene.list(),
                6 => scene.wait(Duration::from_secs(pick as u64)),
                _ => open.push(scene.child(81)),
            }
        }
        let report = scene.report();
        for found in report.findings.iter().filter(|f| f.kind == Kind::CloseWaitLeak) {
            prop_assert!(found.count <= waiting.len() as u64);
            prop_assert!(!found.evidence.is_empty() && !found.says.is_empty());
        }
    }
}
