//! Findings about a host under a clock of its own, and what must not become one.

mod bounds;
mod close_wait;
mod neighbours;
mod no_leak;
mod ports;
mod stacks;
mod talk;

use std::time::Duration;

use proptest::prelude::*;

use super::{scene::*, *};

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
