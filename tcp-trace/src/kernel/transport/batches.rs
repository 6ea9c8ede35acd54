//! The batches that programs gather records in, as the daemon sees them: see the programs' own
//! `batch`.

use std::{io, mem::offset_of, os::fd::AsFd as _};

use aya::maps::{Map, MapData};
use tcp_trace_common::{
    BATCH_COUNT_BITS, BATCH_LEN, BATCH_LIFE, BATCH_ROOM, BATCH_SEGMENT, BATCH_STATE, Batch,
    BatchHead, KIND_BATCH, KIND_FOLDED, KIND_SEGMENT, KIND_STATE, batch_generation, batch_length,
};

use super::samples::{Sample, samples, word16, word64};
use crate::kernel::sys::ArrayMemory;

/// Where a batch's generation and length stand in it.
const AT: usize = offset_of!(Batch, head) + offset_of!(BatchHead, at);

/// A batch's records, of the buffer they leave through.
const SHARE: usize = 4;

/// Bytes of records that leave together through a buffer of `buffer` bytes; 0 where the machine may
/// show the length of a batch before its records. CPUs of x86 make their stores be seen in order.
#[must_use]
pub(crate) fn room(buffer: usize) -> u32 {
    if cfg!(not(target_arch = "x86_64")) {
        return 0;
    }
    u32::try_from((buffer / SHARE).min(BATCH_ROOM)).unwrap_or(0)
}

/// What one CPU's programs leave for the daemon.
pub(super) trait Source {
    /// Moves what waits in the perf buffer onto the end of `out`; how many bytes that was.
    fn take(&mut self, out: &mut Vec<u8>) -> usize;
    /// Generation and length of the batch; `None` where there is none.
    fn at(&self) -> Option<u64>;
    /// Puts the batch's eight bytes at `offset` of its records onto the end of `out`.
    fn word(&self, offset: usize) -> u64;
    /// Lets the programs know what has been taken out of the batch; see `Batch::taken`.
    fn tell_taken(&self, taken: u64);
}

/// What has been taken of one CPU's batches. A generation's records are taken where they wait, then
/// the rest of them as their sample comes; so it is enough to know how it stands with the last one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    generation: u64,
    bytes: usize,
    counts: u64,
}

/// Takes all that is older than this call, each record once; how many bytes waited in the buffer.
///
/// The programs go on meanwhile. What they may do between any two steps, and what comes of it:
///
/// - A batch leaves after the buffer was taken: its sample waits for the next drain, while the next
///   batch is there to be read. Its records may be older than a record may come late, and its turn is
///   before the next one's. So what is read counts only if the generation is that from before the
///   buffer was taken; else it begins anew, once: what waits still after that is younger than the call.
/// - A batch leaves while it is read: likewise.
/// - A sample is in the buffer, and its generation not over yet: it counts as taken with its sample,
///   and so nothing of it is read any more.
/// - A batch cannot leave of which some records have been read: those are not lost, which the
///   programs are told. If that word comes too late, they are counted as lost all the same: never too
///   few are.
/// - A program is interrupted as it writes: the length does not say so yet. Whoever interrupts it sends
///   its record for itself.
pub(super) fn drain(
    source: &mut impl Source,
    taken: &mut Taken,
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(Sample<'_>),
) -> (bool, usize) {
    let (mut any, mut waited) = (false, 0);
    for _ in 0..2 {
        let before = source.at();
        scratch.clear();
        waited = waited.max(source.take(scratch));
        any |= !scratch.is_empty();
        for sample in samples(scratch) {
            match sample {
                Sample::Raw(bytes) => match finished(bytes) {
                    Some((at, bytes)) => {
                        let skipped = taken.finish(at, bytes.len());
                        records(bytes.get(skipped..).unwrap_or_default()).for_each(&mut each);
                    }
                    None => each(sample),
                },
                other => each(other),
            }
        }
        let (Some(before), Some(at)) = (before, source.at()) else { break };
        if batch_generation(at) != batch_generation(before) {
            continue;
        }
        let unread = taken.unread(at);
        if unread.is_empty() {
            break;
        }
        scratch.clear();
        scratch.extend(unread.step_by(8).flat_map(|offset| source.word(offset).to_ne_bytes()));
        if source.at().map(batch_generation) != Some(batch_generation(at)) {
            continue;
        }
        any = true;
        source.tell_taken(taken.take(at, scratch));
        records(scratch).for_each(&mut each);
        break;
    }
    (any, waited)
}

impl Taken {
    /// The sample of a whole generation has come; how many bytes of its records are known already.
    fn finish(&mut self, at: u64, bytes: usize) -> usize {
        let known = if batch_generation(at) == self.generation { self.bytes } else { 0 };
        *self = Self { generation: batch_generation(at), bytes: BATCH_ROOM, counts: 0 };
        known.min(bytes)
    }

    /// Where in the batch lies what has not been taken.
    fn unread(&self, at: u64) -> std::ops::Range<usize> {
        let length = usize::try_from(batch_length(at)).unwrap_or(0).min(BATCH_ROOM);
        let known = if batch_generation(at) == self.generation { self.bytes } else { 0 };
        known.min(length)..length
    }

    /// Remembers that `records` were taken, up to the length in `at`; what to tell the programs.
    fn take(&mut self, at: u64, taken: &[u8]) -> u64 {
        let generation = batch_generation(at);
        let before = if generation == self.generation { self.counts } else { 0 };
        let counts = before + records(taken).map(|record| class(record)).sum::<u64>();
        let bytes = usize::try_from(batch_length(at)).unwrap_or(BATCH_ROOM);
        *self = Self { generation, bytes, counts };
        generation << BATCH_COUNT_BITS | counts
    }
}

/// The word and the records of a finished batch, where the sample is one.
fn finished(sample: &[u8]) -> Option<(u64, &[u8])> {
    if word16(sample, 0) != Some(KIND_BATCH) {
        return None;
    }
    let at = word64(sample, offset_of!(BatchHead, at))?;
    let (_, records) = sample.split_at_checked(size_of::<BatchHead>())?;
    let length = usize::try_from(batch_length(at)).unwrap_or(usize::MAX);
    // Behind them is padding.
    Some((at, records.get(..length).unwrap_or(records)))
}

/// Cuts `bytes` into the records that lie there one behind the other.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = Sample<'_>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let length = word16(bytes, 2).map_or(0, usize::from);
        let whole = length >= 8 && length.is_multiple_of(8);
        let Some((record, rest)) = bytes.split_at_checked(length).filter(|_| whole) else {
            return Some(Sample::Malformed(std::mem::take(&mut bytes)));
        };
        bytes = rest;
        Some(Sample::Raw(record))
    })
}

/// How the programs count a record.
fn class(record: Sample<'_>) -> u64 {
    let Sample::Raw(bytes) = record else { return 0 };
    match word16(bytes, 0) {
        Some(KIND_STATE | KIND_FOLDED) => BATCH_STATE,
        Some(KIND_SEGMENT) => BATCH_SEGMENT,
        _ => BATCH_LIFE,
    }
}

/// The batches of all CPUs.
#[derive(Debug)]
pub(crate) struct Batches {
    memory: ArrayMemory,
    /// How many there are.
    count: usize,
    /// Whether nothing is to wait in them.
    held: bool,
    _map: MapData,
}

impl Batches {
    /// Maps `count` of them, and closes those of CPUs without a buffer: who comes there later finds
    /// somebody at work for ever, and sends each record for itself, which fails and is counted.
    pub(crate) fn map(map: Map, count: u32, cpus: &[u32]) -> io::Result<Self> {
        let Map::Array(map) = map else { return Err(io::Error::other("BATCHES is no array")) };
        let memory = ArrayMemory::map_writable(map.fd().as_fd(), count as usize * BATCH_LEN)?;
        for cpu in (0..count).filter(|cpu| !cpus.contains(cpu)) {
            memory.store(cpu as usize * BATCH_LEN + offset_of!(Batch, busy), 1);
        }
        Ok(Self { memory, count: count as usize, held: false, _map: map })
    }

    /// Keeps all of them from being used, or no longer: the daemon is then one more at each, so no
    /// program finds itself alone. What waits in one already is taken as ever; a program that has found
    /// itself alone at that moment still puts its record there.
    pub(super) fn hold(&mut self, held: bool) {
        if std::mem::replace(&mut self.held, held) == held {
            return;
        }
        let change = if held { 1 } else { u64::MAX };
        for batch in 0..self.count {
            self.memory.add(batch * BATCH_LEN + offset_of!(Batch, busy), change);
        }
    }

    /// Generation and length of the batch of `cpu`.
    pub(super) fn at(&self, cpu: u32) -> Option<u64> {
        self.memory.word(cpu as usize * BATCH_LEN + AT)
    }

    /// Eight bytes of its records.
    pub(super) fn word(&self, cpu: u32, offset: usize) -> u64 {
        let records = cpu as usize * BATCH_LEN + offset_of!(Batch, records);
        self.memory.word(records + offset).unwrap_or(0)
    }

    /// See [`Source::tell_taken`].
    pub(super) fn tell_taken(&self, cpu: u32, taken: u64) {
        self.memory.store(cpu as usize * BATCH_LEN + offset_of!(Batch, taken), taken);
    }
}

#[cfg(test)]
mod tests;
