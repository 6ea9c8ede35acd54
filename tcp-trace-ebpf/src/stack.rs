//! User stacks, where somebody has asked for them: else all of this is pruned by the verifier.
//!
//! A stack is copied out whole. The kernel's own map of stacks gives them numbers, but a bucket of it
//! is never free again: programs that come and go would fill it, and what collides is lost.

use core::{
    ffi::c_void,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::helpers::generated;
use tcp_trace_common::{
    KIND_STACK, STACK_BUSY, STACK_FAILED, STACK_LEFT_OUT, STACK_NONE, STACK_RECORD_LEN,
    STACK_TAKEN, StackRecord, VALID_COOKIE, VALID_TOP,
};

use crate::{
    counter,
    emit::emit,
    field::{Base, Copied, Fields, field},
    life::process_started,
    maps::{STACK, Stack, global},
    record::put,
};

/// `BPF_F_USER_STACK`.
const USER_STACK: u64 = 1 << 8;
/// `EFAULT`, which the helper answers where there is no such stack.
const EFAULT: i64 = 14;
/// What a kernel with FRED leaves free above the user's registers (`TOP_OF_KERNEL_STACK_PADDING`).
const FRED_PADDING: u64 = 16;

/// Reports the stack of the process that makes `call` on `sk` now.
///
/// # Safety
/// `sk` points to a live `struct sock`, and the hook runs in the context of the calling process.
#[inline(always)]
pub(crate) unsafe fn report<F: Fields>(
    ctx: *mut c_void,
    sk: Base,
    call: u16,
    time_ns: u64,
    netns: u32,
) {
    if global!(SETTINGS.stacks) == 0 || !is_wanted() {
        return;
    }
    let every = global!(SETTINGS.stack_every);
    // SAFETY: takes nothing.
    if every > 1 && unsafe { generated::bpf_get_prandom_u32() } as u32 % every != 0 {
        counter::stack(STACK_LEFT_OUT);
        return;
    }
    let Some(slot) = STACK.get_ptr_mut(0) else { return };
    // SAFETY: the slot is this CPU's. Volatile, because whoever preempts this run reads it.
    unsafe {
        let taken = &raw mut (*slot).taken;
        if read_volatile(taken) != 0 {
            counter::stack(STACK_BUSY);
            return;
        }
        write_volatile(taken, 1);
        let record = &raw mut (*slot).record;
        put!(record.call = call);
        put!(record.time_ns = time_ns);
        put!(record.netns = netns);
        let cookie = field::<F, u64>(sk, global!(OFFSETS.cookie));
        put!(record.cookie = cookie);
        put!(record.sk = sk as u64);
        put!(record.valid = if cookie == 0 { 0 } else { VALID_COOKIE });
        copy(ctx, slot);
        write_volatile(taken, 0);
    }
}

/// Whether the calling process is among those whose stacks are wanted.
#[inline(always)]
fn is_wanted() -> bool {
    if global!(SETTINGS.stack_pids[0]) == 0 && global!(SETTINGS.stack_names[0]) == 0 {
        return true;
    }
    // SAFETY: takes nothing.
    let pid = (unsafe { generated::bpf_get_current_pid_tgid() } >> 32) as u32;
    if pid == global!(SETTINGS.stack_pids[0])
        || pid == global!(SETTINGS.stack_pids[1])
        || pid == global!(SETTINGS.stack_pids[2])
        || pid == global!(SETTINGS.stack_pids[3])
    {
        return true;
    }
    let mut name = [0u64; 2];
    // SAFETY: the buffer is as long as stated.
    if unsafe { generated::bpf_get_current_comm((&raw mut name).cast(), 16) } != 0 {
        return false;
    }
    // An unused place is all zero, which no name is.
    name[0] != 0
        && (name[0] == global!(SETTINGS.stack_names[0])
            && name[1] == global!(SETTINGS.stack_names[1])
            || name[0] == global!(SETTINGS.stack_names[2])
                && name[1] == global!(SETTINGS.stack_names[3])
            || name[0] == global!(SETTINGS.stack_names[4])
                && name[1] == global!(SETTINGS.stack_names[5])
            || name[0] == global!(SETTINGS.stack_names[6])
                && name[1] == global!(SETTINGS.stack_names[7]))
}

/// Writes the rest of the record, and sends it.
///
/// # Safety
/// `slot` is this CPU's, and nobody else's for now.
#[inline(always)]
unsafe fn copy(ctx: *mut c_void, slot: *mut Stack) {
    // SAFETY: the caller's promise; each buffer is as long as stated.
    unsafe {
        let record = &raw mut (*slot).record;
        let frames: *mut c_void = (&raw mut (*record).frames).cast();
        let size = size_of_val(&(*record).frames) as u32;
        let bytes = generated::bpf_get_stack(ctx, frames, size, USER_STACK);
        if bytes <= 0 {
            let none = bytes == 0 || bytes == -EFAULT;
            counter::stack(if none { STACK_NONE } else { STACK_FAILED });
            return;
        }
        put!(record.kind = KIND_STACK);
        put!(record.len = STACK_RECORD_LEN as u16);
        put!(record.bytes = bytes as u32);
        let id = generated::bpf_get_current_pid_tgid();
        put!(record.pid = (id >> 32) as u32);
        put!(record.tid = id as u32);
        put!(record.process_started_ns = process_started());
        // The helper clears the name where it fails.
        generated::bpf_get_current_comm((&raw mut (*record).comm).cast(), 16);
        top(record);
        counter::stack(STACK_TAKEN);
        emit(ctx, &*record);
    }
}

/// Copies the words at the stack pointer. Where the user's registers lie follows from the size of a
/// kernel stack; that it is them is seen by the instruction pointer.
///
/// # Safety
/// The record's stack was taken just now.
#[inline(always)]
unsafe fn top(record: *mut StackRecord) {
    if global!(SETTINGS.regs_at) == 0 || global!(SETTINGS.read_kernel) == 0 {
        return;
    }
    // SAFETY: `current` is a live task with a kernel stack; what is copied from the user is copied
    // with care for faults.
    unsafe {
        let task = generated::bpf_get_current_task() as Base;
        let stack: u64 = Copied::load(task, global!(SETTINGS.task_stack) as u16);
        let ip = read_volatile((&raw const (*record).frames).cast::<u64>());
        let mut regs = stack + u64::from(global!(SETTINGS.regs_at));
        if register(regs, global!(SETTINGS.regs_ip)) != ip {
            regs -= FRED_PADDING;
            if register(regs, global!(SETTINGS.regs_ip)) != ip {
                return;
            }
        }
        let sp = register(regs, global!(SETTINGS.regs_sp));
        let to: *mut c_void = (&raw mut (*record).top).cast();
        let size = size_of_val(&(*record).top) as u32;
        if generated::bpf_probe_read_user(to, size, sp as *const c_void) == 0 {
            put!(record.valid = (*record).valid | VALID_TOP);
        }
    }
}

/// A saved register.
///
/// # Safety
/// `regs` points into the kernel stack of `current`.
#[inline(always)]
unsafe fn register(regs: u64, offset: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { Copied::load(regs as Base, offset as u16) }
}
