//! The tracer's state: everything but where records come from.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use folds::Folds;
use looks::Looks;
use tokio::sync::broadcast;

use super::{recorder::Recorder, residence::Residence, taken::Taken};
use crate::{
    api,
    core::{
        clock::{Ts, WallOffset},
        decode::{self, Record},
        diagnosis::{Casebook, Thresholds},
        event::{Body, Event},
        fold::{self, Told},
        merge::Merge,
        population::Matrix,
        sources::Sources,
        stack::StackEvent,
        table::{Limits, Outcome, Table},
        tcp_state::TcpState,
    },
    kernel::{
        counters::{Counters, SegmentCounters},
        programs::ProgramRuns,
        segments::Standing,
        stacks::StackFigures,
    },
};

/// How long a record waits for older ones of other CPUs. A program takes its time before it writes
/// its record, and between the two a virtual machine's CPU may be taken away.
pub(crate) const REORDER_WINDOW: Duration = Duration::from_millis(30);
/// Records that may wait.
const REORDER_LIMIT: usize = 1 << 20;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);

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
    /// Packets of a capture that told of no connection, by reason.
    pub(crate) passed_over: Vec<(&'static str, u64)>,
    pub(crate) thresholds: Thresholds,
    /// Connections that are never folded, and why.
    pub(crate) not_folded: Vec<String>,
}

/// Something on its way through the merge.
enum Inbound {
    Record(u32, Record),
    Lost(u64),
    Stack(StackEvent),
    /// By its number among the [`Folds`]: it is larger than any other.
    Folded(u32, usize),
}

/// The line of the merge for what comes of no CPU.
const ASIDE: u32 = 0;

/// That of a CPU's records.
fn line(cpu: u32) -> u32 {
    cpu.wrapping_add(1)
}

/// What the kernel says at the moment of a question.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelFigures {
    pub(crate) counters: Counters,
    pub(crate) programs: Vec<ProgramRuns>,
    pub(crate) segments: Standing,
    pub(crate) segment_counters: SegmentCounters,
    pub(crate) stacks: StackFigures,
    pub(crate) folding: fold::Standing,
}

/// The tracer.
pub(crate) struct Tracer {
    table: Table,
    merge: Merge<Inbound>,
    folds: Folds,
    events: broadcast::Sender<Arc<api::Event>>,
    lagged: Arc<AtomicU64>,
    identity: Identity,
    started: Ts,
    pub(crate) wall: WallOffset,
    excluded: Matrix,
    taken: Taken,
    told: Told,
    ticked: Ts,
    undecodable: u64,
    perf_record_lost: u64,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) residence: Residence,
    pub(crate) casebook: Casebook,
    pub(crate) looks: Looks,
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
        let casebook = Casebook::new(identity.thresholds).with_leak_names(identity.process_limit);
        Self {
            table: Table::new(limits),
            merge: Merge::new(REORDER_WINDOW, REORDER_LIMIT),
            folds: Folds::default(),
            events,
            lagged,
            identity,
            started,
            wall,
            excluded: Matrix::default(),
            taken: Taken::default(),
            told: Told::default(),
            ticked: Ts(0),
            undecodable: 0,
            perf_record_lost: 0,
            recorder: None,
            residence: Residence::default(),
            casebook,
            looks: Looks::default(),
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
        self.merge.push(line(cpu), Ts(record.time_ns()), Inbound::Record(cpu, record));
    }

    /// Events of connections taken so far, each step of a folded one among them.
    pub(crate) fn connection_events(&self) -> u64 {
        self.taken.of_connections()
    }

    /// Takes the news that `count` records were lost between two moments.
    pub(crate) fn take_loss(&mut self, since: Ts, until: Ts, count: u64) {
        self.casebook.lost(until);
        self.merge.push(ASIDE, since, Inbound::Lost(count));
        self.merge.push(ASIDE, until, Inbound::Lost(0));
    }

    /// Takes a loss as it was recorded.
    pub(crate) fn take_recorded_loss(&mut self, at: Ts, count: u64) {
        self.perf_record_lost += count;
        self.merge.push(ASIDE, at, Inbound::Lost(count));
    }

    /// Counts lost records as a buffer itself reports them.
    pub(crate) fn count_lost_records(&mut self, count: u64) {
        self.perf_record_lost += count;
    }

    /// Takes the news of a connection's stack, known at `at`.
    pub(crate) fn take_stack(&mut self, at: Ts, news: StackEvent) {
        self.merge.push(ASIDE, at, Inbound::Stack(news));
    }

    /// Says whether stacks are asked for.
    pub(crate) fn set_stacks_asked(&mut self, asked: bool) {
        self.table.stacks_mut().set_asked(asked);
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
        self.pass(now.back(REORDER_WINDOW), TICK);
    }

    /// Whether anything waits for older records.
    pub(crate) fn holds_back(&self) -> bool {
        self.merge.held() > 0
    }

    /// When time alone gives it something to do.
    pub(crate) fn next_due(&self) -> Ts {
        self.ticked.after(TICK).min(self.looks.next_due()).after(REORDER_WINDOW)
    }

    /// Takes an event that is in its place already.
    pub(crate) fn take_event(&mut self, event: &Event) {
        self.pass(event.at, TICK);
        self.apply(event);
    }

    /// The last of the events taken so has come.
    pub(crate) fn ended_at(&mut self, last: Ts) {
        self.pass(last, Duration::ZERO);
    }

    fn pass(&mut self, passed: Ts, tick: Duration) {
        if passed.since(self.ticked) >= tick {
            self.ticked = self.ticked.max(passed);
            self.table.tick(passed);
            self.publish_decided(passed);
        }
        if self.looks.is_due(passed) {
            let casebook = &mut self.casebook;
            let suspicion = self.looks.timed(|| {
                casebook.look(&self.table, passed);
                casebook.has_new_suspects(&self.table, passed)
            });
            self.looks.suspicion |= suspicion;
        }
    }

    /// Says what of a capture told of no connection.
    pub(crate) fn passed_over(&mut self, reasons: Vec<(&'static str, u64)>) {
        self.identity.passed_over = reasons;
    }

    /// How many closed connections are kept.
    pub(crate) fn kept(&self) -> usize {
        self.table.closed().len()
    }

    /// What is fixed while it runs.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
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
            Inbound::Stack(news) => self.apply_stack(at, news),
            Inbound::Folded(cpu, number) => self.apply_folded(*cpu, *number),
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

    fn apply_stack(&mut self, at: Ts, news: &StackEvent) {
        if let Some(recorder) = &mut self.recorder {
            recorder.stack(at, news);
        }
        self.apply(&Event { at, body: Body::Stack(news.clone()) });
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
        let change = match &event.body {
            Body::State(change) => change,
            Body::Life(life) => return self.casebook.life(life, &self.table, event.at),
            Body::Stack(news) => return self.casebook.stack(news, &self.table),
            Body::Segment(_) | Body::Lost { .. } => return,
        };
        self.casebook.state(change);
        let live = change.origin == crate::core::event::Origin::Live;
        let Outcome::Stepped(stepped) = outcome else { return };
        if stepped.judged
            && let Some(known) = self.table.after(stepped)
        {
            self.casebook.ended(known, stepped.from, &self.table, event.at);
        }
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
}

mod answers;
mod folds;
mod looks;
mod suspects;

pub(crate) use suspects::Unowned;
