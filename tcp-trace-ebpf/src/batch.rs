//! Records leave the kernel together.
//!
//! One output to a perf buffer costs more than all else that is done for a record. So each CPU has a
//! batch in a map: a record is copied behind the last one, and when the next may not fit, all leave
//! in one sample and the next generation begins. The daemon reads what waits in an unfinished batch
//! through its own memory, with every drain.
//!
//! Whoever is to write may have interrupted another who writes: a softirq does so anywhere, and where
//! programs can be preempted (trampolines; tracepoints from 7.0) another task does. So a program adds
//! itself to those at the batch, and writes only if it then finds itself alone; else it takes itself
//! away again and its record leaves for itself. Two can never both find themselves alone: the one
//! that looks second is counted along with the first until that one has gone. Both may find
//! themselves not alone, which harms nobody. That takes no answer from the atomic step, which the
//! machine gives only since 5.12, and costs nothing in trust: it holds between CPUs as well.
//!
//! What the daemon sees: generation and length are one word, written last, so what lies below the
//! length is whole, and stays until the generation goes up. It does so only once the sample has left
//! or failed. This needs stores to be seen in their order, which x86 promises; elsewhere the loader
//! leaves batches off.

use core::{
    arch::asm,
    ffi::c_void,
    ptr::{self, read_volatile, write_volatile},
};

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use tcp_trace_common::{
    BATCH_COUNT_BITS, BATCH_LIFE, BATCH_ROOM, BATCH_SEGMENT, BATCH_STATE, Batch, BatchHead,
    KIND_BATCH, OUTPUT_ERRORS_LIFE, OUTPUT_ERRORS_SEGMENT, OUTPUT_ERRORS_STATE, batch_at,
    batch_generation, batch_length, output_error,
};

use crate::{
    counter,
    emit::{Counted, output},
    maps::{BATCHES, global},
    note,
    record::put,
};

/// Where the errors of each class begin.
const CLASSES: [(u64, usize); 3] = [
    (BATCH_STATE, OUTPUT_ERRORS_STATE),
    (BATCH_LIFE, OUTPUT_ERRORS_LIFE),
    (BATCH_SEGMENT, OUTPUT_ERRORS_SEGMENT),
];

/// Puts `record` into this CPU's batch; false where it has to leave for itself.
#[inline(always)]
pub(crate) fn put<R: Counted>(ctx: *mut c_void, record: &R) -> bool {
    const { assert!(size_of::<R>() <= BATCH_ROOM && size_of::<R>().is_multiple_of(8)) };
    if global!(SETTINGS.batches) == 0 {
        return false;
    }
    // SAFETY: takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    // A CPU that was not there at the start has none.
    let Some(batch) = BATCHES.get_ptr_mut(cpu) else { return false };
    // SAFETY: the batch of this CPU, aligned. Volatile, because others change it, too.
    unsafe {
        let busy = &raw mut (*batch).busy;
        counter::add(busy, 1);
        let is_in = read_volatile(busy) == 1 && append(ctx, batch, record);
        counter::add(busy, u64::MAX);
        is_in
    }
}

/// # Safety
/// The batch is this program's alone.
#[inline(always)]
unsafe fn append<R: Counted>(ctx: *mut c_void, batch: *mut Batch, record: &R) -> bool {
    // SAFETY: the caller's promise; what is written lies within the batch, as is checked just before.
    unsafe {
        let at = &raw mut (*batch).head.at;
        let room = u64::from(global!(SETTINGS.batches));
        if batch_length(read_volatile(at)) + size_of::<R>() as u64 > room {
            finish(ctx, batch);
        }
        let now = read_volatile(at);
        let length = bounded(now);
        // A large record may never fit.
        if length + size_of::<R>() as u64 > room || length > (BATCH_ROOM - size_of::<R>()) as u64 {
            return false;
        }
        let into = (&raw mut (*batch).records).cast::<u8>().add(length as usize);
        ptr::copy_nonoverlapping(
            ptr::from_ref(record).cast::<u64>(),
            into.cast(),
            size_of::<R>() / 8,
        );
        put!(batch.counts = (*batch).counts + R::CLASS);
        // Holds the compiler to what was written before; the machine keeps to that by itself.
        asm!("", options(nostack, preserves_flags));
        write_volatile(at, now + size_of::<R>() as u64);
        true
    }
}

/// Sends what the batch holds, and begins the next.
///
/// # Safety
/// The batch is this program's alone.
#[inline(always)]
unsafe fn finish(ctx: *mut c_void, batch: *mut Batch) {
    // SAFETY: the caller's promise; the sample lies within the batch.
    unsafe {
        let head = &raw mut (*batch).head;
        put!(head.kind = KIND_BATCH);
        put!(head.len = size_of::<BatchHead>() as u16);
        let at = read_volatile(&raw const (*head).at);
        let length = bounded(at);
        if length <= BATCH_ROOM as u64 {
            let result = output(ctx, head.cast(), size_of::<BatchHead>() as u64 + length);
            if result < 0 {
                failed(batch, batch_generation(at), result);
                note::output_failed(ctx, result);
            }
        }
        put!(batch.counts = 0);
        asm!("", options(nostack, preserves_flags));
        write_volatile(&raw mut (*head).at, batch_at(batch_generation(at) + 1, 0));
    }
}

/// Counts the records of a finished batch that nobody has got. Of those that the daemon takes in
/// this very moment, some may be counted, too.
///
/// # Safety
/// The batch is this program's alone.
#[inline(always)]
unsafe fn failed(batch: *mut Batch, generation: u64, result: i64) {
    // SAFETY: the caller's promise. Volatile, because the daemon writes to it.
    let (counts, taken) = unsafe {
        (read_volatile(&raw const (*batch).counts), read_volatile(&raw const (*batch).taken))
    };
    let is_of_it = taken >> BATCH_COUNT_BITS == generation & (u64::MAX >> BATCH_COUNT_BITS);
    let lost = if is_of_it { counts.wrapping_sub(taken) } else { counts };
    for (class, first) in CLASSES {
        counter::output_failed(first + output_error(result), lost / class & 0xff);
    }
}

/// The length in `at`, in a register of its own: what 5.10 knows of a masked one it forgets again
/// where the compiler compares another.
#[inline(always)]
fn bounded(at: u64) -> u64 {
    let length = batch_length(at);
    // SAFETY: a reference is valid for reads.
    unsafe { read_volatile(&raw const length) }
}
