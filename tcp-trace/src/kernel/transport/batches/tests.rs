//! The daemon's half, against a model of the programs that goes on between any two of its steps.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
};

use proptest::prelude::*;
use tcp_trace_common::{
    KIND_CONNECT, LIFE_RECORD_LEN, SEGMENT_RECORD_LEN, STATE_RECORD_LEN, batch_at,
};

use super::*;

/// What a program does.
#[derive(Clone, Copy, Debug)]
struct Deed {
    /// Which kind of record it writes, by number.
    kind: usize,
    /// Whether it has interrupted another one that is at the batch.
    interrupts: bool,
    /// Whether an output that it makes fails, full or not.
    fails: bool,
}

const KINDS: [(u16, usize); 3] = [
    (KIND_STATE, STATE_RECORD_LEN),
    (KIND_CONNECT, LIFE_RECORD_LEN),
    (KIND_SEGMENT, SEGMENT_RECORD_LEN),
];

/// What is left to do of a deed that has begun.
#[derive(Debug)]
enum Step {
    /// The sample is out or has failed; the next generation is to begin.
    Bump,
    /// The bytes go behind the last ones.
    Copy(u64, Deed),
    /// They count.
    Publish(usize),
}

#[derive(Debug, Default)]
struct Kernel {
    room: usize,
    ring: Vec<u8>,
    ring_size: usize,
    at: u64,
    counts: u64,
    taken: u64,
    bytes: Vec<u8>,
    /// What the batch holds, by number; and what of it was known to be taken when it could not leave.
    holds: Vec<u64>,
    steps: VecDeque<Step>,
    deeds: VecDeque<Deed>,
    next: u64,
    /// Those that are whole.
    written: BTreeSet<u64>,
    /// Batches that did not get out, and records that did not.
    failed: Vec<u64>,
    counted: u64,
}

impl Kernel {
    fn step(&mut self) {
        match self.steps.pop_front() {
            Some(Step::Bump) => {
                self.counts = 0;
                self.holds.clear();
                self.at = batch_at(batch_generation(self.at) + 1, 0);
            }
            Some(Step::Copy(id, deed)) => {
                let record = record(id, KINDS[deed.kind]);
                let length = usize::try_from(batch_length(self.at)).unwrap();
                self.bytes[length..length + record.len()].copy_from_slice(&record);
                self.counts += [BATCH_STATE, BATCH_LIFE, BATCH_SEGMENT][deed.kind];
                self.holds.push(id);
                self.steps.push_front(Step::Publish(record.len()));
            }
            Some(Step::Publish(length)) => {
                self.at += length as u64;
                self.written.extend(self.holds.last());
            }
            None => {
                if let Some(deed) = self.deeds.pop_front() {
                    self.begin(deed);
                }
            }
        }
    }

    fn begin(&mut self, deed: Deed) {
        let id = self.next;
        self.next += 1;
        let length = usize::try_from(batch_length(self.at)).unwrap();
        if deed.interrupts {
            let record = record(id, KINDS[deed.kind]);
            if !self.output(&record, deed.fails) {
                self.counted += 1;
                self.failed.push(id);
            }
            self.written.insert(id);
            return;
        }
        if length + KINDS[deed.kind].1 > self.room {
            let head = BatchHead { kind: KIND_BATCH, len: 16, reserved: 0, at: self.at };
            let sample = [zerocopy::IntoBytes::as_bytes(&head), &self.bytes[..length]].concat();
            if !self.output(&sample, deed.fails) {
                let is_of_it = self.taken >> BATCH_COUNT_BITS == batch_generation(self.at);
                let lost =
                    if is_of_it { self.counts.wrapping_sub(self.taken) } else { self.counts };
                self.counted += [0, 8, 16].map(|shift| lost >> shift & 0xff).iter().sum::<u64>();
                self.failed.extend(&self.holds);
            }
            self.steps.push_back(Step::Bump);
        }
        self.steps.push_back(Step::Copy(id, deed));
    }

    fn output(&mut self, raw: &[u8], fails: bool) -> bool {
        let mut sample = u32::try_from(raw.len()).unwrap().to_ne_bytes().to_vec();
        sample.extend(raw);
        sample.resize(sample.len().next_multiple_of(8), 0xee);
        let size = sample.len() + 8;
        if fails || self.ring.len() + size > self.ring_size {
            return false;
        }
        self.ring.extend(9u32.to_ne_bytes());
        self.ring.extend(0u16.to_ne_bytes());
        self.ring.extend(u16::try_from(size).unwrap().to_ne_bytes());
        self.ring.extend(sample);
        true
    }
}

fn record(id: u64, (kind, length): (u16, usize)) -> Vec<u8> {
    let mut record = kind.to_ne_bytes().to_vec();
    record.extend(u16::try_from(length).unwrap().to_ne_bytes());
    record.extend([0; 4]);
    record.extend(id.to_ne_bytes());
    // Bytes of another record may not be taken for its own.
    record.resize(length, u8::try_from(id % 251).unwrap());
    record
}

/// The daemon's view of the model, which does some more steps before each look.
struct Racing<'a> {
    kernel: &'a RefCell<Kernel>,
    steps: &'a [u8],
    looks: Cell<usize>,
}

impl Racing<'_> {
    fn go_on(&self) {
        let look = self.looks.replace(self.looks.get() + 1);
        for _ in 0..self.steps.get(look).copied().unwrap_or(0) {
            self.kernel.borrow_mut().step();
        }
    }
}

impl Source for Racing<'_> {
    fn take(&mut self, out: &mut Vec<u8>) -> usize {
        self.go_on();
        let taken = std::mem::take(&mut self.kernel.borrow_mut().ring);
        out.extend(&taken);
        taken.len()
    }

    fn at(&self) -> Option<u64> {
        self.go_on();
        Some(self.kernel.borrow().at)
    }

    fn word(&self, offset: usize) -> u64 {
        // Now and then amid a record.
        if offset.is_multiple_of(64) {
            self.go_on();
        }
        word64(&self.kernel.borrow().bytes, offset).unwrap()
    }

    fn tell_taken(&self, taken: u64) {
        self.go_on();
        self.kernel.borrow_mut().taken = taken;
    }
}

struct Daemon {
    taken: Taken,
    scratch: Vec<u8>,
    got: Vec<u64>,
}

impl Daemon {
    fn drain(&mut self, kernel: &RefCell<Kernel>, steps: &[u8]) {
        let mut source = Racing { kernel, steps, looks: Cell::new(0) };
        let got = &mut self.got;
        drain(&mut source, &mut self.taken, &mut self.scratch, |sample| {
            let Sample::Raw(bytes) = sample else { panic!("{sample:?}") };
            let id = word64(bytes, 8).unwrap();
            let kind = KINDS.into_iter().find(|(kind, _)| word16(bytes, 0) == Some(*kind)).unwrap();
            assert!(bytes.starts_with(&record(id, kind)), "record {id} is not what was written");
            got.push(id);
        });
    }
}

/// Runs `deeds`, and `steps` of them amid each drain and `between` before it; returns how many were
/// lost and how many counted.
fn play(
    deeds: Vec<Deed>,
    drains: &[(u8, Vec<u8>)],
    (room, ring_size): (usize, usize),
) -> (u64, u64) {
    let kernel = RefCell::new(Kernel {
        room,
        ring_size,
        bytes: vec![0; BATCH_ROOM],
        deeds: deeds.into(),
        ..Kernel::default()
    });
    let mut daemon = Daemon { taken: Taken::default(), scratch: Vec::new(), got: Vec::new() };
    let drain_and_see = |daemon: &mut Daemon, steps: &[u8]| {
        let written = kernel.borrow().written.clone();
        daemon.drain(&kernel, steps);
        let got: BTreeSet<u64> = daemon.got.iter().copied().collect();
        assert_eq!(got.len(), daemon.got.len(), "one came twice");
        // Whatever was there before is told now, and does not wait for the next drain.
        let kernel = kernel.borrow();
        let late = written.iter().find(|id| !got.contains(id) && !kernel.failed.contains(id));
        assert_eq!(late, None);
    };
    for (between, amid) in drains {
        (0..*between).for_each(|_| kernel.borrow_mut().step());
        // Where nothing goes on amid the drain, no program is at work as it begins.
        while amid.is_empty() && !kernel.borrow().steps.is_empty() {
            kernel.borrow_mut().step();
        }
        drain_and_see(&mut daemon, amid);
    }
    while !kernel.borrow().deeds.is_empty() || !kernel.borrow().steps.is_empty() {
        kernel.borrow_mut().step();
    }
    drain_and_see(&mut daemon, &[]);
    let kernel = kernel.borrow();
    let lost = kernel.next - daemon.got.len() as u64;
    assert!(kernel.counted >= lost, "{} lost, {} counted", lost, kernel.counted);
    (lost, kernel.counted)
}

prop_compose! {
    fn deed()(kind in 0usize..3, interrupts in 0u8..10, fails in 0u8..12) -> Deed {
        Deed { kind, interrupts: interrupts == 0, fails: fails == 0 }
    }
}

fn sizes() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![Just((400, 900)), Just((400, 1 << 20)), Just((BATCH_ROOM, 1 << 16))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn each_record_comes_once_or_is_counted_as_lost(
        deeds in proptest::collection::vec(deed(), 0..80),
        drains in proptest::collection::vec(
            (0u8..12, proptest::collection::vec(0u8..5, 0..24)), 0..24),
        sizes in sizes(),
    ) {
        play(deeds, &drains, sizes);
    }

    #[test]
    fn losses_are_counted_exactly_where_no_drain_runs_at_that_moment(
        deeds in proptest::collection::vec(deed(), 0..80),
        drains in proptest::collection::vec((0u8..12, Just(Vec::new())), 0..24),
        sizes in sizes(),
    ) {
        let (lost, counted) = play(deeds, &drains, sizes);
        prop_assert_eq!(lost, counted);
    }

    #[test]
    fn any_bytes_are_cut_into_records_and_end(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(records(&bytes).count() <= bytes.len());
        finished(&bytes);
    }

    #[test]
    fn any_words_are_taken_for_what_they_can_be(ats in proptest::collection::vec(any::<u64>(), 0..9)) {
        let mut taken = Taken::default();
        for at in ats {
            let unread = taken.unread(at);
            prop_assert!(unread.start <= unread.end && unread.end <= BATCH_ROOM);
            taken.take(at, &[0xff; 64]);
            prop_assert!(taken.finish(at, 100) <= 100);
        }
    }
}

#[test]
fn a_batch_that_ends_early_or_says_nonsense_is_malformed() {
    let head = BatchHead { kind: KIND_BATCH, len: 16, reserved: 0, at: batch_at(3, 400) };
    let mut sample = zerocopy::IntoBytes::as_bytes(&head).to_vec();
    sample.extend(record(7, KINDS[0]));
    sample.extend([0; 20]);
    let (at, bytes) = finished(&sample).unwrap();
    assert_eq!((batch_generation(at), bytes.len()), (3, 172));
    let found: Vec<_> = records(bytes).collect();
    assert_eq!(found.len(), 2);
    assert!(matches!(found[0], Sample::Raw(bytes) if bytes.len() == STATE_RECORD_LEN));
    assert!(matches!(found[1], Sample::Malformed(bytes) if bytes.len() == 20));
    assert_eq!(finished(&sample[..12]), None);
}

#[test]
fn a_batch_leaves_room_for_others_in_its_buffer() {
    if cfg!(target_arch = "x86_64") {
        assert_eq!([4096, 8192, 1 << 20].map(room), [1024, 2048, 4032]);
    }
}
