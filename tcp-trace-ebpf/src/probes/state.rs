//! TCP state changes.
//!
//! | program | hook | since | sees |
//! |---|---|---|---|
//! | `state_tp_btf` | `tp_btf/inet_sock_set_state` | 5.5 | every change |
//! | `state_raw_tp` | `raw_tp/inet_sock_set_state` | 4.17 | every change; no cookie |
//! | `state_fentry` | `fentry/tcp_set_state` | 5.5 | not listen(), not a child's birth |
//! | `state_kprobe` | `kprobe/tcp_set_state` | 4.16 | as fentry; no cookie |
//!
//! What the last two miss, [`births`](super::births) adds. At all four the socket still holds its
//! old state, is locked or unpublished, and its `tcp_sock` is valid. They may run in softirq, where
//! `current` is whoever was interrupted. Of the first three there is a second copy, which takes what
//! the kernel skips the first for ([`pair`]); a kprobe is skipped while any is at work, so a second
//! would be too.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use tcp_trace_common::{
    COUNTER_CAUGHT, COUNTER_FILTERED, COUNTER_MPTCP, COUNTER_STRANGE_STATE, STACK_CONNECT,
    STATE_SLOTS,
};

use crate::{
    counter::Counters,
    emit::emit,
    field::{Base, Copied, Direct, Fields, field},
    fold,
    maps::global,
    netns, note,
    pair::{self, Watch},
    record::{self, Change},
    stack,
};

/// `IPPROTO_MPTCP`.
const IPPROTO_MPTCP: u16 = 262;
/// `TCP_SYN_SENT` of the kernel's `tcp_states.h`.
const TCP_SYN_SENT: u32 = 2;
/// `TCP_CLOSE` of the kernel's `tcp_states.h`.
pub(super) const TCP_CLOSE: u32 = 7;
/// `TCP_LISTEN`, likewise.
pub(super) const TCP_LISTEN: u32 = 10;
/// `TCP_SYN_RECV`, likewise.
pub(super) const TCP_SYN_RECV: u32 = 3;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn state_tp_btf(ctx: BtfTracePointContext) -> i32 {
    tracepoint::<Direct>(ctx.as_ptr(), (ctx.arg(0), ctx.arg(1), ctx.arg(2)), Watch::First);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn second_tp_btf(ctx: BtfTracePointContext) -> i32 {
    tracepoint::<Direct>(ctx.as_ptr(), (ctx.arg(0), ctx.arg(1), ctx.arg(2)), Watch::Second);
    0
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn state_raw_tp(ctx: RawTracePointContext) -> i32 {
    tracepoint::<Copied>(ctx.as_ptr(), (ctx.arg(0), ctx.arg(1), ctx.arg(2)), Watch::First);
    0
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn second_raw_tp(ctx: RawTracePointContext) -> i32 {
    tracepoint::<Copied>(ctx.as_ptr(), (ctx.arg(0), ctx.arg(1), ctx.arg(2)), Watch::Second);
    0
}

#[fentry(function = "tcp_set_state")]
fn state_fentry(ctx: FEntryContext) -> i32 {
    function::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), Watch::First);
    0
}

#[fentry(function = "tcp_set_state")]
fn second_fentry(ctx: FEntryContext) -> i32 {
    function::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), Watch::Second);
    0
}

#[kprobe(function = "tcp_set_state")]
fn state_kprobe(ctx: ProbeContext) -> u32 {
    let Some(sk) = ctx.arg::<Base>(0) else { return 0 };
    let Some(new) = ctx.arg::<i32>(1) else { return 0 };
    function::<Copied>(ctx.as_ptr(), sk, new, Watch::First);
    0
}

/// `inet_sock_set_state(sk, old, new)`.
#[inline(always)]
fn tracepoint<F: Fields>(ctx: *mut c_void, (sk, old, new): (Base, i32, i32), watch: Watch) {
    watched::<F>(ctx, sk, (old as u32, new as u32), watch);
}

/// `tcp_set_state(sk, new)`, before it does so.
#[inline(always)]
fn function<F: Fields>(ctx: *mut c_void, sk: Base, new: i32, watch: Watch) {
    // SAFETY: `sk` is the socket of the hooked function.
    let old: u8 = unsafe { field::<F, _>(sk, global!(OFFSETS.state)) };
    watched::<F>(ctx, sk, (u32::from(old), new as u32), watch);
}

/// A change that two programs see.
#[inline(always)]
fn watched<F: Fields>(ctx: *mut c_void, sk: Base, (old, new): (u32, u32), watch: Watch) {
    pair::once(sk, (old, new), watch, |time_ns| {
        if watch == Watch::Second
            && let Some(counters) = Counters::of_this_cpu()
        {
            counters.raise(COUNTER_CAUGHT);
        }
        state_change::<F>(ctx, sk, (old, new), time_ns);
    });
}

/// The body they share: filter, count, then report.
#[inline(always)]
pub(super) fn state_change<F: Fields>(
    ctx: *mut c_void,
    sk: Base,
    (old, new): (u32, u32),
    time_ns: u64,
) {
    let Some(counters) = Counters::of_this_cpu() else { return };
    // SAFETY: `sk` is the live socket of the hook.
    let (netns, protocol): (u32, u16) =
        unsafe { (netns::of::<F>(sk), field::<F, _>(sk, global!(OFFSETS.protocol))) };
    if !netns::is_traced(netns) {
        counters.raise(COUNTER_FILTERED);
        return;
    }
    if protocol == IPPROTO_MPTCP {
        // A parent is no connection on the wire: its subflows are, and are counted.
        counters.raise(COUNTER_MPTCP);
    } else {
        counters.raise_transition(old, new);
    }
    if old >= STATE_SLOTS as u32 || new >= STATE_SLOTS as u32 {
        counters.raise(COUNTER_STRANGE_STATE);
        note::strange_state(ctx, old, new);
    }
    // A newborn child is given the cookie it keeps only after this change.
    let newborn = old == TCP_LISTEN && new == TCP_SYN_RECV;
    let change = Change {
        time_ns,
        old_state: old as u8,
        new_state: new as u8,
        netns,
        protocol,
        with_cookie: !newborn,
    };
    // SAFETY: `sk` is the live socket of the hook.
    if unsafe { fold::change::<F>(ctx, sk, &change, &counters) } {
        return;
    }
    let mut record = MaybeUninit::uninit();
    // SAFETY: the record is ours, `sk` is the live socket of the hook, and all of it is written.
    let record = unsafe {
        record::write::<F>(record.as_mut_ptr(), sk, &change);
        record.assume_init_ref()
    };
    emit(ctx, record);
    if old == TCP_CLOSE && new == TCP_SYN_SENT {
        // SAFETY: as above; only connect() makes this change, in the context of its caller.
        unsafe { stack::report::<F>(ctx, sk, STACK_CONNECT, time_ns, netns) };
    }
}
