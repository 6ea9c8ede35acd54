//! Layout of the per-CPU counter block: one array of u64 for each CPU.
//!
//! These are the exact tier: each is raised in the kernel before anything can be lost.

/// States per side of the transition matrix (the kernel has 13; 16 keeps the index a mask).
pub const STATE_SLOTS: usize = 16;
/// First of the `STATE_SLOTS * STATE_SLOTS` transition counters, indexed `old * STATE_SLOTS + new`.
pub const COUNTER_TRANSITIONS: usize = 0;
/// State changes of namespaces that the filter leaves out.
pub const COUNTER_FILTERED: usize = STATE_SLOTS * STATE_SLOTS;
/// State numbers outside the matrix: none is known, so any is worth a look.
pub const COUNTER_STRANGE_STATE: usize = COUNTER_FILTERED + 1;
/// Length of the block.
pub const COUNTER_SLOTS: usize = COUNTER_FILTERED + 8;

/// Slots of the other block, which counts failed perf-buffer outputs; see [`output_error_slot`]. It
/// is apart because the daemon looks at it with every drain.
pub const OUTPUT_ERROR_SLOTS: usize = 8;

/// Names of the slots of failed outputs, in order.
pub const OUTPUT_ERROR_NAMES: [&str; OUTPUT_ERROR_SLOTS] =
    ["enospc", "ebusy", "enoent", "e2big", "eopnotsupp", "einval", "eperm", "other"];

/// Slot for a negative return of `bpf_perf_event_output`.
///
/// `ENOSPC`: the buffer is full; `EBUSY`: more than three outputs nested on one CPU; `ENOENT`: no
/// buffer is open for this CPU.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the BPF machine has few call frames to spare")]
pub const fn output_error_slot(result: i64) -> usize {
    match result {
        -28 => 0,
        -16 => 1,
        -2 => 2,
        -7 => 3,
        -95 => 4,
        -22 => 5,
        -1 => 6,
        _ => 7,
    }
}

/// Index of the transition `old` to `new`.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the BPF machine has few call frames to spare")]
pub const fn transition_slot(old: usize, new: usize) -> usize {
    COUNTER_TRANSITIONS + (old % STATE_SLOTS) * STATE_SLOTS + new % STATE_SLOTS
}
