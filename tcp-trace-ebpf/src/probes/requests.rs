//! Half-open connections: a SYN has come, the handshake's last ACK has not.
//!
//! | program | hook | tells |
//! |---|---|---|
//! | `request_fentry`, `request_kprobe` | `inet_csk_reqsk_queue_hash_add` | a SYN made a request socket |
//! | `synack_tp_btf`, `synack_raw_tp` | tracepoint `tcp_retransmit_synack` (4.16) | its SYN-ACK goes out again |
//!
//! A request's end has no hook that every kernel keeps: the daemon sees the child's birth, or lets
//! the request expire as the kernel does. A SYN answered with a cookie makes no request at all.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use tcp_trace_common::{
    COUNTER_REQUESTS, COUNTER_SYNACK_RETRANSMITS, KIND_REQUEST, KIND_SYNACK_RETRANSMIT,
};

use crate::{
    counter::Counters,
    field::{Base, Copied, Direct, Fields, field},
    life::{self, Moment, Who},
    maps::global,
    netns,
};

/// `TCP_NEW_SYN_RECV` of the kernel's `tcp_states.h`.
const TCP_NEW_SYN_RECV: u8 = 12;

#[fentry(function = "inet_csk_reqsk_queue_hash_add")]
fn request_fentry(ctx: FEntryContext) -> i32 {
    request::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), KIND_REQUEST, COUNTER_REQUESTS);
    0
}

#[kprobe(function = "inet_csk_reqsk_queue_hash_add")]
fn request_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(listener), Some(req)) = (ctx.arg(0), ctx.arg(1)) else { return 0 };
    request::<Copied>(ctx.as_ptr(), listener, req, KIND_REQUEST, COUNTER_REQUESTS);
    0
}

#[btf_tracepoint(function = "tcp_retransmit_synack")]
fn synack_tp_btf(ctx: BtfTracePointContext) -> i32 {
    let (kind, counter) = (KIND_SYNACK_RETRANSMIT, COUNTER_SYNACK_RETRANSMITS);
    request::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), kind, counter);
    0
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
fn synack_raw_tp(ctx: RawTracePointContext) -> i32 {
    let (kind, counter) = (KIND_SYNACK_RETRANSMIT, COUNTER_SYNACK_RETRANSMITS);
    request::<Copied>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1), kind, counter);
    0
}

#[inline(always)]
fn request<F: Fields>(ctx: *mut c_void, listener: Base, req: Base, kind: u16, counter: usize) {
    // SAFETY: takes nothing and reads a clock.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    let Some(counters) = Counters::of_this_cpu() else { return };
    // SAFETY: the hook's own request is live, and begins with a `sock_common`.
    unsafe {
        let netns = netns::of::<F>(req);
        if !netns::is_traced(netns) {
            return;
        }
        counters.raise(counter);
        let moment = Moment {
            kind,
            time_ns,
            netns,
            old_state: TCP_NEW_SYN_RECV,
            new_state: TCP_NEW_SYN_RECV,
            value: i32::from(field::<F, u8>(req, global!(OFFSETS.request_retransmits))),
            other: listener as u64,
        };
        life::report::<F>(ctx, req, &moment, Who::Anybody);
    }
}
