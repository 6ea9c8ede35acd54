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
