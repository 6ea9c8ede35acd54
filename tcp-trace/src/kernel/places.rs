//! Where the owners of connections live: program, cgroup, unit, container, pod.
//!
//! Whoever learns of an owner asks at once, since the process may be gone soon; the answer is found
//! by a thread of its own and is there when somebody looks. A question that was asked before costs
//! one lookup.

use std::{
    num::NonZeroU64,
    sync::{
        Arc, OnceLock,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use self::resolver::Resolver;
use super::process_facts::Start;
use crate::core::cgroup::Place;

mod resolver;

/// Questions that may wait.
const WAITING: usize = 4096;
/// Processes in each of the two generations that are remembered.
const GENERATION: usize = 16_384;
/// How long an answer stands about a process known by its number alone.
const NUMBER_STANDS: Duration = Duration::from_secs(10);

/// Where a process lives, as far as it could be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// Path of its program; ` (deleted)` behind it where the file is no more.
    pub(crate) exe: Option<Arc<str>>,
    /// Path of its cgroup.
    pub(crate) cgroup: Option<Arc<str>>,
    /// What the cgroup's path tells.
    pub(crate) place: Arc<Place>,
}

/// An answer that is there, or will be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer(Arc<OnceLock<Whereabouts>>);

impl Answer {
    /// What is known by now.
    pub(crate) fn get(&self) -> Option<&Whereabouts> {
        self.0.get()
    }
}

/// A process: its number, and its start where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    pid: u32,
    start: Option<Start>,
}

/// What the thread is asked.
#[derive(Debug)]
struct Question {
    key: Key,
    cgroup: Option<NonZeroU64>,
    answer: Answer,
}

/// Answers by process, and the thread that finds them. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Places {
    /// Of late.
    young: FxHashMap<Key, Asked>,
    /// Before that; what nobody asks for is forgotten with the next generation.
    old: FxHashMap<Key, Asked>,
    questions: Option<SyncSender<Question>>,
    refused: u64,
}

#[derive(Clone, Debug)]
struct Asked {
    answer: Answer,
    /// What was known of the same number before, where that is asked for again.
    before: Option<Answer>,
    at: Instant,
}

impl Places {
    /// Starts the thread. Where that fails nothing will be known, and each question counts as
    /// [`refused`](Self::refused).
    pub(crate) fn new() -> Self {
        let (questions, waiting) = sync_channel(WAITING);
        let started = std::thread::Builder::new()
            .name("tcp-trace-place".to_owned())
            .spawn(move || Resolver::of_host().answer_all(&waiting));
        Self::asking(started.is_ok().then_some(questions))
    }

    fn asking(questions: Option<SyncSender<Question>>) -> Self {
        Self { young: FxHashMap::default(), old: FxHashMap::default(), questions, refused: 0 }
    }

    /// Asks where a process lives, where that is not known yet, without waiting to be told; else as
    /// [`of`](Self::of).
    pub(crate) fn ask(
        &mut self,
        pid: u32,
        started_ns: Option<NonZeroU64>,
        cgroup: Option<NonZeroU64>,
    ) {
        let key = Key { pid, start: started_ns.map(|ns| Start::from_ns(ns.get())) };
        // Nearly always: it is asked with each call.
        if self.young.get(&key).is_none_or(|asked| !asked.stands(key)) {
            self.of(pid, started_ns, cgroup);
        }
    }

    /// Where process `pid` lives, which began at `started_ns` of `CLOCK_BOOTTIME` and called from
    /// the cgroup with id `cgroup`. Never waits: the answer may still be empty, and be filled later.
    ///
    /// Without `started_ns` it is whoever has that number: asked anew every now and then, and what
    /// was known stands until somebody else has come to the number.
    pub(crate) fn of(
        &mut self,
        pid: u32,
        started_ns: Option<NonZeroU64>,
        cgroup: Option<NonZeroU64>,
    ) -> Answer {
        let key = Key { pid, start: started_ns.map(|ns| Start::from_ns(ns.get())) };
        let known = self.remembered(key);
        if let Some(asked) = known.as_ref().filter(|asked| asked.stands(key)) {
            return asked.best();
        }
        let (answer, before) = (Answer::default(), known.map(|asked| asked.best()));
        let question = Question { key, cgroup, answer: answer.clone() };
        let asked = Asked { answer, before, at: Instant::now() };
        let best = asked.best();
        match self.questions.as_ref().map(|questions| questions.try_send(question)) {
            Some(Ok(())) => self.remember(key, asked),
            // Not remembered, so the next who asks tries again.
            None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) => {
                self.refused += 1;
            }
        }
        best
    }

    /// Questions that were not taken, because too many waited.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    fn remembered(&mut self, key: Key) -> Option<Asked> {
        if let Some(asked) = self.young.get(&key) {
            return Some(asked.clone());
        }
        let asked = self.old.remove(&key)?;
        self.remember(key, asked.clone());
        Some(asked)
    }

    fn remember(&mut self, key: Key, asked: Asked) {
        self.make_room();
        self.young.insert(key, asked);
    }

    fn make_room(&mut self) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl Asked {
    /// The answer; what was known before, until it is there and tells anything.
    fn best(&self) -> Answer {
        let tells = self.answer.get().is_some_and(|at| *at != Whereabouts::default());
        let before = self.before.clone().filter(|_| !tells);
        before.unwrap_or_else(|| self.answer.clone())
    }

    /// A number alone may pass to another process.
    fn stands(&self, key: Key) -> bool {
        key.start.is_some() || self.at.elapsed() < NUMBER_STANDS
    }
}

#[cfg(test)]
mod tests;
