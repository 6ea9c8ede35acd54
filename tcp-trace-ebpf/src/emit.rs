//! The only output: one record into this CPU's perf buffer, every failure counted by errno.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_perf_event_output;
use tcp_trace_common::{
    FoldedRecord, LifeRecord, OUTPUT_ERRORS_LIFE, OUTPUT_ERRORS_SEGMENT, OUTPUT_ERRORS_STACK,
    OUTPUT_ERRORS_STATE, SegmentRecord, StackRecord, StateRecord, output_error,
};

use crate::{counter, maps::EVENTS, note};

/// `BPF_F_CURRENT_CPU`: the buffer of the CPU this runs on.
const CURRENT_CPU: u64 = 0xffff_ffff;

/// A record whose failures are counted apart.
pub(crate) trait Counted {
    /// Where its errors begin.
    const FIRST_ERROR_SLOT: usize;
}

impl Counted for StateRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_STATE;
}

impl Counted for FoldedRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_STATE;
}

impl Counted for LifeRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_LIFE;
}

impl Counted for SegmentRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_SEGMENT;
}

impl Counted for StackRecord {
    const FIRST_ERROR_SLOT: usize = OUTPUT_ERRORS_STACK;
}

/// Sends `record`, one of the shared crate's. aya's own `output` drops the helper's answer, which is what tells a full buffer.
#[inline(always)]
pub(crate) fn emit<R: Counted>(ctx: *mut c_void, record: &R) {
    // SAFETY: the map is a perf event array, the record is initialised, and its length is its own.
    let result = unsafe {
        bpf_perf_event_output(
            ctx,
            (&raw const EVENTS).cast_mut().cast(),
            CURRENT_CPU,
            ptr::from_ref(record).cast_mut().cast(),
            size_of::<R>() as u64,
        )
    };
    if result < 0 {
        counter::output_failed(R::FIRST_ERROR_SLOT + output_error(result));
        note::output_failed(ctx, result);
    }
}
