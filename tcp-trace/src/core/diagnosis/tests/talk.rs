//! Connects that fail, resets, retransmits.

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
