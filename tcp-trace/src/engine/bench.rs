//! The tracer under a made-up load, for `cargo xtask bench engine` and for the test that counts what
//! an event allocates: raw records go the way that live ones go, from their bytes to the table.

use std::sync::{Arc, atomic::AtomicU64};

use tcp_trace_common::COUNTER_SLOTS;
use tokio::sync::{broadcast, oneshot};

use super::{
    Request,
    figures::Figures,
    tracer::{Identity, KernelFigures, REORDER_WINDOW, Tracer},
};
use crate::{
    api,
    core::{
        clock::{Ts, WallOffset},
        decode,
        diagnosis::{Asked, Thresholds},
        query::Query,
        sources::Sources,
        table::Limits,
    },
    kernel::counters::Counters,
};

mod crowd;
mod fold;
mod life;

use crowd::{Crowd, TICK, Tick};
pub use life::Mix;

/// Processes that have metrics of their own, as by default.
const PROCESSES: usize = 100;
/// Closed connections kept, as by default.
pub const CLOSED: usize = 10_000;
/// Places beyond the crowd: connections that come and go.
const ROOM: usize = 200_000;

/// A tracer and those whose records it takes.
pub struct Bench {
    tracer: Tracer,
    crowd: Crowd,
    ready: Vec<Tick>,
    now: Ts,
    kernel: KernelFigures,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Bench {
    /// A tracer that takes `mix`, with room for `live` connections that stay and for those that pass,
    /// of which `rate` are opened in a second of their own time, and as many accepted.
    #[must_use]
    pub fn new(mix: Mix, live: usize, rate: u64) -> Self {
        Self::keeping(mix, live, rate, CLOSED)
    }

    /// Likewise, and `closed` of those that have passed are kept.
    #[must_use]
    pub fn keeping(mix: Mix, live: usize, rate: u64, closed: usize) -> Self {
        let (events, _) = broadcast::channel(1);
        let limits = Limits { live: live.saturating_add(ROOM), closed };
        let identity = Identity {
            source: "recording",
            process_limit: PROCESSES,
            thresholds: Thresholds::default(),
            ..Identity::default()
        };
        let inbox = (events, Arc::new(AtomicU64::new(0)));
        let crowd = Crowd::new(mix, rate);
        let now = crowd.now();
        let mut tracer = Tracer::new(identity, limits, inbox, now, WallOffset::default());
        let all = mix != Mix::States;
        tracer.set_sources(Sources { time_wait: all, calls: all, resets: all });
        let counters = Counters(vec![0; COUNTER_SLOTS]);
        let kernel = KernelFigures { counters, ..KernelFigures::default() };
        Self { tracer, crowd, ready: Vec::new(), now, kernel }
    }

    /// Brings in `count` connections that are there to stay, half of them opened here and half
    /// accepted.
    pub fn populate(&mut self, count: u64) {
        self.crowd.stay(count);
        self.ready = vec![Tick::default()];
        // The last of them are still held back for a while.
        let mut quiet = 0;
        while quiet < 3 {
            quiet = if self.crowd.are_coming() { 0 } else { quiet + 1 };
            for tick in &mut self.ready {
                self.crowd.fill(tick, true);
            }
            self.take();
        }
        self.ready = Vec::new();
    }

    /// Makes the records of `events` and a few more, which [`take`](Self::take) takes; those of
    /// connections that come, live and go. Returns how many records there are.
    pub fn prepare(&mut self, events: u64) -> u64 {
        // What has been taken is written over: whoever counts allocations counts none of ours.
        let mut made = 0;
        for place in 0.. {
            if self.ready.len() <= place {
                self.ready.push(Tick::default());
            }
            let Some(tick) = self.ready.get_mut(place) else { break };
            made += self.crowd.fill(tick, false);
            if made >= events {
                self.ready.truncate(place + 1);
                break;
            }
        }
        made
    }

    /// Takes what was prepared, as the tracer's thread does: each buffer is drained, what is old
    /// enough goes to the table, and what is due is looked after.
    pub fn take(&mut self) {
        for tick in &self.ready {
            self.now = tick.now;
            for (cpu, bytes) in tick.samples() {
                let taken = match decode::folded(bytes) {
                    Some(folded) => folded.map(|record| self.tracer.take_folded(cpu, &record)),
                    None => {
                        decode::record(bytes).map(|record| self.tracer.take_record(cpu, record))
                    }
                };
                if let Err(error) = taken {
                    self.tracer.malformed(&error);
                }
            }
            self.tracer.release(tick.now);
        }
    }

    /// How many connections that have passed are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.tracer.kept()
    }

    /// What a scrape needs.
    pub fn figures(&mut self) -> Option<Figures> {
        let (reply, mut answer) = oneshot::channel();
        self.tracer.answer(Request::Figures(reply), self.now, &self.kernel);
        answer.try_recv().ok().map(|figures| *figures)
    }

    /// What `list` shows: the oldest `limit`.
    pub fn list(&mut self, limit: usize) -> Option<api::ConnectionList> {
        let (reply, mut answer) = oneshot::channel();
        let query = Query::default();
        let request = Request::Connections { query, limit, closed: false, reply };
        self.tracer.answer(request, self.now, &self.kernel);
        answer.try_recv().ok()
    }

    /// What `status` shows.
    pub fn status(&mut self) -> Option<api::Status> {
        let (reply, mut answer) = oneshot::channel();
        self.tracer.answer(Request::Status(reply), self.now, &self.kernel);
        answer.try_recv().ok()
    }

    /// What `diagnose` shows.
    pub fn diagnose(&mut self) -> Option<api::Diagnosis> {
        let (reply, mut answer) = oneshot::channel();
        let request = Request::Diagnosis { asked: Asked::default(), reply };
        self.tracer.answer(request, self.now, &self.kernel);
        answer.try_recv().ok()
    }

    /// By how much a record waits for older ones, at least and at most, in milliseconds: the window,
    /// and the time between two drains beyond it.
    #[must_use]
    pub fn held_back_ms() -> (f64, f64) {
        let window = REORDER_WINDOW.as_secs_f64() * 1e3;
        (window, window + TICK.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is measured must be what happens on a host: no stranger, no gap, no change that Linux
    /// does not make, and nobody left behind.
    #[test]
    fn the_made_up_lives_are_lives() {
        for mix in [Mix::States, Mix::Calls, Mix::All, Mix::Folded] {
            let mut bench = Bench::new(mix, 100, 10_000);
            bench.populate(100);
            let taken = bench.prepare(20_000);
            bench.take();
            bench.prepare(0);
            bench.take();
            let figures = bench.figures().unwrap();
            let statistics = &figures.statistics;
            assert_eq!((statistics.gaps, statistics.illegal_transitions), (0, 0), "{mix:?}");
            assert_eq!((statistics.refused, statistics.unidentified), (0, 0), "{mix:?}");
            assert_eq!((statistics.of_strangers, statistics.ended_unseen), (0, 0), "{mix:?}");
            assert_eq!(statistics.segments.strangers, 0, "{mix:?}");
            assert_eq!((figures.late_records, bench.status().unwrap().gaps), (0, 0), "{mix:?}");
            let events: u64 = figures.events.iter().map(|(_, count)| count).sum();
            assert!(events > taken / 2, "{events} of {taken}, {mix:?}");
            assert!(figures.connections >= 100, "{mix:?}");
            assert!(statistics.closed.iter().flatten().sum::<u64>() > 500, "{mix:?}");
            let list = bench.list(10).unwrap();
            assert_eq!(list.connections.len(), 10);
            assert!(list.connections.iter().all(|known| known.complete), "{mix:?}");
            assert!(bench.diagnose().is_some());
            assert!((500..=CLOSED).contains(&bench.kept()), "{mix:?}");
        }
    }
}
