//! Connects that fail, resets, retransmits.

use std::time::Duration;

use super::{super::*, MINUTE, scene::*};
use crate::core::{errno, event::LifeStep, tcp_state::TcpState as S};

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

/// The finding that no port was left for process `pid`.
fn no_port(scene: &Scene, pid: u32) -> Finding {
    let is = |found: &Finding| {
        found.kind == Kind::NoPortLeft && found.who.is_some_and(|who| who.pid() == pid)
    };
    scene.report().findings.into_iter().find(is).unwrap()
}

fn finds_no_port(scene: &mut Scene, pid: u32) {
    let id = scene.tries(pid, "10.0.0.4:80");
    scene.ends(id, S::SynSent, S::Close, errno::EADDRNOTAVAIL);
}

#[test]
fn a_want_of_ports_that_is_over_is_told_as_such() {
    let mut scene = Scene::new();
    let find = |scene: &mut Scene, _| finds_no_port(scene, 7);
    scene.pass(MINUTE, find);
    let found = no_port(&scene, 7);
    assert_eq!((found.severity, found.count), (Severity::Serious, 60));
    assert_eq!(found.says, "found no local port left to connect to 10.0.0.4:80");
    // A pause is no end.
    scene.wait(Duration::from_secs(25));
    assert_eq!(no_port(&scene, 7).severity, Severity::Serious);
    scene.wait(Duration::from_secs(20));
    let found = no_port(&scene, 7);
    assert_eq!((found.severity, found.count), (Severity::Warning, 60));
    assert_eq!(found.says, "found no local port left to connect to 10.0.0.4:80, last 45 s ago");
    // It happens again.
    finds_no_port(&mut scene, 7);
    assert_eq!(no_port(&scene, 7).severity, Severity::Serious);
    scene.wait(6 * MINUTE);
    assert_eq!(scene.report().findings, []);
}

#[test]
fn a_process_that_has_ended_wants_no_port() {
    let mut scene = Scene::new();
    finds_no_port(&mut scene, 7);
    finds_no_port(&mut scene, 8);
    let suspects = scene.book.suspects(&scene.table, scene.now);
    assert_eq!(suspects.failing.keys().copied().collect::<Vec<_>>(), [7, 8]);
    assert!(!suspects.is_empty());
    scene.facts.ended.extend([7, 8]);
    scene.wait(Duration::from_secs(2));
    scene.list();
    let found = no_port(&scene, 8);
    assert_eq!(found.severity, Severity::Warning, "{found:#?}");
    let says = "has ended; it found no local port left to connect to 10.0.0.4:80, last 2 s ago";
    assert_eq!(found.says, says);
    // The one before it was followed by another: processes come and go, and none finds a port.
    assert_eq!(no_port(&scene, 7).severity, Severity::Serious);
    scene.wait(MINUTE);
    for pid in [7, 8] {
        let found = no_port(&scene, pid);
        assert_eq!(found.severity, Severity::Warning);
        assert!(found.says.starts_with("has ended; it found no"), "{found:#?}");
    }
    // Where nobody knows whether it lives, it is over all the same.
    finds_no_port(&mut scene, 9);
    scene.wait(MINUTE);
    let found = no_port(&scene, 9);
    assert_eq!(found.severity, Severity::Warning);
    assert!(!found.says.contains("ended"), "{found:#?}");
}
