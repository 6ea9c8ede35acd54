//! A daemon that has nothing to do does next to nothing, and is there at once when something happens.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{daemon::Daemon, netns::Netns, streams::Watch};

/// A second without events is rest, and then a little.
const TO_REST: Duration = Duration::from_millis(2_500);
/// How long it is counted how often it wakes.
const COUNTED: Duration = Duration::from_secs(10);
/// Most wakeups a second of all its threads. Looking at the buffers 20 times a second, and twice
/// whether the tracer lives, came to 27.
const WAKEUPS: f64 = 8.0;
/// Rests that are ended by an event.
const RESTS: usize = 5;
/// Most time until such an event is told. A tracer that looks but once a second is this late seven
/// times in ten.
const TOLD: Duration = Duration::from_millis(300);

/// How often each thread of a process has gone to sleep.
fn sleeps(pid: u32) -> BTreeMap<OsString, u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| {
        // It may just have ended, as the one does that attached the programs.
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Some((task.file_name(), line?.trim().parse().unwrap()))
    };
    tasks.filter_map(|task| of(task.unwrap())).collect()
}

#[test]
#[ignore = "needs root"]
fn a_daemon_at_rest_sleeps() {
    let netns = Netns::new();
    let daemon = Daemon::inside(&netns, &[]);
    sleep(TO_REST);
    let (before, begun) = (sleeps(daemon.pid()), Instant::now());
    sleep(COUNTED);
    let (after, passed) = (sleeps(daemon.pid()), begun.elapsed());
    let since = |(thread, count): (&OsString, &u32)| count - before.get(thread).unwrap_or(&0);
    let rate = f64::from(after.iter().map(since).sum::<u32>()) / passed.as_secs_f64();
    assert!(rate > 0.0 && rate <= WAKEUPS, "it wakes {rate:.1} times a second");
}

#[test]
#[ignore = "needs root"]
fn the_first_event_after_a_rest_is_told_at_once() {
    let netns = Netns::new();
    let daemon = Daemon::inside(&netns, &[]);
    let watch = Watch::start(&daemon.socket(), &[&netns]);
    let delays: Vec<_> = (0..RESTS)
        .map(|number| {
            // In no step with what is done once a second.
            sleep(TO_REST + Duration::from_millis(230 * number as u64));
            let begun = Instant::now();
            watch.catch_up(&netns);
            begun.elapsed()
        })
        .collect();
    // One may be late on a machine that has much else to do.
    let late = delays.iter().filter(|delay| **delay > TOLD).count();
    assert!(late <= 1, "told after {delays:?}");
}
