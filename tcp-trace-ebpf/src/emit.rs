//! The only output: into this CPU's perf buffer, every failure counted by errno.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_perf_event_output;
use tcp_trace_common::{
    BATCH_LIFE, BATCH_SEGMENT, BATCH_STATE, FoldedRecord, LifeRecord, OUTPUT_ERRORS_LIFE,
    OUTPUT_ERRORS_SEGMENT, OUTPUT_ERRORS_STACK, OUTPUT_ERRORS_STATE, SegmentRecord, StackRecord,
    StateRecord, output_error,
};

use crate::{batch, counter, maps::EVENTS, note};

/// `BPF_F_CURRENT_CPU`: the buffer of the CPU this runs on.
const CURRENT_CPU: u64 = 0xffff_ffff;

/// A record whose failures are counted apart.
pub(crate) trait Counted {
    /// Where its errors begin.
    const FIRST_ERROR_SLOT: usize;
    /// How it counts in a batch; 0: it never waits in one.
    const CLASS: u64;
}

impl Counted for StateRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_STATE;
    const CLASS: u64 = BATCH_STATE;
}

impl Counted for FoldedRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_STATE;
    const CLASS: u64 = BATCH_STATE;
}

impl Counted for LifeRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_LIFE;
    const CLASS: u64 = BATCH_LIFE;
}

impl Counted for SegmentRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_SEGMENT;
    const CLASS: u64 = BATCH_SEGMENT;
}

impl Counted for StackRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_STACK;
    const CLASS: u64 = 0;
}

/// Sends `record`, one of the shared crate's: with others, where it may wait for them.
#[inline(always)]
pub(crate) fn emit<R: Counted>(ctx: *mut c_void, record: &R) {
    if R::CLASS != 0 && batch::put(ctx, record) {
        return;
    }
    // SAFETY: the record is initialised, and its length is its own.
    let result = unsafe { output(ctx, ptr::from_ref(record).cast(), size_of::<R>() as u64) };
    if result < 0 {
        counter::output_failed(R::FIRST_ERROR_SLOT + output_error(result), 1);
        note::output_failed(ctx, result);
    }
}

/// Puts `length` bytes into the perf buffer. aya's own `output` drops the helper's answer, which is
/// what tells a full buffer.
///
/// # Safety
/// They are initialised.
#[inline(always)]
pub(crate) unsafe fn output(ctx: *mut c_void, bytes: *const c_void, length: u64) -> i64 {
    // SAFETY: the map is a perf event array, and the caller's promise.
    unsafe {
        bpf_perf_event_output(
            ctx,
            (&raw const EVENTS).cast_mut().cast(),
            CURRENT_CPU,
            bytes.cast_mut(),
            length,
        )
    }
}
