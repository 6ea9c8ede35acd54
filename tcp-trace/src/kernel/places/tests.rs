//! Questions and answers, without a thread and with one.

use std::sync::mpsc::Receiver;

use super::*;
use crate::kernel::{cgroups::Cgroups, process_facts::ProcessFacts};

fn ns(ns: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(ns)
}

/// One whose questions nobody answers.
fn asking(room: usize) -> (Places, Receiver<Question>) {
    let (questions, waiting) = sync_channel(room);
    (Places::asking(Some(questions)), waiting)
}

#[test]
fn a_process_is_asked_for_once() {
    let (mut places, waiting) = asking(8);
    places.of(7, ns(70_000_001), ns(5));
    places.of(7, ns(79_999_999), None);
    let question = waiting.try_recv().unwrap();
    assert_eq!((question.key.pid, question.cgroup), (7, ns(5)));
    assert!(waiting.try_recv().is_err(), "the same tick is the same start");
    places.of(7, ns(80_000_000), None);
    places.of(7, None, None);
    assert_eq!(waiting.try_iter().count(), 2, "other processes, as far as is known");
    let _ = question.answer.0.set(Whereabouts { exe: Some("/x".into()), ..Whereabouts::default() });
    let answer = places.of(7, ns(70_000_001), None);
    assert_eq!(answer.get().unwrap().exe.as_deref(), Some("/x"));
}

#[test]
fn what_is_known_of_a_number_stands_until_somebody_else_has_it() {
    let (mut places, waiting) = asking(8);
    let key = Key { pid: 7, start: None };
    let of = |exe: &str| Whereabouts { exe: Some(exe.into()), ..Whereabouts::default() };
    let exe = |answer: Answer| answer.get().and_then(|at| at.exe.as_deref().map(str::to_owned));
    let mut look = |answer: Option<Whereabouts>| {
        // As if it had been long ago.
        if let Some(asked) = places.young.get_mut(&key) {
            asked.at = asked.at.checked_sub(2 * NUMBER_STANDS).unwrap();
        }
        let at_once = exe(places.of(7, None, None));
        let question = waiting.try_recv().unwrap();
        if let Some(answer) = answer {
            let _ = question.answer.0.set(answer);
        }
        (at_once, exe(places.of(7, None, None)))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(look(Some(of("/a"))), (None, text("/a")));
    assert_eq!(look(Some(Whereabouts::default())), (text("/a"), text("/a")), "it is gone");
    assert_eq!(look(None), (text("/a"), text("/a")));
    assert_eq!(look(Some(of("/b"))), (text("/a"), text("/b")));
}

#[test]
fn where_too_many_wait_the_next_who_asks_tries_again() {
    let (mut places, waiting) = asking(1);
    places.of(1, ns(1), None);
    assert!(places.of(2, ns(1), None).get().is_none());
    assert_eq!(places.refused(), 1);
    assert_eq!(waiting.try_iter().count(), 1);
    places.of(2, ns(1), None);
    assert_eq!(waiting.try_recv().unwrap().key.pid, 2);
    drop(waiting);
    places.of(3, ns(1), None);
    assert_eq!(places.refused(), 2);
}

#[test]
fn memory_is_bounded_and_those_asked_for_stay() {
    let (mut places, waiting) = asking(1 << 17);
    let many = u32::try_from(GENERATION).unwrap();
    for pid in 0..4 * many {
        places.of(pid + 1, ns(1), None);
        places.of(1, ns(1), None);
    }
    assert!(places.young.len() + places.old.len() <= 2 * GENERATION);
    let asked: Vec<_> = waiting.try_iter().map(|question| question.key.pid).collect();
    assert_eq!(asked.iter().filter(|pid| **pid == 1).count(), 1);
    places.of(2, ns(1), None);
    assert_eq!(waiting.try_iter().count(), 1, "long forgotten");
}

#[test]
fn the_cgroup_of_the_call_wins_unless_it_is_the_root() {
    let root = tempfile::tempdir().unwrap();
    let id = |path: &std::path::Path| {
        ns(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap()))
    };
    let service = root.path().join("a.service");
    std::fs::create_dir(&service).unwrap();
    let mut resolver = resolver::Resolver::with(Cgroups::walking(root.path()));
    let facts = |cgroup: &str| {
        Some(ProcessFacts { exe: Some("/bin/x".to_owned()), cgroup: Some(cgroup.to_owned()) })
    };
    let mut cgroup = |facts, id| {
        let found = resolver.resolve(facts, id);
        (found.exe.is_some(), found.cgroup.map(|path| path.to_string()), found.place.unit.clone())
    };
    let (a, b) = (Some("/a.service".to_owned()), Some("/b.service".to_owned()));
    let (unit_a, unit_b) = (Some("a.service".to_owned()), Some("b.service".to_owned()));
    assert_eq!(cgroup(facts("/b.service"), id(&service)), (true, a.clone(), unit_a.clone()));
    assert_eq!(cgroup(facts("/b.service"), id(root.path())), (true, b.clone(), unit_b.clone()));
    assert_eq!(cgroup(facts("/b.service"), None), (true, b, unit_b));
    assert_eq!(cgroup(None, id(&service)), (false, a, unit_a));
    assert_eq!(cgroup(None, None), (false, None, None));
}

#[test]
fn the_thread_answers() {
    let mut places = Places::new();
    let answer = places.of(std::process::id(), None, None);
    let start = Instant::now();
    while answer.get().is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "no answer");
        std::thread::yield_now();
    }
    let exe = std::env::current_exe().unwrap().display().to_string();
    assert_eq!(answer.get().unwrap().exe.as_deref(), Some(exe.as_str()));
}
