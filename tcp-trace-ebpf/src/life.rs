//! What is no state change, written down; stored field by field, as in `record`.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated;
use tcp_trace_common::{
    ABSENT, LIFE_RECORD_LEN, LifeRecord, VALID_COOKIE, VALID_CURRENT, VALID_NETNS,
};

use crate::{
    emit::emit,
    ends,
    field::{Base, Copied, Fields, field},
    maps::global,
    record::put,
};

/// What a hook itself knows of a moment.
pub(crate) struct Moment {
    /// `KIND_*`.
    pub(crate) kind: u16,
    /// At the hook's entry.
    pub(crate) time_ns: u64,
    /// Inode of the socket's namespace.
    pub(crate) netns: u32,
    /// State (of a mini-socket: substate) before.
    pub(crate) old_state: u8,
    /// State (of a mini-socket: substate) after.
    pub(crate) new_state: u8,
    /// By kind.
    pub(crate) value: i32,
    /// By kind.
    pub(crate) other: u64,
}

/// Whether `current` is to be read: only where the hook runs in process context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Softirq, or whoever was interrupted.
    Anybody,
    /// The process itself.
    Current,
}

/// Sends a record of `moment` in the life of `sk`, which may be a full socket, a mini-socket or a
/// request.
///
/// # Safety
/// `sk` points to a live structure that begins with a `sock_common`.
#[inline(always)]
pub(crate) unsafe fn report<F: Fields>(ctx: *mut c_void, sk: Base, moment: &Moment, who: Who) {
    let mut record = MaybeUninit::uninit();
    // SAFETY: the record is ours, and all of it is written.
    let record = unsafe {
        write::<F>(record.as_mut_ptr(), sk, moment, who);
        record.assume_init_ref()
    };
    emit(ctx, record);
}

#[inline(always)]
unsafe fn write<F: Fields>(record: *mut LifeRecord, sk: Base, moment: &Moment, who: Who) {
    let mut valid = 0;
    if global!(OFFSETS.net) != ABSENT {
        valid |= VALID_NETNS;
    }
    // SAFETY: the caller's promise; the offsets are those of the running kernel.
    unsafe {
        put!(record.kind = moment.kind);
        put!(record.len = LIFE_RECORD_LEN as u16);
        put!(record.protocol = IPPROTO_TCP);
        put!(record.time_ns = moment.time_ns);
        let cookie = field::<F, u64>(sk, global!(OFFSETS.cookie));
        if cookie != 0 {
            valid |= VALID_COOKIE;
        }
        put!(record.cookie = cookie);
        put!(record.sk = sk as u64);
        ends::addresses::<F>(
            (&raw mut (*record).local_addr).cast(),
            (&raw mut (*record).remote_addr).cast(),
            sk,
        );
        put!(record.local_port = ends::local_port::<F>(sk));
        put!(record.remote_port = ends::remote_port::<F>(sk));
        put!(record.family = ends::family::<F>(sk));
        put!(record.old_state = moment.old_state);
        put!(record.new_state = moment.new_state);
        put!(record.netns = moment.netns);
        put!(record.value = moment.value);
        put!(record.other = moment.other);
        valid |= match who {
            Who::Anybody => nobody(record),
            Who::Current => current(record),
        };
        put!(record.valid = valid);
    }
}

/// `IPPROTO_TCP`.
const IPPROTO_TCP: u16 = 6;

#[inline(always)]
unsafe fn nobody(record: *mut LifeRecord) -> u16 {
    // SAFETY: the caller's promise.
    unsafe {
        put!(record.cgroup = 0);
        put!(record.process_started_ns = 0);
        put!(record.pid = 0);
        put!(record.tid = 0);
        put!(record.comm = [0; 2]);
    }
    0
}

/// The calling thread, its process's beginning and its cgroup.
#[inline(always)]
unsafe fn current(record: *mut LifeRecord) -> u16 {
    // SAFETY: the caller's promise; the buffer is as long as stated.
    unsafe {
        let id = generated::bpf_get_current_pid_tgid();
        put!(record.pid = (id >> 32) as u32);
        put!(record.tid = id as u32);
        put!(record.cgroup = generated::bpf_get_current_cgroup_id());
        put!(record.process_started_ns = process_started());
        let name = (&raw mut (*record).comm).cast();
        if generated::bpf_get_current_comm(name, 16) == 0 { VALID_CURRENT } else { 0 }
    }
}

/// When the process of `current` began. Its `task_struct` comes without a type, so it is copied
/// from whatever the program's own way of reading is.
///
/// # Safety
/// The hook runs in process context.
#[inline(always)]
pub(crate) unsafe fn process_started() -> u64 {
    if global!(SETTINGS.read_kernel) == 0
        || global!(OFFSETS.group_leader) == ABSENT
        || global!(OFFSETS.start_boottime) == ABSENT
    {
        return 0;
    }
    // SAFETY: `current` is a live task, and so is its group's leader.
    unsafe {
        let task = generated::bpf_get_current_task() as Base;
        let leader: usize = Copied::load(task, global!(OFFSETS.group_leader));
        Copied::load(leader as Base, global!(OFFSETS.start_boottime))
    }
}
