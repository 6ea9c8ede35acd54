//! Resets, repetitions and releases, by the kernel's own tracepoints (4.16).
//!
//! | program | tracepoint | tells |
//! |---|---|---|
//! | `reset_sent_tp_btf`, `reset_sent_raw_tp` | `tcp_send_reset` | a RST goes out, since 6.10 with its reason |
//! | `reset_received_tp_btf`, `reset_received_raw_tp` | `tcp_receive_reset` | counted: the change to CLOSE tells the rest |
//! | `retransmit_tp_btf`, `retransmit_raw_tp` | `tcp_retransmit_skb` | counted; reported while a SYN or FIN is in flight |
//! | `destroyed_tp_btf`, `destroyed_raw_tp` | `tcp_destroy_sock` | the socket is freed; attached only where `tcp_close` cannot be hooked |
//!
//! Since 6.10 `tcp_send_reset` fires without a socket too (a SYN to a closed port): only counted.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tcp_trace_common::{
    COUNTER_DESTROYED, COUNTER_RESETS_RECEIVED, COUNTER_RESETS_SENT, COUNTER_RETRANSMITS,
    KIND_DESTROYED, KIND_RESET_SENT, KIND_RETRANSMIT,
};

use crate::{
    counter::Counters,
    ends,
    field::{Base, Copied, Direct, Fields},
    fold,
    life::{self, Moment, Who},
    maps::global,
    netns,
};

/// States in which a SYN or a FIN of ours is in flight: a bit for each of `SYN_SENT`, `SYN_RECV`,
/// `FIN_WAIT1`, `LAST_ACK` and `CLOSING`.
const SYN_OR_FIN_IN_FLIGHT: u32 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 9 | 1 << 11;

#[btf_tracepoint(function = "tcp_send_reset")]
fn reset_sent_tp_btf(ctx: BtfTracePointContext) -> i32 {
    let reason = if global!(SETTINGS.reset_reason) != 0 { ctx.arg::<i32>(2) } else { -1 };
    reset_sent::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), reason);
    0
}

#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn reset_sent_raw_tp(ctx: RawTracePointContext) -> i32 {
    let reason = if global!(SETTINGS.reset_reason) != 0 { ctx.arg::<i32>(2) } else { -1 };
    reset_sent::<Copied>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), reason);
    0
}

#[btf_tracepoint(function = "tcp_receive_reset")]
fn reset_received_tp_btf(ctx: BtfTracePointContext) -> i32 {
    traced::<Direct>(ctx.arg(0), COUNTER_RESETS_RECEIVED);
    0
}

#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
fn reset_received_raw_tp(ctx: RawTracePointContext) -> i32 {
    traced::<Copied>(ctx.arg(0), COUNTER_RESETS_RECEIVED);
    0
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
fn retransmit_tp_btf(ctx: BtfTracePointContext) -> i32 {
    retransmit::<Direct>(ctx.as_ptr(), ctx.arg(0));
    0
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
fn retransmit_raw_tp(ctx: RawTracePointContext) -> i32 {
    retransmit::<Copied>(ctx.as_ptr(), ctx.arg(0));
    0
}

#[btf_tracepoint(function = "tcp_destroy_sock")]
fn destroyed_tp_btf(ctx: BtfTracePointContext) -> i32 {
    destroyed::<Direct>(ctx.as_ptr(), ctx.arg(0));
    0
}

#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
fn destroyed_raw_tp(ctx: RawTracePointContext) -> i32 {
    destroyed::<Copied>(ctx.as_ptr(), ctx.arg(0));
    0
}

#[inline(always)]
fn reset_sent<F: Fields>(ctx: *mut c_void, sk: Base, asked_by: Base, reason: i32) {
    if sk.is_null() {
        // Nobody's RST belongs to no namespace that could be filtered by.
        if let Some(counters) = Counters::of_this_cpu().filter(|_| netns::is_unfiltered()) {
            counters.raise(COUNTER_RESETS_SENT);
        }
        return;
    }
    if let Some(netns) = traced::<F>(sk, COUNTER_RESETS_SENT) {
        // Without a segment that asks for it, the kernel gives the connection up by itself.
        let unasked = u64::from(asked_by.is_null());
        report::<F>(ctx, sk, netns, KIND_RESET_SENT, (reason, unasked));
    }
}

#[inline(always)]
fn retransmit<F: Fields>(ctx: *mut c_void, sk: Base) {
    let Some(netns) = traced::<F>(sk, COUNTER_RETRANSMITS) else { return };
    // SAFETY: the hook's own socket is live.
    let state = unsafe { ends::state::<F>(sk) };
    if SYN_OR_FIN_IN_FLIGHT >> (state & 31) & 1 != 0 {
        report::<F>(ctx, sk, netns, KIND_RETRANSMIT, (0, 0));
    }
}

#[inline(always)]
fn destroyed<F: Fields>(ctx: *mut c_void, sk: Base) {
    let Some(netns) = traced::<F>(sk, COUNTER_DESTROYED) else { return };
    // It tells of an end that was missed, which most sockets' are not: while connections are folded,
    // the next snapshot will do.
    if fold::is_on() && !fold::holds(sk) {
        return;
    }
    // SAFETY: the hook's own socket is live.
    if unsafe { ends::remote_port::<F>(sk) } != 0 {
        report::<F>(ctx, sk, netns, KIND_DESTROYED, (0, 0));
    }
}

/// Counts; the namespace of `sk`, where it is traced.
#[inline(always)]
fn traced<F: Fields>(sk: Base, counter: usize) -> Option<u32> {
    // SAFETY: the hook's own socket is live.
    let netns = unsafe { netns::of::<F>(sk) };
    if !netns::is_traced(netns) {
        return None;
    }
    Counters::of_this_cpu()?.raise(counter);
    Some(netns)
}

#[inline(always)]
fn report<F: Fields>(
    ctx: *mut c_void,
    sk: Base,
    netns: u32,
    kind: u16,
    (value, other): (i32, u64),
) {
    // SAFETY: a clock is read, and the hook's own socket is live.
    unsafe {
        let state = ends::state::<F>(sk);
        let time_ns = bpf_ktime_get_ns();
        fold::unfold::<F>(ctx, sk, time_ns);
        let moment =
            Moment { kind, time_ns, netns, old_state: state, new_state: state, value, other };
        life::report::<F>(ctx, sk, &moment, Who::Anybody);
    }
}
