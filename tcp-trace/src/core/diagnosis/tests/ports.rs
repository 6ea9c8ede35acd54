//! Local ports that run out, and those that do not.

use std::time::Duration;

use super::{super::*, MINUTE, scene::*, sole};

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
    assert!(text.contains("one client or pool") && !text.contains("nginx"), "{text}");
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

/// A recording or a capture does not say which ports its host gives out.
#[test]
fn of_a_host_that_tells_nothing_no_number_of_ports_is_made_up() {
    let mut scene = Scene::new();
    scene.facts.namespaces.clear();
    scene.list();
    scene.connects(7, "10.0.0.2:443");
    let calm = scene.report().calm.join("; ");
    assert!(calm.contains("1 local port taken to 10.0.0.2:443, of how many"), "{calm}");
    assert!(!calm.contains("28,232") && !calm.contains("suffice"), "{calm}");
}

/// So many ports to any destination, and connections beside those are in none of them.
fn narrow(budget: u32, fin_timeout: u32) -> Scene {
    let mut scene = Scene::new();
    let facts = scene.facts.namespaces.get_mut(&NETNS).unwrap();
    (facts.ports, facts.tw_reuse) = (Some((32_768, 60_999)), Some(0));
    (facts.reserved, facts.fin_timeout) = (28_232 - budget, Some(fin_timeout));
    scene.list();
    scene
}

/// So many a second, each closed here and not by its peer.
fn orphans(scene: &mut Scene, per_second: u32, span: Duration) {
    for _ in 0..per_second {
        let id = scene.connects(7, "10.0.0.9:80");
        scene.orphan(id, span);
    }
    scene.expire();
}

#[test]
fn ports_in_fin_wait2_that_end_by_themselves_are_no_danger() {
    // Ten a second: 600 of 1,000, and 200 with TCP_LINGER2, which no setting tells.
    for (kept, share) in [(MINUTE, 0.7), (Duration::from_secs(20), 0.3)] {
        let mut scene = narrow(1_000, 60);
        scene.book = Casebook::new(Thresholds { share, ..Thresholds::default() });
        scene.list();
        scene.pass(4 * MINUTE, |scene, second| {
            orphans(scene, 10, kept);
            let report = scene.report();
            let ports = report.findings.iter().find(|found| found.kind == Kind::PortPressure);
            // How long they are kept is known once the kernel was asked.
            assert!(ports.is_none() || kept < MINUTE && second < 35, "{second}: {ports:#?}");
        });
        let report = scene.report();
        let calm = report.calm.iter().any(|line| line.starts_with("local ports suffice"));
        assert!(calm, "{report:#?}");
    }
}

#[test]
fn ports_in_fin_wait2_that_are_too_many_are_foretold_with_their_cause() {
    let mut scene = narrow(1_000, 60);
    let mut told = None;
    scene.pass(Duration::from_secs(45), |scene, second| {
        orphans(scene, 20, MINUTE);
        let report = scene.report();
        let ports = report.findings.into_iter().find(|found| found.kind == Kind::PortPressure);
        told = told.take().or(ports.map(|found| (second, found)));
    });
    let (second, found) = told.unwrap();
    let left = found.exhaustion.unwrap().left.unwrap().as_secs();
    assert!(left.abs_diff(49 - second) <= 6, "{left} s after {second} s: {found:#?}");
    assert_eq!((found.cause, found.who.unwrap().pid()), (Some("fin_wait2"), 7), "{found:#?}");
    let text = format!("{found:?}");
    assert!(text.contains("its FIN is waited for, 1 min at most each"), "{text}");
    assert!(text.contains("TCP_LINGER2") && text.contains("--state fin_wait2"), "{text}");
    // All of them gone, there is nothing to tell.
    scene.pass(2 * MINUTE, |scene, _| scene.expire());
    assert!(scene.report().findings.iter().all(|found| found.kind != Kind::PortPressure));
}

#[test]
fn ports_that_a_process_holds_do_run_out_however_slowly() {
    let mut scene = narrow(1_000, 60);
    scene.pass(5 * MINUTE, |scene, _| {
        for _ in 0..2 {
            scene.connects(7, "10.0.0.9:80");
        }
        orphans(scene, 2, MINUTE);
    });
    let report = scene.report();
    let found = sole(&report);
    assert_eq!((found.kind, found.cause), (Kind::PortPressure, Some("open")), "{found:#?}");
    // 600 are held and 120 wait; of the 280 left two go in a second.
    let left = found.exhaustion.unwrap().left.unwrap().as_secs();
    assert!((130..=150).contains(&left), "{left} s: {found:#?}");
}
