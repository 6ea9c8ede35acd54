//! The exact tier: per-CPU counters, raised before anything can be lost.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr::read_volatile,
};

use tcp_trace_common::{
    COUNTER_SLOTS, OUTPUT_ERROR_SLOTS, SEGMENT_SLOTS, STACK_SLOTS, transition_slot,
};

use crate::maps::{COUNTERS, FAILURES, SEGMENTS, STACK_COUNTS};

/// This CPU's block of counters.
pub(crate) struct Counters(*mut u64);

impl Counters {
    /// The block; `None` only if the map were missing.
    #[inline(always)]
    pub(crate) fn of_this_cpu() -> Option<Self> {
        COUNTERS.get_ptr_mut(0).map(|block| Self(block.cast()))
    }

    /// Raises the counter of a transition.
    #[inline(always)]
    pub(crate) fn raise_transition(&self, old: u32, new: u32) {
        let slot = transition_slot(old as usize, new as usize);
        // SAFETY: a reference is valid for reads. Volatile, so that the bound below is checked on
        // the very register that is added: what 5.10 knows of a masked sum it forgets again.
        self.raise(unsafe { read_volatile(&raw const slot) });
    }

    /// Raises one counter.
    #[inline(always)]
    pub(crate) fn raise(&self, slot: usize) {
        // A mask alone cannot bound a length that is no power of two.
        if slot < COUNTER_SLOTS {
            // SAFETY: the slot lies within the block (just checked) and the block is aligned.
            unsafe { raise(self.0.add(slot)) };
        }
    }
}

/// This CPU's block of what the packet hooks count.
pub(crate) struct SegmentCounters(*mut u64);

impl SegmentCounters {
    /// The block; `None` only if the map were missing.
    #[inline(always)]
    pub(crate) fn of_this_cpu() -> Option<Self> {
        SEGMENTS.get_ptr_mut(0).map(|block| Self(block.cast()))
    }

    /// Raises one counter.
    #[inline(always)]
    pub(crate) fn raise(&self, slot: usize) {
        if slot < SEGMENT_SLOTS {
            // SAFETY: the slot lies within the block (just checked) and the block is aligned.
            unsafe { raise(self.0.add(slot)) };
        }
    }
}

/// Counts the `records` of a failed output.
#[inline(always)]
pub(crate) fn output_failed(slot: usize, records: u64) {
    let Some(block) = FAILURES.get_ptr_mut(0) else { return };
    if slot < OUTPUT_ERROR_SLOTS {
        // SAFETY: the slot lies within the block (just checked) and the block is aligned.
        unsafe { add(block.cast::<u64>().add(slot), records) };
    }
}

/// Counts what became of a stack.
#[inline(always)]
pub(crate) fn stack(slot: usize) {
    let Some(block) = STACK_COUNTS.get_ptr_mut(0) else { return };
    if slot < STACK_SLOTS {
        // SAFETY: the slot lies within the block (just checked) and the block is aligned.
        unsafe { raise(block.cast::<u64>().add(slot)) };
    }
}

/// # Safety
/// `counter` is aligned and valid.
#[inline(always)]
unsafe fn raise(counter: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { add(counter, 1) };
}

/// Atomic, because softirq may interrupt a program on its own CPU. Wraps: the highest number is -1.
///
/// # Safety
/// `counter` is aligned and valid.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, by: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, by) };
}
