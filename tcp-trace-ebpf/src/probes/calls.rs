//! The calls that make and end connections, in the context of the process that makes them.
//!
//! | program | hook | tells |
//! |---|---|---|
//! | `connect_fentry`, `connect_kprobe` | `tcp_connect` | who connects, both ends chosen |
//! | `accept_fexit_2`, `accept_fexit_4`, `accept_kretprobe` | return of `inet_csk_accept` | who accepts |
//! | `close_fentry`, `close_kprobe` | `tcp_close` | who lets go of the last descriptor |
//!
//! The number in a name is how many arguments stand before the answer: `inet_csk_accept` has four up
//! to 6.9 and two since 6.10. None of the three functions is ever inlined.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcp_trace_common::{
    COUNTER_ACCEPTS, COUNTER_CLOSES, COUNTER_CONNECTS, FOLD_ACCEPT, FOLD_CLOSE, FOLD_CLOSER,
    FOLD_CONNECT, FOLD_OPENER, KIND_ACCEPT, KIND_CLOSE, KIND_CONNECT, STACK_ACCEPT,
};

use super::state::TCP_CLOSE;
use crate::{
    counter::Counters,
    ends,
    field::{Base, Copied, Direct, Fields},
    fold,
    life::{self, Moment, Who},
    netns, stack,
};

#[fentry(function = "tcp_connect")]
fn connect_fentry(ctx: FEntryContext) -> i32 {
    call::<Direct>(ctx.as_ptr(), ctx.arg(0), KIND_CONNECT, COUNTER_CONNECTS);
    0
}

#[kprobe(function = "tcp_connect")]
fn connect_kprobe(ctx: ProbeContext) -> u32 {
    let Some(sk) = ctx.arg::<Base>(0) else { return 0 };
    call::<Copied>(ctx.as_ptr(), sk, KIND_CONNECT, COUNTER_CONNECTS);
    0
}

#[fexit(function = "inet_csk_accept")]
fn accept_fexit_2(ctx: FExitContext) -> i32 {
    call::<Direct>(ctx.as_ptr(), ctx.arg(2), KIND_ACCEPT, COUNTER_ACCEPTS);
    0
}

#[fexit(function = "inet_csk_accept")]
fn accept_fexit_4(ctx: FExitContext) -> i32 {
    call::<Direct>(ctx.as_ptr(), ctx.arg(4), KIND_ACCEPT, COUNTER_ACCEPTS);
    0
}

#[kretprobe(function = "inet_csk_accept")]
fn accept_kretprobe(ctx: RetProbeContext) -> u32 {
    call::<Copied>(ctx.as_ptr(), ctx.ret(), KIND_ACCEPT, COUNTER_ACCEPTS);
    0
}

#[fentry(function = "tcp_close")]
fn close_fentry(ctx: FEntryContext) -> i32 {
    call::<Direct>(ctx.as_ptr(), ctx.arg(0), KIND_CLOSE, COUNTER_CLOSES);
    0
}

#[kprobe(function = "tcp_close")]
fn close_kprobe(ctx: ProbeContext) -> u32 {
    let Some(sk) = ctx.arg::<Base>(0) else { return 0 };
    call::<Copied>(ctx.as_ptr(), sk, KIND_CLOSE, COUNTER_CLOSES);
    0
}

#[inline(always)]
fn call<F: Fields>(ctx: *mut c_void, sk: Base, kind: u16, counter: usize) {
    // SAFETY: takes nothing and reads a clock.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    // An accept() that found nothing answers null.
    if sk.is_null() {
        return;
    }
    // SAFETY: the hook's own socket is live.
    let netns = unsafe { netns::of::<F>(sk) };
    let Some(counters) = Counters::of_this_cpu() else { return };
    if !netns::is_traced(netns) {
        return;
    }
    counters.raise(counter);
    // SAFETY: likewise.
    unsafe {
        let state = ends::state::<F>(sk);
        if u32::from(state) == TCP_CLOSE && ends::remote_port::<F>(sk) == 0 {
            // It never was connected, so nobody knows it.
            return;
        }
        let noted = match kind {
            KIND_CONNECT => (FOLD_CONNECT, FOLD_OPENER),
            KIND_ACCEPT => (FOLD_ACCEPT, FOLD_OPENER),
            _ => (FOLD_CLOSE, FOLD_CLOSER),
        };
        if fold::call::<F>(ctx, sk, noted, time_ns) {
            return;
        }
        let moment =
            Moment { kind, time_ns, netns, old_state: state, new_state: state, value: 0, other: 0 };
        life::report::<F>(ctx, sk, &moment, Who::Current);
        // The stack of connect() is taken where the state changes, which every backend sees.
        if kind == KIND_ACCEPT {
            stack::report::<F>(ctx, sk, STACK_ACCEPT, time_ns, netns);
        }
    }
}
