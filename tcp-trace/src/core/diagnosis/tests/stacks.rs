//! Where in the code: stacks of findings.

use crate::core::{errno, stack::StackCall, tcp_state::TcpState as S};

use super::{
    super::{scene::*, *},
    *,
};

#[test]
fn sockets_of_one_stack_are_one_finding_that_names_it() {
    let leak = |scene: &mut Scene| {
        let id = scene.accepts(7, 80);
        scene.stack(id, StackCall::Accept, "shop::serve");
        scene.fin(id, 0);
        scene.read(id, 0);
    };
    let report = five(leak).report();
    let found = sole(&report);
    let lines: Vec<_> = found.evidence.iter().filter(|line| line.label == "accepted at").collect();
    assert_eq!(lines.len(), 1, "{found:#?}");
    assert_eq!(lines[0].text, "shop::serve  (all 5 share this stack)");
}

#[test]
fn that_stacks_can_be_asked_for_is_said_where_nobody_has() {
    let leak = |scene: &mut Scene| {
        scene.table.stacks_mut().set_asked(false);
        let id = scene.connects(7, "10.0.0.2:80");
        scene.fin(id, 0);
        scene.read(id, 0);
    };
    let report = five(leak).report();
    assert!(sole(&report).unseen.iter().any(|text| text.contains("--stacks")), "{report:#?}");
}

#[test]
fn a_dead_socket_whose_stack_comes_late_is_told_with_it() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        let id = scene.connects(7, "10.0.0.2:80");
        scene.ends(id, S::Established, S::Close, errno::ECONNRESET);
        scene.stack(id, StackCall::Connect, "shop::pool");
    }
    let facts = evidence::ProcessFacts { unlisted_count: Some(3), ..Default::default() };
    scene.facts.processes.insert(7, facts);
    scene.wait(3 * MINUTE);
    let report = scene.report();
    let closed = report.findings.iter().find(|found| found.kind == Kind::ClosedDescriptors);
    let line = closed.unwrap().evidence.iter().find(|line| line.label == "opened at");
    assert_eq!(line.unwrap().text, "shop::pool  (all 3 share this stack)");
}
