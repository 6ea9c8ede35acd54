//! The tracer's state: everything but where records come from.

use std::{
    collections::HashSet,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::broadcast;

use super::{
    Request,
    figures::{Figures, ProcessFigures, World},
    losses,
    recorder::Recorder,
    residence::Residence,
    taken::Taken,
};
use crate::{
    api,
    core::{
        clock::{Ts, WallOffset},
        connection::Connection,
        decode::{self, Record},
        event::{Body, Event},
        merge::Merge,
        owner::{Owner, OwnerSource},
        population::Matrix,
        query::Query,
        reconcile::Reconciled,
        sources::Sources,
        table::{Limits, Outcome, Table},
        tcp_state::TcpState,
        time_wait::TimeWaitCounters,
    },
    kernel::{counters::Counters, programs::ProgramRuns},
};

/// How long a record waits for older ones of other CPUs.
pub(crate) const REORDER_WINDOW: Duration = Duration::from_millis(10);
/// Records that may wait.
const REORDER_LIMIT: usize = 1 << 20;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Connections without an owner that are told one by one.
const UNOWNED: usize = 1 << 16;

/// What is fixed while the tracer runs, for `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) kernel: String,
    pub(crate) source: &'static str,
    pub(crate) backend: String,
    pub(crate) hooks: Vec<api::Hook>,
    pub(crate) degradations: Vec<crate::kernel::plan::Degradation>,
    pub(crate) netns: Vec<u32>,
    pub(crate) process_limit: usize,
}

/// Something on its way through the merge.
enum Inbound {
    Record(u32, Record),
    Lost(u64),
}

/// What the kernel says at the moment of a question.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelFigures {
    pub(crate) counters: Counters,
    pub(crate) programs: Vec<ProgramRuns>,
}

/// The tracer.
pub(crate) struct Tracer {
    table: Table,
    merge: Merge<Inbound>,
    events: broadcast::Sender<Arc<api::Event>>,
    lagged: Arc<AtomicU64>,
    identity: Identity,
    started: Ts,
    pub(crate) wall: WallOffset,
    excluded: Matrix,
    taken: Taken,
    ticked: Ts,
    undecodable: u64,
    perf_record_lost: u64,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) residence: Residence,
}

impl Tracer {
    /// An empty one.
    pub(crate) fn new(
        identity: Identity,
        limits: Limits,
        inbox: (broadcast::Sender<Arc<api::Event>>, Arc<AtomicU64>),
        started: Ts,
        wall: WallOffset,
    ) -> Self {
        let (events, lagged) = inbox;
        Self {
            table: Table::new(limits),
            merge: Merge::new(REORDER_WINDOW, REORDER_LIMIT),
            events,
            lagged,
            identity,
            started,
            wall,
            excluded: Matrix::default(),
            taken: Taken::default(),
            ticked: Ts(0),
            undecodable: 0,
            perf_record_lost: 0,
            recorder: None,
            residence: Residence::default(),
        }
    }

    /// Says what reaches it as events.
    pub(crate) fn set_sources(&mut self, sources: Sources) {
        self.table.set_sources(sources);
    }

    /// Leaves a change of a mini-socket out of every figure: it is the tracer's own.
    #[expect(dead_code, reason = "for the self-check, which has no mini-socket hooks yet")]
    pub(crate) fn exclude_mini(&mut self, from: Option<TcpState>, to: Option<TcpState>) {
        self.table.exclude_mini(from, to);
    }

    /// Leaves these transitions out of every figure: the tracer made them itself.
    pub(crate) fn exclude(&mut self, old: TcpState, new: TcpState) {
        self.excluded.raise(old, new);
    }

    /// The counters without what the tracer made itself.
    pub(crate) fn without_own(&self, mut counters: Counters) -> Counters {
        counters.take_away(&self.excluded);
        counters
    }

    /// Takes a decoded record from `cpu`.
    pub(crate) fn take_record(&mut self, cpu: u32, record: Record) {
        self.merge.push(Ts(record.time_ns()), Inbound::Record(cpu, record));
    }

    /// Takes the news that `count` records were lost between two moments.
    pub(crate) fn take_loss(&mut self, since: Ts, until: Ts, count: u64) {
        self.merge.push(since, Inbound::Lost(count));
        self.merge.push(until, Inbound::Lost(0));
    }

    /// Takes a loss as it was recorded.
    pub(crate) fn take_recorded_loss(&mut self, at: Ts, count: u64) {
        self.perf_record_lost += count;
        self.merge.push(at, Inbound::Lost(count));
    }

    /// Counts lost records as a buffer itself reports them.
    pub(crate) fn count_lost_records(&mut self, count: u64) {
        self.perf_record_lost += count;
    }

    /// Sets the beginning of what was traced.
    pub(crate) fn begun_at(&mut self, at: Ts) {
        self.started = at;
    }

    /// Counts bytes that are no record.
    pub(crate) fn malformed(&mut self, why: &dyn std::fmt::Display) {
        self.undecodable += 1;
        tracing::warn!(%why, "bytes from the kernel that are no record");
    }

    /// Applies all that happened before `now` less the reorder window.
    pub(crate) fn release(&mut self, now: Ts) {
        let mut merge = std::mem::take(&mut self.merge);
        merge.release(now, |at, item| self.apply_inbound(at, item));
        self.merge = merge;
        // As far as events are applied, time has passed.
        let passed = now.back(REORDER_WINDOW);
        if passed.since(self.ticked) >= TICK {
            self.ticked = passed;
            self.table.tick(passed);
            self.publish_decided(passed);
        }
    }

    /// Applies all that is left.
    pub(crate) fn flush(&mut self) {
        let mut merge = std::mem::take(&mut self.merge);
        merge.flush(|at, item| self.apply_inbound(at, item));
        self.merge = merge;
        self.table.finish();
        self.publish_decided(self.ticked);
    }

    fn apply_inbound(&mut self, at: Ts, item: &Inbound) {
        match item {
            Inbound::Record(cpu, record) => self.apply_record(*cpu, record),
            Inbound::Lost(count) => self.apply_loss(at, *count),
        }
    }

    fn apply_record(&mut self, cpu: u32, record: &Record) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(cpu, *record);
        }
        match decode::event(record) {
            Ok(event) => self.apply(&event),
            Err(error) => self.malformed(&error),
        }
    }

    fn apply_loss(&mut self, at: Ts, count: u64) {
        if let Some(recorder) = &mut self.recorder {
            recorder.lost(at, count);
        }
        self.table.apply(&Event { at, body: Body::Lost { count } });
        if count > 0 {
            self.publish(|tracer| api::lost_event(at, tracer.wall, "perf_buffer", count));
        }
    }

    fn apply(&mut self, event: &Event) {
        self.taken.count(&event.body);
        self.residence.ask(&event.body);
        let outcome = self.table.apply(event);
        self.publish_decided(event.at);
        let Body::State(change) = &event.body else { return };
        let live = change.origin == crate::core::event::Origin::Live;
        let Outcome::Stepped(stepped) = outcome else { return };
        if self.events.receiver_count() == 0 || !live {
            return;
        }
        let Some(known) = self.table.after(stepped) else { return };
        let (at, wall, epoch) = (event.at, self.wall, self.table.loss_epoch());
        let step = api::state_event(known, stepped, change, at, wall, epoch);
        let end = (stepped.judged && !known.is_listener())
            .then(|| api::closed_event(known, at, wall, epoch));
        // Fails only when the last subscriber has just left.
        let _ = self.events.send(Arc::new(step));
        if let Some(end) = end {
            let _ = self.events.send(Arc::new(end));
        }
    }

    /// Tells of ends whose reason was known only after their last step.
    fn publish_decided(&mut self, now: Ts) {
        let (wall, epoch) = (self.wall, self.table.loss_epoch());
        while let Some(known) = self.table.next_decided() {
            if self.events.receiver_count() > 0 {
                let _ = self.events.send(Arc::new(api::closed_event(known, now, wall, epoch)));
            }
        }
    }

    fn publish(&self, event: impl FnOnce(&Self) -> api::Event) {
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(Arc::new(event(self)));
        }
    }

    /// Answers a question as of `now`. A questioner who has gone away is no concern.
    pub(crate) fn answer(&self, request: Request, now: Ts, kernel: &KernelFigures) {
        match request {
            Request::Status(reply) => drop(reply.send(self.status(now, kernel))),
            Request::Connections { query, limit, closed, reply } => {
                drop(reply.send(self.connections(&query, limit, closed, now)));
            }
            Request::Connection { id, reply } => {
                let found = self.table.get(id).map(|known| self.view(known, now, true));
                drop(reply.send(found));
            }
            Request::Figures(reply) => drop(reply.send(Box::new(self.figures(now, kernel)))),
            Request::Stop => {}
        }
    }

    fn view(&self, known: &Connection, now: Ts, timeline: bool) -> api::Connection {
        let mut told = api::connection(known, now, self.wall, self.table.loss_epoch(), timeline);
        self.residence.tell(&mut told);
        told
    }

    fn connections(
        &self,
        query: &Query,
        limit: usize,
        closed: bool,
        now: Ts,
    ) -> api::ConnectionList {
        // Listeners are no connections; they are shown where they are asked for.
        let wanted = |known: &&Connection| {
            query.matches(known, now) && (!query.states.is_empty() || !known.is_listener())
        };
        let mut found: Vec<_> = self.table.live().filter(wanted).collect();
        found.sort_unstable_by_key(|known| (known.state_since, known.id));
        if closed {
            found.extend(self.table.closed().filter(wanted));
        }
        let total = found.len() as u64;
        if limit > 0 {
            found.truncate(limit);
        }
        let connections = found.into_iter().map(|known| self.view(known, now, false)).collect();
        api::ConnectionList { connections, total }
    }

    fn status(&self, now: Ts, kernel: &KernelFigures) -> api::Status {
        let lost = self.losses(kernel);
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            kernel: self.identity.kernel.clone(),
            source: self.identity.source.to_owned(),
            tracing_since: api::rfc3339(self.wall, self.started),
            uptime_seconds: now.since(self.started).as_secs_f64(),
            backend: self.identity.backend.clone(),
            hooks: self.identity.hooks.clone(),
            degradations: self.identity.degradations.clone(),
            netns: self.identity.netns.clone(),
            events: self.taken.total(),
            lost: lost
                .into_iter()
                .map(|(stage, count)| api::Loss { stage: stage.to_owned(), count })
                .collect(),
            perf_record_lost: self.perf_record_lost,
            connections: self.table.len() as u64,
            connections_limit: self.table.limits().live as u64,
            late_records: self.merge.late(),
            gaps: self.table.statistics().gaps,
            half_open: self.table.half_open().open,
            reconciled: {
                let Reconciled { state, found, gone } = self.table.statistics().reconciled;
                api::Reconciled { state, found, gone }
            },
        }
    }

    /// Every place where an event can die, with the number of those that did.
    fn losses(&self, kernel: &KernelFigures) -> Vec<(&'static str, u64)> {
        let mut lost = losses::outputs(&kernel.counters);
        let statistics = self.table.statistics();
        lost.extend([
            ("decode", self.undecodable),
            ("unidentified", statistics.unidentified),
            ("table_full", statistics.refused),
            ("half_open_full", self.table.half_open().refused),
            ("subscriber", self.lagged.load(Ordering::Relaxed)),
        ]);
        lost
    }

    fn figures(&self, now: Ts, kernel: &KernelFigures) -> Figures {
        let counters = self.without_own(kernel.counters.clone());
        let matrix = counters.matrix();
        let time_wait = TimeWaitCounters::from_counters(&counters.0);
        let (kept, others) = self.table.processes().ranked(self.identity.process_limit);
        let age = |since: Option<&(Ts, _)>| since.map(|(since, _)| now.since(*since));
        let processes = kept
            .into_iter()
            .map(|process| ProcessFigures {
                by_state: process.by_state,
                oldest_close_wait: age(process.close_wait.first()),
                ..ProcessFigures::named(&process.name)
            })
            .collect();
        let mut other_processes = ProcessFigures::default();
        for process in &others {
            for (sum, count) in other_processes.by_state.iter_mut().zip(process.by_state) {
                *sum += count;
            }
            other_processes.oldest_close_wait =
                other_processes.oldest_close_wait.max(age(process.close_wait.first()));
        }
        Figures {
            gauges: self.table.gauges(&matrix, &time_wait),
            matrix,
            sources: self.table.sources(),
            time_wait,
            half_open: self.table.half_open(),
            counters: kernel.counters.clone(),
            statistics: self.table.statistics().clone(),
            processes,
            other_processes,
            folded_processes: others.len() as u64,
            connections: self.table.len() as u64,
            connections_limit: self.table.limits().live as u64,
            events: self.taken.by_kind(),
            lost: self.losses(kernel),
            perf_record_lost: self.perf_record_lost,
            late_records: self.merge.late(),
            hooks: self.identity.hooks.clone(),
            world: World::default(),
            programs: kernel.programs.clone(),
        }
    }
}

/// Connections whose owner is worth looking for.
pub(crate) enum Unowned {
    /// Those with these cookies.
    Some(HashSet<NonZeroU64>),
    /// Too many to be told.
    Any,
}

impl Tracer {
    /// Full sockets' connections without an owner, or with one that is only their listener's.
    pub(crate) fn unowned(&self) -> Unowned {
        // Nobody holds a mini-socket. Who was seen to hold a descriptor may have passed it on.
        let unsure = |known: &&Connection| {
            let proven = |owner: Owner| {
                !matches!(owner.source, OwnerSource::Listener | OwnerSource::Descriptor)
            };
            known.is_full() && !known.owner.is_some_and(proven)
        };
        // One without a cookie gets one with the next snapshot, and is told then.
        let cookie = |known: &Connection| known.socket.cookie.or(known.row_cookie);
        let mut cookies = HashSet::new();
        for cookie in self.table.live().filter(unsure).filter_map(cookie) {
            if cookies.len() >= UNOWNED {
                return Unowned::Any;
            }
            cookies.insert(cookie);
        }
        Unowned::Some(cookies)
    }

    /// All figures, with what came of comparing them with the host.
    pub(crate) fn figures_of(&self, world: World, now: Ts, kernel: &KernelFigures) -> Figures {
        Figures { world, ..self.figures(now, kernel) }
    }
}
