//! The births that `tcp_set_state()` does not make, for the backends that hook it.
//!
//! | program | hook | stands for |
//! |---|---|---|
//! | `listen_fentry`, `listen_kprobe` | `inet_csk_listen_start` | CLOSE to LISTEN |
//! | `child_fexit`, `child_kretprobe` | return of `inet_csk_clone_lock` | LISTEN to SYN_RECV |
//!
//! Both functions are in every kernel since 4.18 and never inlined. A `listen()` that fails in its
//! last step (another socket took the port meanwhile) shows all the same, until the next snapshot.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};

use super::state::{TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV, state_change};
use crate::field::{Base, Copied, Direct, Fields};

#[fentry(function = "inet_csk_listen_start")]
fn listen_fentry(ctx: FEntryContext) -> i32 {
    birth::<Direct>(ctx.as_ptr(), ctx.arg(0), (TCP_CLOSE, TCP_LISTEN));
    0
}

#[kprobe(function = "inet_csk_listen_start")]
fn listen_kprobe(ctx: ProbeContext) -> u32 {
    let Some(sk) = ctx.arg::<Base>(0) else { return 0 };
    birth::<Copied>(ctx.as_ptr(), sk, (TCP_CLOSE, TCP_LISTEN));
    0
}

/// `inet_csk_clone_lock(sk, req, priority)`: its answer stands behind three arguments.
#[fexit(function = "inet_csk_clone_lock")]
fn child_fexit(ctx: FExitContext) -> i32 {
    child::<Direct>(ctx.as_ptr(), ctx.arg(3));
    0
}

#[kretprobe(function = "inet_csk_clone_lock")]
fn child_kretprobe(ctx: RetProbeContext) -> u32 {
    child::<Copied>(ctx.as_ptr(), ctx.ret());
    0
}

#[inline(always)]
fn child<F: Fields>(ctx: *mut c_void, newborn: Base) {
    // Null where memory is short.
    if !newborn.is_null() {
        birth::<F>(ctx, newborn, (TCP_LISTEN, TCP_SYN_RECV));
    }
}

#[inline(always)]
fn birth<F: Fields>(ctx: *mut c_void, sk: Base, change: (u32, u32)) {
    // SAFETY: takes nothing and reads a clock.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    state_change::<F>(ctx, sk, change, time_ns);
}
