//! Short connections told in one record.
//!
//! While the daemon orders it, a connection that is born gets a place in which its steps are noted,
//! and its record leaves at its end. What has grown older than the order allows, or has more steps
//! than a record holds, is told at its next step, and step by step from there on; so is whatever was
//! born before the order. The daemon reads the places itself, and tells of those that stay.
//!
//! A place is found by the address of the socket, in a pair that its hash chooses. Two births on two
//! CPUs may take the same place in the same instant: the one that loses it is told step by step
//! without its birth, as after a loss. The machine has no way to exclude that before 5.12.

use core::{
    arch::asm,
    ffi::c_void,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::helpers::generated;
use tcp_trace_common::{
    COUNTER_FOLD_NO_ROOM, COUNTER_FOLDED, COUNTER_UNFOLDED, FOLD_CLOSER, FOLD_CONNECT, FOLD_OFF,
    FOLD_ON, FOLD_OPENER, FOLD_ROOM, FOLD_STEPS, FOLDED_RECORD_LEN, FoldCaller, FoldOrder,
    FoldStep, FoldedRecord, KIND_FOLDED, fold_code,
};

use crate::{
    counter::Counters,
    emit::emit,
    ends,
    field::{Base, Fields, field},
    life,
    maps::{ADDRESS, FOLD_ORDER, FOLDED, global},
    netns,
    record::{self, Change, put},
};

/// States of the kernel's `tcp_states.h`.
const TCP_SYN_SENT: u8 = 2;
const TCP_SYN_RECV: u8 = 3;
const TCP_FIN_WAIT1: u8 = 4;
const TCP_CLOSE: u8 = 7;
const TCP_LAST_ACK: u8 = 9;
const TCP_LISTEN: u8 = 10;

/// `IPPROTO_TCP`.
const IPPROTO_TCP: u16 = 6;

/// Whether connections that are born are folded.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    order().is_some_and(|order| order.mode == FOLD_ON)
}

/// The daemon's order, where there is anything to do.
#[inline(always)]
fn order() -> Option<FoldOrder> {
    let order = FOLD_ORDER.get_ptr(0)?;
    // SAFETY: an aligned place in a map. Volatile, because the daemon writes to it.
    let order = unsafe { read_volatile(order) };
    (order.mode != FOLD_OFF).then_some(order)
}

/// Notes a state change of `sk` where the connection is folded, or is to be. False where it is to be
/// reported as ever.
///
/// # Safety
/// `sk` points to a live `struct sock`.
#[inline(always)]
pub(crate) unsafe fn change<F: Fields>(
    ctx: *mut c_void,
    sk: Base,
    change: &Change,
    counters: &Counters,
) -> bool {
    let Some(order) = order() else { return false };
    let (old, new) = (change.old_state, change.new_state);
    let connects = old == TCP_CLOSE && new == TCP_SYN_SENT;
    let newborn = connects || old == TCP_LISTEN && new == TCP_SYN_RECV;
    // SAFETY: the caller's promise, here and below.
    unsafe {
        if newborn {
            // A stack is told of a connection that is known.
            if order.mode != FOLD_ON || change.protocol != IPPROTO_TCP {
                return false;
            }
            if connects && global!(SETTINGS.stacks) != 0 {
                return false;
            }
            let Some(place) = take_place(sk) else {
                counters.raise(COUNTER_FOLD_NO_ROOM);
                return false;
            };
            record::identify::<F>(&raw mut (*place).state, sk, change);
            note_change::<F>(place, sk, change);
            if connects {
                current(place, FOLD_OPENER);
            }
            return true;
        }
        let Some(place) = find(sk) else { return false };
        let fits = may_go_on(place, &order, change.time_ns);
        if fits {
            note_change::<F>(place, sk, change);
            if new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK {
                current(place, FOLD_CLOSER);
            }
            if new != TCP_CLOSE {
                if old == TCP_SYN_SENT || old == TCP_SYN_RECV {
                    // Both ends are chosen by now, and a child has its cookie.
                    record::identify::<F>(&raw mut (*place).state, sk, change);
                }
                return true;
            }
        }
        counters.raise(if fits { COUNTER_FOLDED } else { COUNTER_UNFOLDED });
        finish::<F>(ctx, place, sk, change);
        fits
    }
}

/// Notes a call into `sk` where the connection is folded. False where it is to be reported as ever.
///
/// # Safety
/// `sk` points to a live `struct sock`, in the context of the caller.
#[inline(always)]
pub(crate) unsafe fn call<F: Fields>(
    ctx: *mut c_void,
    sk: Base,
    (code, which): (u8, usize),
    time_ns: u64,
) -> bool {
    let Some(order) = order() else { return false };
    // SAFETY: the caller's promise.
    unsafe {
        let Some(place) = find(sk) else { return false };
        if may_go_on(place, &order, time_ns) {
            let step =
                FoldStep { time_ns, error: 0, code, sock_flags: 0, shutdown: 0, reserved: 0 };
            note(place, step);
            current(place, which);
            let caller = (&raw mut (*place).callers).cast::<FoldCaller>().add(which);
            put!(caller.cgroup = generated::bpf_get_current_cgroup_id());
            put!(caller.process_started_ns = life::process_started());
            // Both ends are chosen before the SYN goes out; of a Fast Open child, when it is accepted.
            if code == FOLD_CONNECT || ends::state::<F>(sk) == TCP_SYN_RECV {
                let state = &raw mut (*place).state;
                let change = Change {
                    time_ns,
                    old_state: 0,
                    new_state: 0,
                    netns: (*state).netns,
                    protocol: IPPROTO_TCP,
                    with_cookie: true,
                };
                record::identify::<F>(state, sk, &change);
            }
            return true;
        }
        tell::<F>(ctx, place, sk, time_ns);
        false
    }
}

/// Whether `sk` is folded.
#[inline(always)]
pub(crate) fn holds(sk: Base) -> bool {
    // SAFETY: the address is only compared.
    unsafe { find(sk).is_some() }
}

/// Tells what is noted of `sk`, if anything is: what comes now is told for itself, and so is all that
/// follows.
///
/// # Safety
/// `sk` points to a live `struct sock`.
#[inline(always)]
pub(crate) unsafe fn unfold<F: Fields>(ctx: *mut c_void, sk: Base, time_ns: u64) {
    if order().is_none() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(place) = find(sk) {
            tell::<F>(ctx, place, sk, time_ns);
        }
    }
}

#[inline(always)]
unsafe fn tell<F: Fields>(ctx: *mut c_void, place: *mut FoldedRecord, sk: Base, time_ns: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let state = ends::state::<F>(sk);
        let change = Change {
            // Before what is told next.
            time_ns: time_ns - 1,
            old_state: state,
            new_state: state,
            netns: netns::of::<F>(sk),
            protocol: IPPROTO_TCP,
            with_cookie: true,
        };
        if let Some(counters) = Counters::of_this_cpu() {
            counters.raise(COUNTER_UNFOLDED);
        }
        finish::<F>(ctx, place, sk, &change);
    }
}

/// Whether there is time and room for another step.
#[inline(always)]
unsafe fn may_go_on(place: *mut FoldedRecord, order: &FoldOrder, time_ns: u64) -> bool {
    // SAFETY: a place in the map.
    let (since_ns, count) =
        unsafe { ((*place).steps[0].time_ns, read_volatile(&raw const (*place).count)) };
    order.mode == FOLD_ON
        && time_ns.wrapping_sub(since_ns) <= order.longest_ns
        && count < FOLD_STEPS as u32
}

/// The first of the two places that `sk` may have. A typed pointer may not be calculated with: it
/// becomes a number on its way through a map. Whoever comes in between is found out.
#[inline(always)]
fn first_place(sk: Base) -> Option<u32> {
    let through = ADDRESS.get_ptr_mut(0)?;
    // SAFETY: this CPU's own place, aligned.
    let address = unsafe {
        write_volatile(through, sk as u64);
        read_volatile(through)
    };
    let mut hash = address;
    // SAFETY: only the register changes. Spelled out, because the compiler would take the pointer
    // in place of the number that it is compared with.
    unsafe { asm!("{0} *= {1}", inout(reg) hash, in(reg) 0x9e37_79b9_7f4a_7c15_u64) };
    if address != sk as u64 {
        return None;
    }
    Some((hash >> 40) as u32 & (FOLD_ROOM - 2))
}

/// Whose a place is; 0: nobody's.
#[inline(always)]
unsafe fn holder(place: *mut FoldedRecord) -> u64 {
    // SAFETY: a place in the map. Volatile, because other CPUs write to it.
    unsafe { read_volatile(&raw const (*place).state.sk) }
}

/// The place of a folded connection.
#[inline(always)]
unsafe fn find(sk: Base) -> Option<*mut FoldedRecord> {
    let first = first_place(sk)?;
    // SAFETY: places in the map.
    unsafe {
        let place = FOLDED.get_ptr_mut(first)?;
        if holder(place) == sk as u64 {
            return Some(place);
        }
        let place = FOLDED.get_ptr_mut(first + 1)?;
        (holder(place) == sk as u64).then_some(place)
    }
}

/// A place for a connection that is born: the one of its address's last life, whose end was not seen,
/// or a free one.
#[inline(always)]
unsafe fn take_place(sk: Base) -> Option<*mut FoldedRecord> {
    let first = first_place(sk)?;
    // SAFETY: places in the map.
    unsafe {
        let mut place = FOLDED.get_ptr_mut(first)?;
        let other = FOLDED.get_ptr_mut(first + 1)?;
        let (mine, theirs) = (holder(place), holder(other));
        if mine != sk as u64 && (theirs == sk as u64 || mine != 0) {
            if theirs != sk as u64 && theirs != 0 {
                return None;
            }
            place = other;
        }
        let state = &raw mut (*place).state;
        write_volatile(&raw mut (*state).sk, sk as u64);
        write_volatile(&raw mut (*place).count, 0);
        put!(place.unfinished = 0);
        put!(state.kind = KIND_FOLDED);
        put!(state.len = FOLDED_RECORD_LEN as u16);
        nobody(place, FOLD_OPENER);
        nobody(place, FOLD_CLOSER);
        Some(place)
    }
}

#[inline(always)]
unsafe fn nobody(place: *mut FoldedRecord, which: usize) {
    // SAFETY: a place in the map, and one of its two callers.
    unsafe {
        let caller = (&raw mut (*place).callers).cast::<FoldCaller>().add(which);
        put!(caller.cgroup = 0);
        put!(caller.process_started_ns = 0);
        put!(caller.pid = 0);
        put!(caller.tid = 0);
    }
}

#[inline(always)]
unsafe fn note_change<F: Fields>(place: *mut FoldedRecord, sk: Base, change: &Change) {
    // SAFETY: the caller's promise.
    unsafe {
        let step = FoldStep {
            time_ns: change.time_ns,
            error: field::<F, i32>(sk, global!(OFFSETS.err)),
            code: fold_code(change.old_state, change.new_state),
            sock_flags: record::flag_bits::<F>(sk),
            shutdown: field::<F, u8>(sk, global!(OFFSETS.shutdown)),
            reserved: 0,
        };
        note(place, step);
    }
}

#[inline(always)]
unsafe fn note(place: *mut FoldedRecord, step: FoldStep) {
    // SAFETY: a place in the map; the number is bounded before it is used.
    unsafe {
        let count = read_volatile(&raw const (*place).count);
        if count < FOLD_STEPS as u32 {
            (&raw mut (*place).steps).cast::<FoldStep>().add(count as usize).write(step);
            write_volatile(&raw mut (*place).count, count + 1);
        }
    }
}

/// Sends what is noted, and gives the place back.
#[inline(always)]
unsafe fn finish<F: Fields>(ctx: *mut c_void, place: *mut FoldedRecord, sk: Base, change: &Change) {
    // SAFETY: the caller's promise.
    unsafe {
        record::update::<F>(&raw mut (*place).state, sk, change);
        emit(ctx, &*place);
        write_volatile(&raw mut (*place).state.sk, 0);
    }
}

/// The calling thread: only where the step runs in process context.
#[inline(always)]
unsafe fn current(place: *mut FoldedRecord, which: usize) {
    // SAFETY: a place in the map, and one of its two callers; the buffer is as long as stated.
    unsafe {
        let caller = (&raw mut (*place).callers).cast::<FoldCaller>().add(which);
        let id = generated::bpf_get_current_pid_tgid();
        put!(caller.pid = (id >> 32) as u32);
        put!(caller.tid = id as u32);
        generated::bpf_get_current_comm((&raw mut (*caller).comm).cast(), 16);
    }
}
