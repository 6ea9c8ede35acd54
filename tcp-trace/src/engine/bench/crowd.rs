//! Who comes when: lives side by side, their records on several CPUs.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use zerocopy::IntoBytes as _;

use super::life::{Life, Mix, Role};
use crate::core::clock::Ts;

/// Between two drains, as at work.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// CPUs whose buffers are drained.
const CPUS: usize = 4;

/// What is drained at a moment.
#[derive(Debug)]
pub(super) struct Tick {
    /// The moment.
    pub(super) now: Ts,
    /// Each CPU's records, one after the other, and where each ends.
    buffers: [Buffer; CPUS],
}

impl Default for Tick {
    fn default() -> Self {
        Self { now: Ts(0), buffers: std::array::from_fn(|_| Buffer::default()) }
    }
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Tick {
    fn write(&mut self, number: u64, step: usize, record: &[u8]) -> bool {
        // One connection's records come from more than one CPU.
        let cpu = usize::try_from(number / 2).unwrap_or(0) + step / 3;
        let Some(buffer) = self.buffers.get_mut(cpu % CPUS) else { return false };
        buffer.bytes.extend_from_slice(record);
        buffer.ends.push(buffer.bytes.len());
        true
    }

    /// Each record's bytes and its CPU, buffer by buffer.
    pub(super) fn samples(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..).zip(&self.buffers).flat_map(|(cpu, buffer)| {
            let begins = std::iter::once(0).chain(buffer.ends.iter().copied());
            let spans = begins.zip(&buffer.ends);
            spans.filter_map(move |(from, to)| Some((cpu, buffer.bytes.get(from..*to)?)))
        })
    }
}

/// A life's next record: when, which life, which of its steps.
type Next = Reverse<(Ts, u64, usize)>;

/// Everyone who is on the way.
#[derive(Debug)]
pub(super) struct Crowd {
    mix: Mix,
    /// Connections opened in a second, and as many accepted.
    rate: u64,
    now: Ts,
    /// Lives begun.
    begun: u64,
    /// Of which so many stay.
    staying: u64,
    next: BinaryHeap<Next>,
    /// Lives in progress by number, from `first` on; `None`: over.
    lives: VecDeque<Option<Life>>,
    first: u64,
}

impl Crowd {
    pub(super) fn new(mix: Mix, rate: u64) -> Self {
        let (lives, next) = (VecDeque::new(), BinaryHeap::new());
        // A host that has been up for a while.
        let now = Ts(1_000_000_000_000);
        let mut crowd = Self { mix, rate, now, begun: 0, staying: 0, next, lives, first: 0 };
        for listener in 0..super::life::SERVICES {
            crowd.begin(now, Role::Listener(listener));
        }
        crowd
    }

    /// How far it has come.
    pub(super) fn now(&self) -> Ts {
        self.now
    }

    /// The next `count` lives go as far as ESTABLISHED and stay.
    pub(super) fn stay(&mut self, count: u64) {
        self.staying = count;
    }

    /// Whether some of those who stay are still to come.
    pub(super) fn are_coming(&self) -> bool {
        self.staying > 0 || !self.next.is_empty()
    }

    fn begin(&mut self, at: Ts, role: Role) {
        let number = self.begun;
        self.begun += 1;
        self.lives.push_back(Some(Life { number, role }));
        self.next.push(Reverse((at, number, 0)));
    }

    /// Newcomers of a tick, evenly.
    fn newcomers(&mut self, until: Ts, stay: bool) {
        let pairs = self.rate * u64::try_from(TICK.as_millis()).unwrap_or(0) / 1_000;
        let pairs = if stay { pairs.min(self.staying.div_ceil(2)) } else { pairs };
        let between = (until.0 - self.now.0) / pairs.max(1);
        for pair in 0..pairs {
            let at = Ts(self.now.0 + pair * between);
            self.begin(at, Role::Client { stays: stay });
            self.begin(at, Role::Server { stays: stay });
        }
        self.staying = self.staying.saturating_sub(pairs * 2);
    }

    /// Writes the next tick's records; returns how many. Nobody but those who stay comes where
    /// `stay`.
    pub(super) fn fill(&mut self, tick: &mut Tick, stay: bool) -> u64 {
        for buffer in &mut tick.buffers {
            buffer.bytes.clear();
            buffer.ends.clear();
        }
        let until = self.now.after(TICK);
        self.newcomers(until, stay);
        let mut made = 0;
        while let Some(Reverse((at, number, step))) = self.next.peek().copied()
            && at < until
        {
            self.next.pop();
            made += u64::from(self.step(tick, at, number, step));
        }
        while self.lives.front().is_some_and(Option::is_none) {
            self.lives.pop_front();
            self.first += 1;
        }
        self.now = until;
        tick.now = until;
        made
    }

    fn step(&mut self, tick: &mut Tick, at: Ts, number: u64, step: usize) -> bool {
        let place = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        let Some(slot) = self.lives.get_mut(place) else { return false };
        let Some(life) = *slot else { return false };
        if let Some(record) = life.folded(self.mix, at) {
            *slot = None;
            return tick.write(number, step, record.as_bytes());
        }
        let Some((record, pause)) = life.record(self.mix, step, at) else {
            *slot = None;
            return false;
        };
        self.next.push(Reverse((at.after(pause), number, step + 1)));
        tick.write(number, step, record.as_bytes())
    }
}
