//! `TIME_WAIT` as the kernel keeps it: a mini-socket that takes the connection over.
//!
//! | program | hook | tells |
//! |---|---|---|
//! | `time_wait_born_fentry`, `_kprobe` | `inet_twsk_hashdance` (from 6.11 `_schedule`) | birth |
//! | `time_wait_enter_fentry`, `_kprobe` | `tcp_timewait_state_process` | a segment for it |
//! | `time_wait_leave_fexit_3`, `_4`, `_5`, `_kretprobe` | its return | substate; why it is to end |
//! | `time_wait_reuse_fentry`, `_kprobe` | `tcp_twsk_unique` | a `connect()` wants its ports |
//! | `time_wait_ended_fentry`, `_kprobe` | `inet_twsk_kill` | end |
//! | `time_wait_refused_fexit`, `_kretprobe` | return of `inet_twsk_alloc` | none to be had |
//!
//! No state change tells any of this: the last one of the full socket says CLOSE. The number in a
//! name is how many arguments stand before the answer (three up to 6.9, then four, then five).
//!
//! Why a mini-socket ends is known on the CPU that ends it: each of these functions runs with
//! softirqs off, so what [`AT_WORK`] says was said by the very course that ends it, or is long over.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use tcp_trace_common::{
    ABSENT, COUNTER_TIME_WAIT_BORN, COUNTER_TIME_WAIT_BORN_FIN_WAIT2, COUNTER_TIME_WAIT_ENDED,
    COUNTER_TIME_WAIT_ENDED_FIN_WAIT2, COUNTER_TIME_WAIT_REFUSED, COUNTER_TIME_WAIT_SUBSTATE,
    KIND_TIME_WAIT_BORN, KIND_TIME_WAIT_ENDED, KIND_TIME_WAIT_REFUSED, KIND_TIME_WAIT_SUBSTATE,
    TIME_WAIT_END_EXPIRED, TIME_WAIT_END_KILLED, TIME_WAIT_END_RESET, TIME_WAIT_END_REUSED,
};

use crate::{
    counter::Counters,
    field::{Base, Copied, Direct, Fields, field},
    fold,
    life::{self, Moment, Who},
    maps::{AT_WORK, AtWork, global},
    netns,
};

/// `TCP_FIN_WAIT2` of the kernel's `tcp_states.h`.
const TCP_FIN_WAIT2: u8 = 5;
/// `TCP_TIME_WAIT`, likewise.
const TCP_TIME_WAIT: u8 = 6;
/// `TCP_TW_RST` of `enum tcp_tw_status`: answer with a RST and end it.
const TW_RST: i32 = 1;
/// `TCP_TW_SYN`: a SYN may take its place.
const TW_SYN: i32 = 3;

/// A segment is looked at; the mini-socket was in `FIN_WAIT2`.
const SEGMENT_IN_FIN_WAIT2: u64 = 1;
/// A segment is looked at; the mini-socket was in `TIME_WAIT`.
const SEGMENT_IN_TIME_WAIT: u64 = 2;
/// A new connection may take its place.
const REUSE: u64 = 3;
/// It is to end with a RST.
const RESET: u64 = 4;

/// Longest time from one of the above to the end it leads to.
const COURSE_NS: u64 = 10_000_000;

#[fentry(function = "inet_twsk_hashdance_schedule")]
fn time_wait_born_fentry(ctx: FEntryContext) -> i32 {
    born::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(1));
    0
}

#[kprobe(function = "inet_twsk_hashdance_schedule")]
fn time_wait_born_kprobe(ctx: ProbeContext) -> u32 {
    let (Some(mini), Some(sk)) = (ctx.arg(0), ctx.arg(1)) else { return 0 };
    born::<Copied>(ctx.as_ptr(), mini, sk);
    0
}

#[fentry(function = "tcp_timewait_state_process")]
fn time_wait_enter_fentry(ctx: FEntryContext) -> i32 {
    enter::<Direct>(ctx.arg(0));
    0
}

#[kprobe(function = "tcp_timewait_state_process")]
fn time_wait_enter_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(mini) = ctx.arg(0) {
        enter::<Copied>(mini);
    }
    0
}

#[fexit(function = "tcp_timewait_state_process")]
fn time_wait_leave_fexit_3(ctx: FExitContext) -> i32 {
    leave::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(3));
    0
}

#[fexit(function = "tcp_timewait_state_process")]
fn time_wait_leave_fexit_4(ctx: FExitContext) -> i32 {
    leave::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(4));
    0
}

#[fexit(function = "tcp_timewait_state_process")]
fn time_wait_leave_fexit_5(ctx: FExitContext) -> i32 {
    leave::<Direct>(ctx.as_ptr(), ctx.arg(0), ctx.arg(5));
    0
}

/// A return probe is told no argument; the entry has left the mini-socket's address.
#[kretprobe(function = "tcp_timewait_state_process")]
fn time_wait_leave_kretprobe(ctx: RetProbeContext) -> u32 {
    let Some(at_work) = at_work() else { return 0 };
    // SAFETY: this CPU's own slot.
    let mini = unsafe { (*at_work).mini } as Base;
    if !mini.is_null() {
        leave::<Copied>(ctx.as_ptr(), mini, ctx.ret());
    }
    0
}

#[fentry(function = "tcp_twsk_unique")]
fn time_wait_reuse_fentry(ctx: FEntryContext) -> i32 {
    begin(ctx.arg::<Base>(1), REUSE);
    0
}

#[kprobe(function = "tcp_twsk_unique")]
fn time_wait_reuse_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(mini) = ctx.arg::<Base>(1) {
        begin(mini, REUSE);
    }
    0
}

#[fentry(function = "inet_twsk_kill")]
fn time_wait_ended_fentry(ctx: FEntryContext) -> i32 {
    ended::<Direct>(ctx.as_ptr(), ctx.arg(0));
    0
}

#[kprobe(function = "inet_twsk_kill")]
fn time_wait_ended_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(mini) = ctx.arg(0) {
        ended::<Copied>(ctx.as_ptr(), mini);
    }
    0
}

/// `inet_twsk_alloc(sk, dr, state)`: its answer stands behind three arguments.
#[fexit(function = "inet_twsk_alloc")]
fn time_wait_refused_fexit(ctx: FExitContext) -> i32 {
    let (sk, answer): (Base, Base) = (ctx.arg(0), ctx.arg(3));
    if answer.is_null() {
        refused::<Direct>(ctx.as_ptr(), sk);
    }
    0
}

/// Whose it was a return probe is not told: only counted, whatever the filter says.
#[kretprobe(function = "inet_twsk_alloc")]
fn time_wait_refused_kretprobe(ctx: RetProbeContext) -> u32 {
    if ctx.ret::<Base>().is_null()
        && let Some(counters) = Counters::of_this_cpu()
    {
        counters.raise(COUNTER_TIME_WAIT_REFUSED);
    }
    0
}

#[inline(always)]
fn born<F: Fields>(ctx: *mut c_void, mini: Base, sk: Base) {
    // SAFETY: the hook's own mini-socket is live.
    let substate = unsafe { field::<F, u8>(mini, global!(OFFSETS.tw_substate)) };
    let counter = if substate == TCP_FIN_WAIT2 {
        COUNTER_TIME_WAIT_BORN_FIN_WAIT2
    } else {
        COUNTER_TIME_WAIT_BORN
    };
    // SAFETY: the full socket is live until its own end, which follows.
    unsafe { fold::unfold::<F>(ctx, sk, bpf_ktime_get_ns()) };
    report::<F>(ctx, mini, counter, KIND_TIME_WAIT_BORN, (substate, substate), 0, sk as u64);
}

#[inline(always)]
fn enter<F: Fields>(mini: Base) {
    // SAFETY: the hook's own mini-socket is live.
    let substate = unsafe { field::<F, u8>(mini, global!(OFFSETS.tw_substate)) };
    let course =
        if substate == TCP_FIN_WAIT2 { SEGMENT_IN_FIN_WAIT2 } else { SEGMENT_IN_TIME_WAIT };
    begin(mini, course);
}

#[inline(always)]
fn leave<F: Fields>(ctx: *mut c_void, mini: Base, answer: i32) {
    let Some(at_work) = at_work() else { return };
    // SAFETY: this CPU's own slot.
    let course = unsafe {
        if (*at_work).mini != mini as u64 {
            // It has been ended meanwhile.
            return;
        }
        (*at_work).course
    };
    match answer {
        TW_SYN => begin(mini, REUSE),
        TW_RST => begin(mini, RESET),
        // SAFETY: this CPU's own slot.
        _ => unsafe { (*at_work).mini = 0 },
    }
    // SAFETY: the hook's own mini-socket is live.
    let substate = unsafe { field::<F, u8>(mini, global!(OFFSETS.tw_substate)) };
    if course == SEGMENT_IN_FIN_WAIT2 && substate == TCP_TIME_WAIT {
        let substates = (TCP_FIN_WAIT2, TCP_TIME_WAIT);
        let counter = COUNTER_TIME_WAIT_SUBSTATE;
        report::<F>(ctx, mini, counter, KIND_TIME_WAIT_SUBSTATE, substates, 0, 0);
    }
}

#[inline(always)]
fn ended<F: Fields>(ctx: *mut c_void, mini: Base) {
    // SAFETY: the hook's own mini-socket is live.
    let substate = unsafe { field::<F, u8>(mini, global!(OFFSETS.tw_substate)) };
    let why = why_it_ends::<F>(mini);
    let first = if substate == TCP_FIN_WAIT2 {
        COUNTER_TIME_WAIT_ENDED_FIN_WAIT2
    } else {
        COUNTER_TIME_WAIT_ENDED
    };
    let counter = first + why as usize;
    report::<F>(ctx, mini, counter, KIND_TIME_WAIT_ENDED, (substate, substate), why, 0);
}

#[inline(always)]
fn why_it_ends<F: Fields>(mini: Base) -> i32 {
    if let Some(at_work) = at_work() {
        // SAFETY: this CPU's own slot; a clock is read.
        unsafe {
            let recent = bpf_ktime_get_ns().wrapping_sub((*at_work).since_ns) < COURSE_NS;
            if (*at_work).mini == mini as u64 && recent {
                let course = (*at_work).course;
                (*at_work).mini = 0;
                return if course == REUSE { TIME_WAIT_END_REUSED } else { TIME_WAIT_END_RESET };
            }
        }
    }
    if global!(OFFSETS.tw_expires) == ABSENT {
        return TIME_WAIT_END_EXPIRED;
    }
    // SAFETY: the hook's own mini-socket is live; a clock is read.
    let over = unsafe {
        let due: u64 = F::load(mini, global!(OFFSETS.tw_expires));
        bpf_jiffies64().wrapping_sub(due) as i64 >= 0
    };
    if over { TIME_WAIT_END_EXPIRED } else { TIME_WAIT_END_KILLED }
}

#[inline(always)]
fn refused<F: Fields>(ctx: *mut c_void, sk: Base) {
    // SAFETY: the hook's own socket is live.
    let state = unsafe { crate::ends::state::<F>(sk) };
    let counter = COUNTER_TIME_WAIT_REFUSED;
    // SAFETY: likewise.
    unsafe { fold::unfold::<F>(ctx, sk, bpf_ktime_get_ns()) };
    report::<F>(ctx, sk, counter, KIND_TIME_WAIT_REFUSED, (state, state), 0, 0);
}

/// This CPU's slot.
#[inline(always)]
fn at_work() -> Option<*mut AtWork> {
    AT_WORK.get_ptr_mut(0)
}

/// Notes that this CPU is about to do something to `mini`.
#[inline(always)]
fn begin(mini: Base, course: u64) {
    if let Some(at_work) = at_work() {
        // SAFETY: this CPU's own slot; a clock is read.
        unsafe {
            (*at_work).mini = mini as u64;
            (*at_work).since_ns = bpf_ktime_get_ns();
            (*at_work).course = course;
        }
    }
}

#[inline(always)]
fn report<F: Fields>(
    ctx: *mut c_void,
    sk: Base,
    counter: usize,
    kind: u16,
    (old_state, new_state): (u8, u8),
    value: i32,
    other: u64,
) {
    // SAFETY: a clock is read, and the hook's own socket is live.
    unsafe {
        let time_ns = bpf_ktime_get_ns();
        let netns = netns::of::<F>(sk);
        let Some(counters) = Counters::of_this_cpu() else { return };
        if !netns::is_traced(netns) {
            return;
        }
        counters.raise(counter);
        let moment = Moment { kind, time_ns, netns, old_state, new_state, value, other };
        life::report::<F>(ctx, sk, &moment, Who::Anybody);
    }
}
