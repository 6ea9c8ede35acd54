//! The tracer's thread: wait, drain, release, look after what is due, answer.

use std::{sync::mpsc, time::Duration};

use tcp_trace_common::FoldedRecord;

use super::{
    rest::Rest,
    world::{self, World},
};
use crate::{
    core::{
        clock::Ts,
        decode,
        fold::{Governor, Load},
    },
    engine::{
        Inbox, Request,
        figures::Figures,
        tracer::{KernelFigures, REORDER_WINDOW, Tracer},
        wall,
    },
    kernel::{
        counters::{Counters, SegmentCounters},
        folding::Folding,
        load::Attached,
        notes::Notes,
        programs,
        segments::Follower,
        stacks::Naming,
        sys,
        transport::Sample,
    },
};

/// Wait between two passes while the sockets that were there already are taken.
const TICK: Duration = Duration::from_millis(20);
/// How often the programs are asked what did not get out while nothing did.
const LOSSES: Duration = Duration::from_secs(1);
/// Longest wait for the sockets that were there already.
const SETTLE: Duration = Duration::from_secs(2);
/// How often the two clocks are compared anew, and the programs' log lines handed over.
const CHORES: Duration = Duration::from_secs(1);

/// Tells what is new of a folded connection that goes on; returns whether anything was.
fn tell_unfinished(tracer: &mut Tracer, record: &FoldedRecord) -> bool {
    let is_news = !tracer.has_told(record);
    if is_news {
        tracer.take_folded(0, record);
    }
    is_news
}

fn counters(attached: &Attached) -> Counters {
    attached.counters.read().unwrap_or_else(|error| {
        tracing::error!(%error, "the kernel's counters cannot be read");
        Counters::default()
    })
}

/// The tracer's thread.
pub(super) struct Loop {
    tracer: Tracer,
    attached: Attached,
    segments: Follower,
    naming: Naming,
    folding: Folding,
    notes: Notes,
    inbox: Inbox,
    /// Failed outputs that a loss has been noted for.
    failed_outputs: u64,
    /// How often a buffer was found nearly full.
    behind: u64,
    world: World,
    /// When the programs were last asked what did not get out.
    last_losses: Ts,
    last_chores: Ts,
    rest: Rest,
    /// When the buffers were last empty, or nearly so.
    drained: Ts,
    /// The longest from there to the next wait.
    longest_pass: Duration,
}

impl Loop {
    pub(super) fn new(
        tracer: Tracer,
        (mut attached, segments, naming): (Attached, Follower, Naming),
        governor: Governor,
        inbox: Inbox,
        world: World,
    ) -> Self {
        let notes = Notes::open(&mut attached.ebpf);
        let now = wall::now();
        let folding = Folding::new(&mut attached.ebpf, governor);
        Self {
            tracer,
            attached,
            segments,
            naming,
            folding,
            notes,
            inbox,
            failed_outputs: 0,
            behind: 0,
            world,
            last_losses: now,
            last_chores: now,
            rest: Rest::new(now, world::interval()),
            drained: now,
            longest_pass: Duration::ZERO,
        }
    }

    pub(super) fn run(mut self, done: Option<mpsc::Sender<std::io::Result<u64>>>) {
        if let Err(error) = sys::run_as_batch() {
            tracing::debug!(%error, "the tracer runs as an ordinary thread");
        }
        self.settle();
        loop {
            match self.attached.transport.wait(self.patience()) {
                Ok(true) => self.inbox.waker.quiet(),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "waiting for the perf buffers failed");
                    break;
                }
            }
            let now = self.pass();
            if self.answer_all(now) {
                break;
            }
            self.note_pass();
        }
        self.finish(done);
    }

    /// Takes the sockets that were there already: whoever asks first is to see them.
    fn settle(&mut self) {
        let begun = wall::now();
        while !self.world.is_settled() {
            if wall::now().since(begun) > SETTLE {
                tracing::warn!("listing the sockets that were there already takes long");
                break;
            }
            // Where waiting fails, the loop that follows says so.
            let _ = self.attached.transport.wait(TICK);
            self.inbox.waker.quiet();
            self.pass();
            self.note_pass();
        }
        std::thread::sleep(REORDER_WINDOW);
        self.tracer.looks.at_once();
        self.pass();
        // Questions may have come meanwhile, whose ringing is over.
        self.inbox.waker.wake();
    }

    /// How long to wait for the next record.
    fn patience(&self) -> Duration {
        let chores = (self.last_losses.after(LOSSES)).min(self.last_chores.after(CHORES));
        let due = chores.min(self.tracer.next_due()).since(wall::now());
        self.rest.patience(self.tracer.holds_back(), due)
    }

    /// Drains, releases, looks after what is due. Returns the moment before the drain.
    fn pass(&mut self) -> Ts {
        let now = wall::now();
        let any = self.drain();
        self.rest(now, any);
        for news in self.naming.told() {
            self.tracer.take_stack(now, news);
        }
        if any || self.tracer.holds_back() || now.since(self.last_losses) >= LOSSES {
            self.check_losses(now);
        }
        self.fold(now);
        let (attached, folding) = (&self.attached, &self.folding);
        let tell = |tracer: &mut Tracer| {
            folding.tell_all(wall::now(), |record| {
                tell_unfinished(tracer, &record);
            });
        };
        self.world.pass(&mut self.tracer, || counters(attached), tell);
        if now.since(self.last_chores) >= CHORES {
            self.last_chores = now;
            self.tracer.wall = wall::offset();
            self.notes.flush();
        }
        self.tracer.release(now);
        now
    }

    /// Goes to rest, or ends it: what lies in folded places, what is being named and who has just
    /// come under suspicion calls nobody.
    fn rest(&mut self, now: Ts, any: bool) {
        let awaits = self.folding.is_at_work()
            || self.naming.is_at_work()
            || self.tracer.looks.has_suspicion();
        let wanted = self.rest.pass(now, any || awaits);
        let calls = self.attached.transport.call_at_once(wanted);
        self.rest.called(now, calls);
    }

    /// Returns whether there was anything.
    fn drain(&mut self) -> bool {
        let (tracer, naming) = (&mut self.tracer, &self.naming);
        let drained = self.attached.transport.drain(|cpu, sample| match sample {
            Sample::Lost(count) => tracer.count_lost_records(count),
            Sample::Malformed(bytes) => {
                tracer.malformed(&format_args!("a malformed sample of {} bytes", bytes.len()));
            }
            Sample::Raw(bytes) => match decode::stack(bytes) {
                Some(Ok(record)) => naming.ask(&record),
                Some(Err(error)) => tracer.malformed(&error),
                None => match decode::folded(bytes) {
                    Some(Ok(record)) => tracer.take_folded(cpu, &record),
                    Some(Err(error)) => tracer.malformed(&error),
                    None => match decode::record(bytes) {
                        Ok(record) => tracer.take_record(cpu, record),
                        Err(error) => tracer.malformed(&error),
                    },
                },
            },
        });
        self.behind += u64::from(drained.behind);
        self.drained = wall::now();
        drained.any
    }

    /// Whatever comes from here on ends the wait, where it is much.
    fn note_pass(&mut self) {
        self.longest_pass = self.longest_pass.max(wall::now().since(self.drained));
    }

    /// Asks the programs themselves what did not get out: a buffer tells of a loss only with its
    /// next record, and not when it was. It lies between the last time and this one, so whatever
    /// happened meanwhile, on any CPU, is doubtful: the loss is noted at both ends.
    fn check_losses(&mut self, now: Ts) {
        let since = std::mem::replace(&mut self.last_losses, now);
        let failed = match self.attached.counters.failed_outputs() {
            Ok(failed) => failed,
            Err(error) => {
                tracing::error!(%error, "the kernel's counters cannot be read");
                return;
            }
        };
        if failed > self.failed_outputs {
            self.tracer.take_loss(since, now, failed - self.failed_outputs);
            self.failed_outputs = failed;
            self.world.lost(now);
        }
    }

    /// Decides whether short connections are told in one record, and tells of folded ones that have
    /// turned out to be long.
    fn fold(&mut self, now: Ts) {
        let Self { failed_outputs: lost, behind, .. } = *self;
        let load = Load { events: self.tracer.connection_events(), lost, behind };
        let tracer = &mut self.tracer;
        self.folding.pass(now, load, |record| tell_unfinished(tracer, &record));
    }

    fn kernel_figures(&mut self) -> KernelFigures {
        let counters = counters(&self.attached);
        let segments = self.segments.standing().clone();
        let mut programs = programs::figures(&self.attached, counters.caught());
        programs.extend(programs::of_packets(&self.attached, &segments));
        let segment_counters = self.attached.segments.read().unwrap_or_else(|error| {
            tracing::error!(%error, "the kernel's counters of segments cannot be read");
            SegmentCounters::default()
        });
        let stacks = self.naming.figures(&self.attached.stacks);
        let folding = self.folding.standing(wall::now());
        KernelFigures { counters, programs, segments, segment_counters, stacks, folding }
    }

    /// Answers what was asked; true where the tracer is to end.
    fn answer_all(&mut self, now: Ts) -> bool {
        let mut kernel = None;
        loop {
            match self.inbox.requests.try_recv() {
                Ok(Request::Stop) | Err(mpsc::TryRecvError::Disconnected) => return true,
                Ok(Request::Figures(reply)) => {
                    let kernel = kernel.get_or_insert_with(|| self.kernel_figures());
                    let figures = self.tracer.figures_of(self.world.figures(now), now, kernel);
                    let figures = Figures { longest_pass: self.longest_pass, ..figures };
                    // A questioner who has gone away is no concern.
                    let _ = reply.send(Box::new(figures));
                }
                Ok(request) => {
                    let kernel = kernel.get_or_insert_with(|| self.kernel_figures());
                    self.tracer.answer(request, now, kernel);
                }
                Err(mpsc::TryRecvError::Empty) => return false,
            }
        }
    }

    fn finish(mut self, done: Option<mpsc::Sender<std::io::Result<u64>>>) {
        let now = wall::now();
        self.drain();
        for news in self.naming.rest() {
            self.tracer.take_stack(now, news);
        }
        self.check_losses(now);
        self.tracer.flush();
        let counters = self.tracer.without_own(counters(&self.attached));
        if let (Some(recorder), Some(done)) = (self.tracer.recorder.take(), done) {
            // Whoever asked for the recording may have gone.
            let _ = done.send(recorder.finish(now, counters.0));
        }
        // The programs are detached as `attached` and `segments` are dropped here.
    }
}
