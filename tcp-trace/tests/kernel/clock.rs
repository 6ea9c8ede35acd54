//! A clock that is set while the daemon traces: dates go with it, and nothing else does. Ages,
//! durations and counters are the kernel's own time, which nobody can set.
//!
//! It sets the clock of the whole machine, so that it runs only on one of its own: see
//! [`needs::own_machine`].

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use tcp_trace::api::{Connection, Diagnosis, Finding};

use super::{
    actor::Actor,
    daemon::{Daemon, Metrics},
    deadline::until,
    needs,
    netns::Netns,
    sock::{Sock, loopback},
    story::Ends,
};

/// How often the daemon compares its table with the host.
const ROUND_MS: u32 = 300;
/// Forward by an hour, then back by two.
const STEPS: [i64; 2] = [3600, -7200];
/// What a busy host may add between two looks.
const SLACK: Duration = Duration::from_secs(5);
/// More than all connections here can have stood anywhere, and less than the least step.
const ALL_TIMES: f64 = 1800.0;
/// Sockets that are leaked at first.
const MANY: usize = 4;

/// The machine's clock; dropping this puts it back.
struct Clock {
    moved: i64,
}

impl Clock {
    fn step(&mut self, seconds: i64) {
        let now = clock_gettime(ClockId::Realtime);
        let then = Timespec { tv_sec: now.tv_sec + seconds, ..now };
        clock_settime(ClockId::Realtime, then).unwrap();
        self.moved += seconds;
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let back = -self.moved;
        self.step(back);
    }
}

/// A server that closes nothing.
struct Leak<'a> {
    client: &'a Actor,
    listener: Sock<'a>,
}

impl Leak<'_> {
    /// One more socket; the server's end.
    fn grow(&self) -> Ends {
        let client = self.client.connect(self.listener.local());
        let ends = (self.listener.local(), client.local());
        self.listener.accept();
        client.close();
        ends
    }
}

/// What is told at a time.
struct Look {
    metrics: Metrics,
    diagnosis: Diagnosis,
    leak: Finding,
}

impl Look {
    /// Waits until so many are leaked, and dates are by the clock as it is.
    #[track_caller]
    fn at(daemon: &Daemon, leaked: u64) -> Self {
        let ask = || serde_json::from_str::<Diagnosis>(&daemon.get("/api/v1/diagnosis")).unwrap();
        let found = |diagnosis: &Diagnosis| {
            let is = |found: &&Finding| found.kind == "close_wait_leak" && found.count == leaked;
            diagnosis.findings.iter().find(is).cloned()
        };
        let (diagnosis, leak) = until(
            || format!("no leak of {leaked}, or at another time: {:#?}", ask()),
            || {
                let diagnosis = ask();
                let is_now = ago(&diagnosis.at).abs() < SLACK.as_secs_f64();
                found(&diagnosis).filter(|_| is_now).map(|leak| (diagnosis, leak))
            },
        );
        Self { metrics: daemon.metrics(), diagnosis, leak }
    }
}

#[test]
#[ignore = "needs root"]
fn a_clock_that_is_set_moves_dates_and_nothing_else() {
    needs::own_machine("it sets the clock");
    let begun = Instant::now();
    let netns = Netns::new();
    let (client, server) = (netns.actor("ck-client"), netns.actor("ck-server"));
    let daemon = Daemon::reconciling(&[&netns], ROUND_MS, &["--older-than", "1s"]);
    let leak = Leak { client: &client, listener: server.listen(loopback(true)) };
    let leaking = Instant::now();
    let first = leak.grow();
    for _ in 1..MANY {
        leak.grow();
    }
    let mut leaked = u64::try_from(MANY).unwrap();
    let mut before = Look::at(&daemon, leaked);
    let mut clock = Clock { moved: 0 };
    for step in STEPS {
        // One that is opened in one time and closed in another.
        let listener = server.listen(loopback(true));
        let across = client.connect(listener.local());
        let (near, far) = (across.local(), listener.local());
        let accepted = listener.accept();
        clock.step(step);
        across.close();
        accepted.read_to_end(b"");
        accepted.close();
        listener.close();
        leak.grow();
        leaked += 1;

        let look = Look::at(&daemon, leaked);
        never_back(&before.metrics, &look.metrics);
        told(&look, begun.elapsed());
        let oldest = "tcp_trace_close_wait_oldest_seconds{process=\"ck-server\"}";
        close_to(look.metrics.value(oldest), leaking.elapsed(), "the oldest");
        let [open] = &*daemon.stories(first.0, first.1) else { panic!("one is leaked: {first:?}") };
        stood(open, leaking.elapsed());
        closed(&daemon, (far, near));
        before = look;
    }
}

/// Counters go on.
fn never_back(before: &Metrics, after: &Metrics) {
    let mut compared = 0;
    for (series, old) in before.counters() {
        let new = after.value(series);
        assert!(new >= old, "{series} goes back from {old} to {new}");
        compared += 1;
    }
    assert!(compared > 100, "only {compared} counters");
    for (series, sum) in after.counters().filter(|(series, _)| series.contains("_seconds_sum")) {
        assert!((0.0..ALL_TIMES).contains(&sum), "{series} is {sum}");
    }
}

/// The diagnosis tells times that can be.
fn told(look: &Look, elapsed: Duration) {
    let Look { diagnosis, leak, .. } = look;
    let traced = diagnosis.traced_seconds;
    assert!((0.0..=elapsed.as_secs_f64()).contains(&traced), "traced for {traced} s");
    close_to(ago(&diagnosis.tracing_since), Duration::from_secs_f64(traced), "tracing");
    let since = leak.since.as_ref().map(|since| ago(since)).expect("a leak has a beginning");
    let most = elapsed.as_secs_f64() + 1.0;
    assert!((0.0..most).contains(&since), "it leaks since {since} s: {leak:#?}");
    if let Some(growth) = &leak.growth {
        assert!((0.0..=most).contains(&growth.over_seconds), "{growth:?}");
        // All of them came within this test, one after the other.
        assert!((0.0..100.0).contains(&growth.per_second), "{growth:?}");
    }
}

/// It has been open for so long, and is said to be.
fn stood(known: &Connection, elapsed: Duration) {
    assert_eq!(known.state, "close_wait");
    close_to(known.state_age_seconds, elapsed, "its age");
    close_to(ago(&known.state_since), elapsed, "its state's beginning");
    close_to(ago(known.opened_at.as_ref().unwrap()), elapsed, "its opening");
}

/// Of a life that the step fell into, every step follows the one before, and soon.
fn closed(daemon: &Daemon, (local, remote): Ends) {
    let stories = until(
        || format!("{local} has not closed: {:#?}", daemon.stories(local, remote)),
        || {
            let stories = daemon.stories(local, remote);
            stories.iter().any(|known| known.closed_at.is_some()).then_some(stories)
        },
    );
    let known = stories.iter().find(|known| known.closed_at.is_some()).unwrap();
    let timeline = known.timeline.as_ref().unwrap();
    let mut times: Vec<_> = timeline.iter().map(|step| instant(&step.at)).collect();
    assert!(times.is_sorted(), "{timeline:#?}");
    times.extend([&known.opened_at, &known.closed_at].map(|at| instant(at.as_ref().unwrap())));
    times.sort_unstable();
    let lasted = times[times.len() - 1].duration_since(times[0]);
    assert!(lasted.as_secs_f64() < SLACK.as_secs_f64(), "{known:#?}");
}

fn instant(at: &str) -> Timestamp {
    at.parse().unwrap()
}

/// Seconds from there to now, by the clock as it is.
fn ago(at: &str) -> f64 {
    let now = Timestamp::try_from(SystemTime::now()).unwrap();
    now.duration_since(instant(at)).as_secs_f64()
}

#[track_caller]
fn close_to(seconds: f64, elapsed: Duration, what: &str) {
    let off = seconds - elapsed.as_secs_f64();
    assert!(off.abs() < SLACK.as_secs_f64(), "{what} is {seconds} s, and should be {elapsed:?}");
}
