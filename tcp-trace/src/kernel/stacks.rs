//! User stacks: whose are wanted, and the thread that names what is on them.
//!
//! The kernel programs hand out addresses ([`tcp_trace_common::StackRecord`]). Naming them takes
//! milliseconds, reads files and asks a library: it is done by a thread of its own, at once, since
//! the process may be gone soon. What it has named before it knows.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use tcp_trace_common::{
    STACK_ACCEPT, STACK_COUNTER_NAMES, STACK_SLOTS, STACK_TAKEN, StackRecord, VALID_COOKIE,
};

use super::counters::sums;
use crate::core::{
    clock::Ts,
    event::SocketId,
    stack::{Stack, StackCall, StackEvent},
};

mod maps;
mod namer;
mod wishes;
mod wrapper;

use namer::Namer;
pub(crate) use wishes::set;
pub use wishes::{BadStackWish, StackWishes};

/// Stacks that may wait to be named.
const WAITING: usize = 1024;
/// After so long without a question, what the library keeps of files is let go.
const IDLE: Duration = Duration::from_mins(1);
/// Longest wait at the end for what is still to be named.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What has become of stacks outside the kernel.
#[derive(Debug, Default)]
struct Tally {
    /// Named, or known already.
    named: AtomicU64,
    /// The process had ended.
    ended: AtomicU64,
    /// No file could be read.
    unreadable: AtomicU64,
    /// The library panicked.
    panicked: AtomicU64,
    /// Not named, because too many waited.
    dropped: AtomicU64,
}

/// The thread that names stacks; without one, none is asked for.
#[derive(Debug)]
pub(crate) struct Naming {
    questions: Option<SyncSender<Box<StackRecord>>>,
    answers: Receiver<StackEvent>,
    tally: Arc<Tally>,
    thread: Option<JoinHandle<()>>,
    /// Stacks of the self-check.
    own: u64,
    /// Asked for, and neither told nor given up.
    awaited: AtomicU64,
}

impl Naming {
    /// Starts the thread, where stacks are wanted, and asks it for these, save those of our own: the
    /// self-check's are no news, and count nowhere.
    pub(crate) fn new(wanted: bool, first: &[StackRecord]) -> Self {
        let tally = Arc::new(Tally::default());
        let (questions, waiting) = sync_channel(WAITING);
        let (told, answers) = mpsc::channel();
        let theirs = Arc::clone(&tally);
        let thread = wanted.then(|| {
            std::thread::Builder::new()
                .name("tcp-trace-stack".to_owned())
                .spawn(move || name_all(&waiting, &told, &theirs))
        });
        let thread = match thread {
            Some(Ok(thread)) => Some(thread),
            Some(Err(error)) => {
                tracing::warn!(%error, "no thread to name stacks: all of them are dropped");
                None
            }
            None => None,
        };
        let questions = thread.as_ref().map(|_| questions);
        let mut naming =
            Self { questions, answers, tally, thread, own: 0, awaited: AtomicU64::new(0) };
        for record in first {
            if record.pid == std::process::id() {
                naming.own += 1;
            } else {
                naming.ask(record);
            }
        }
        naming
    }

    /// Asks for the names on a stack.
    pub(crate) fn ask(&self, record: &StackRecord) {
        let asked = Box::new(*record);
        let sent = self.questions.as_ref().map(|questions| questions.try_send(asked));
        if matches!(sent, Some(Ok(()))) {
            self.awaited.fetch_add(1, Ordering::Relaxed);
        } else {
            if let Some(Err(TrySendError::Disconnected(_))) = sent {
                tracing::debug!("the thread that names stacks is gone");
            }
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has been named since somebody asked last.
    pub(crate) fn told(&self) -> impl Iterator<Item = StackEvent> + '_ {
        self.answers.try_iter().inspect(|_| {
            self.awaited.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// Whether an answer is still to come.
    pub(crate) fn is_at_work(&self) -> bool {
        // Who panics does not answer.
        self.awaited.load(Ordering::Relaxed) > self.tally.panicked.load(Ordering::Relaxed)
    }

    /// Waits for what is still to be named, a moment at the most.
    pub(crate) fn rest(&mut self) -> Vec<StackEvent> {
        drop(self.questions.take());
        let until = Instant::now() + LAST_WAIT;
        let mut rest = Vec::new();
        // It ends by itself once it has answered all.
        while let Ok(event) =
            self.answers.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            rest.push(event);
        }
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
        rest
    }

    /// What has become of stacks outside the kernel, by name.
    fn tally(&self) -> [(&'static str, u64); 5] {
        let Tally { named, ended, unreadable, panicked, dropped } = &*self.tally;
        [
            ("named", named),
            ("process_ended", ended),
            ("unreadable", unreadable),
            ("panicked", panicked),
            ("dropped", dropped),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// What has become of stacks, in the kernel and outside.
    pub(crate) fn figures(&self, counts: &StackMap) -> StackFigures {
        let mut kernel = counts.read().unwrap_or_else(|error| {
            tracing::error!(%error, "the kernel's counters of stacks cannot be read");
            vec![0; STACK_SLOTS]
        });
        if let Some(taken) = kernel.get_mut(STACK_TAKEN) {
            *taken = taken.saturating_sub(self.own);
        }
        let kernel = STACK_COUNTER_NAMES.into_iter().zip(kernel);
        StackFigures(kernel.chain(self.tally()).collect())
    }
}

/// What has become of stacks, by name; empty of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackFigures(pub Vec<(&'static str, u64)>);

impl StackFigures {
    /// One of them.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }
}

/// What has become of stacks in the kernel.
pub(crate) struct StackMap(PerCpuArray<MapData, [u64; STACK_SLOTS]>);

impl StackMap {
    /// Takes hold of the map.
    pub(crate) fn new(counters: Map) -> Result<Self, MapError> {
        Ok(Self(counters.try_into()?))
    }

    fn read(&self) -> Result<Vec<u64>, MapError> {
        sums(&self.0)
    }
}

impl std::fmt::Debug for StackMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackMap").finish_non_exhaustive()
    }
}

/// The thread: until nobody asks any more.
fn name_all(waiting: &Receiver<Box<StackRecord>>, told: &mpsc::Sender<StackEvent>, tally: &Tally) {
    let mut namer = Namer::default();
    loop {
        let record = match waiting.recv_timeout(IDLE) {
            Ok(record) => record,
            Err(RecvTimeoutError::Timeout) => {
                namer = Namer::default();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // The library reads files that any process may have made; what it cannot take is its loss.
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| namer.name(&record)));
        let Ok(stack) = answer else {
            tally.panicked.fetch_add(1, Ordering::Relaxed);
            namer = Namer::default();
            continue;
        };
        tally.count(&stack);
        if told.send(event(&record, stack)).is_err() {
            return;
        }
    }
}

impl Tally {
    fn count(&self, stack: &Stack) {
        use crate::core::stack::Unnamed;
        let count = match stack.frames {
            Ok(_) => &self.named,
            Err(Unnamed::Ended) => &self.ended,
            Err(Unnamed::Unreadable) => &self.unreadable,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn event(record: &StackRecord, stack: Arc<Stack>) -> StackEvent {
    let cookie = NonZeroU64::new(record.cookie).filter(|_| record.valid & VALID_COOKIE != 0);
    let socket = SocketId { cookie, sk: record.sk };
    StackEvent { socket, called: Ts(record.time_ns), stack }
}

fn call(record: &StackRecord) -> StackCall {
    if record.call == STACK_ACCEPT { StackCall::Accept } else { StackCall::Connect }
}
