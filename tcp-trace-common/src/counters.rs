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
/// State changes of MPTCP parent sockets. They are not in the matrix: their subflows are.
pub const COUNTER_MPTCP: usize = COUNTER_FILTERED + 2;
/// Calls of `tcp_connect()`: SYNs about to be sent for the first time.
pub const COUNTER_CONNECTS: usize = COUNTER_FILTERED + 3;
/// Sockets handed out by `accept()`.
pub const COUNTER_ACCEPTS: usize = COUNTER_FILTERED + 4;
/// Calls of `tcp_close()`.
pub const COUNTER_CLOSES: usize = COUNTER_FILTERED + 5;
/// Mini-sockets born in substate `FIN_WAIT2`: the peer's FIN is still to come.
pub const COUNTER_TIME_WAIT_BORN_FIN_WAIT2: usize = COUNTER_FILTERED + 6;
/// Mini-sockets born in substate `TIME_WAIT`.
pub const COUNTER_TIME_WAIT_BORN: usize = COUNTER_FILTERED + 7;
/// Mini-sockets that went from `FIN_WAIT2` to `TIME_WAIT`.
pub const COUNTER_TIME_WAIT_SUBSTATE: usize = COUNTER_FILTERED + 8;
/// Mini-sockets that could not be had.
pub const COUNTER_TIME_WAIT_REFUSED: usize = COUNTER_FILTERED + 9;
/// First of four: ends of mini-sockets in substate `FIN_WAIT2`, indexed by `TIME_WAIT_END_*`.
pub const COUNTER_TIME_WAIT_ENDED_FIN_WAIT2: usize = COUNTER_FILTERED + 10;
/// First of four: ends of mini-sockets in substate `TIME_WAIT`, indexed by `TIME_WAIT_END_*`.
pub const COUNTER_TIME_WAIT_ENDED: usize = COUNTER_FILTERED + 14;
/// Request sockets born of SYNs.
pub const COUNTER_REQUESTS: usize = COUNTER_FILTERED + 18;
/// SYN-ACKs sent again.
pub const COUNTER_SYNACK_RETRANSMITS: usize = COUNTER_FILTERED + 19;
/// RSTs sent; before 6.10 only those sent for a socket.
pub const COUNTER_RESETS_SENT: usize = COUNTER_FILTERED + 20;
/// RSTs that ended a socket.
pub const COUNTER_RESETS_RECEIVED: usize = COUNTER_FILTERED + 21;
/// Segments sent again.
pub const COUNTER_RETRANSMITS: usize = COUNTER_FILTERED + 22;
/// Sockets freed; raised only where `tcp_close()` cannot be hooked.
pub const COUNTER_DESTROYED: usize = COUNTER_FILTERED + 23;
/// State changes that the second of two programs took, because the kernel skipped the first.
pub const COUNTER_CAUGHT: usize = COUNTER_FILTERED + 24;
/// Connections that were told in one record.
pub const COUNTER_FOLDED: usize = COUNTER_FILTERED + 25;
/// Births that found no room to be folded, and are told step by step.
pub const COUNTER_FOLD_NO_ROOM: usize = COUNTER_FILTERED + 26;
/// Folded connections that are told step by step after all: they lived too long, or had too many steps.
pub const COUNTER_UNFOLDED: usize = COUNTER_FILTERED + 27;
/// Length of the block.
pub const COUNTER_SLOTS: usize = COUNTER_FILTERED + 28;

/// Errors of failed outputs that are told apart.
pub const OUTPUT_ERROR_COUNT: usize = 8;
/// First slot of failed outputs of state changes.
pub const OUTPUT_ERRORS_STATE: usize = 0;
/// First slot of failed outputs of all other records.
pub const OUTPUT_ERRORS_LIFE: usize = OUTPUT_ERROR_COUNT;
/// First slot of failed outputs of segments.
pub const OUTPUT_ERRORS_SEGMENT: usize = 2 * OUTPUT_ERROR_COUNT;
/// First slot of failed outputs of stacks.
pub const OUTPUT_ERRORS_STACK: usize = 3 * OUTPUT_ERROR_COUNT;
/// Slots of the other block, which counts failed perf-buffer outputs; see [`output_error`]. It is
/// apart because the daemon looks at it with every drain.
pub const OUTPUT_ERROR_SLOTS: usize = 4 * OUTPUT_ERROR_COUNT;

/// Names of the errors, in order.
pub const OUTPUT_ERROR_NAMES: [&str; OUTPUT_ERROR_COUNT] =
    ["enospc", "ebusy", "enoent", "e2big", "eopnotsupp", "einval", "eperm", "other"];

/// Number of the error for a negative return of `bpf_perf_event_output`.
///
/// `ENOSPC`: the buffer is full; `EBUSY`: more than three outputs nested on one CPU; `ENOENT`: no
/// buffer is open for this CPU.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the BPF machine has few call frames to spare")]
pub const fn output_error(result: i64) -> usize {
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
