//! The tracer's thread: wait, drain, release, look after what is due, answer.

use std::{sync::mpsc, time::Duration};

use crate::{
    core::{clock::Ts, decode},
    engine::{
        Inbox, Request,
        tracer::{KernelFigures, REORDER_WINDOW, Tracer},
        wall,
    },
    kernel::{counters::Counters, load::Attached, notes::Notes, programs, transport::Sample},
};

/// Longest wait before buffers below their watermark are drained.
const TICK: Duration = Duration::from_millis(20);
/// How often the kernel's own count of failed outputs is compared with what we know.
const LOSS_CHECK: Duration = Duration::from_millis(200);
/// How often the two clocks are compared anew.
const WALL_CHECK: Duration = Duration::from_secs(10);

/// The tracer's thread.
pub(super) struct Loop {
    tracer: Tracer,
    attached: Attached,
    notes: Notes,
    inbox: Inbox,
    /// Failed outputs that a loss has been noted for.
    noted_losses: u64,
    last_loss_check: Ts,
    last_wall_check: Ts,
}

impl Loop {
    pub(super) fn new(tracer: Tracer, mut attached: Attached, inbox: Inbox) -> Self {
        let notes = Notes::open(&mut attached.ebpf);
        let now = wall::now();
        Self {
            tracer,
            attached,
            notes,
            inbox,
            noted_losses: 0,
            last_loss_check: now,
            last_wall_check: now,
        }
    }

    pub(super) fn run(mut self, done: Option<mpsc::Sender<std::io::Result<u64>>>) {
        // Whoever asks first is to see the sockets that were there already.
        std::thread::sleep(REORDER_WINDOW);
        self.pass();
        loop {
            if let Err(error) = self.attached.transport.wait(TICK) {
                tracing::error!(%error, "waiting for the perf buffers failed");
                break;
            }
            let now = self.pass();
            self.inbox.waker.quiet();
            if self.answer_all(now) {
                break;
            }
        }
        self.finish(done);
    }

    /// Drains, releases, looks after what is due. Returns the moment before the drain.
    fn pass(&mut self) -> Ts {
        let now = wall::now();
        self.drain(now);
        if now.since(self.last_loss_check) >= LOSS_CHECK {
            self.last_loss_check = now;
            self.check_losses(now);
            self.notes.flush();
        }
        if now.since(self.last_wall_check) >= WALL_CHECK {
            self.last_wall_check = now;
            self.tracer.wall = wall::offset();
        }
        self.tracer.release(now);
        now
    }

    fn drain(&mut self, now: Ts) {
        // A loss lies between two records of its CPU; what is certain is that it is over when the
        // next one comes.
        let mut lost: Option<(u32, u64)> = None;
        let tracer = &mut self.tracer;
        let noted = &mut self.noted_losses;
        self.attached.transport.drain(|cpu, sample| {
            if let Some((lost_cpu, count)) = lost.take_if(|(lost_cpu, _)| *lost_cpu != cpu) {
                tracer.take_loss(lost_cpu, now, count);
            }
            match sample {
                Sample::Lost(count) => {
                    *noted += count;
                    lost = Some((cpu, lost.map_or(0, |(_, earlier)| earlier) + count));
                }
                Sample::Malformed(bytes) => {
                    tracer.malformed(&format_args!("a malformed sample of {} bytes", bytes.len()));
                }
                Sample::Raw(bytes) => match decode::record(bytes) {
                    Ok(record) => {
                        if let Some((lost_cpu, count)) = lost.take() {
                            tracer.take_loss(lost_cpu, Ts(record.time_ns), count);
                        }
                        tracer.take_record(cpu, record);
                    }
                    Err(error) => tracer.malformed(&error),
                },
            }
        });
        if let Some((cpu, count)) = lost {
            tracer.take_loss(cpu, now, count);
        }
    }

    /// The buffer tells of a loss only with its next record; the programs' own counters tell at once.
    fn check_losses(&mut self, now: Ts) {
        let failed: u64 = self.counters().output_errors().map(|(_, count)| count).sum();
        if failed > self.noted_losses {
            self.tracer.note_loss(now, failed - self.noted_losses);
            self.noted_losses = failed;
        }
    }

    fn counters(&self) -> Counters {
        self.attached.counters.read().unwrap_or_else(|error| {
            tracing::error!(%error, "the kernel's counters cannot be read");
            Counters::default()
        })
    }

    fn kernel_figures(&self) -> KernelFigures {
        let program = programs::figures(&self.attached.ebpf, self.attached.backend);
        KernelFigures {
            counters: self.counters(),
            program: (program.runs, program.run_time_ns, program.misses),
        }
    }

    /// Answers what was asked; true where the tracer is to end.
    fn answer_all(&mut self, now: Ts) -> bool {
        let mut kernel = None;
        loop {
            match self.inbox.requests.try_recv() {
                Ok(Request::Stop) | Err(mpsc::TryRecvError::Disconnected) => return true,
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
        self.drain(now);
        self.tracer.flush();
        let counters = self.tracer.without_own(self.counters());
        if let (Some(recorder), Some(done)) = (self.tracer.recorder.take(), done) {
            // Whoever asked for the recording may have gone.
            let _ = done.send(recorder.finish(now, counters.0));
        }
        // The programs are detached as `attached` is dropped here.
    }
}
