//! A socket, written down.
//!
//! Each field is stored as soon as it is read: a record built as one value would pass through the
//! stack twice, and the compiler would clear it byte by byte.

use aya_ebpf::helpers::generated;
use tcp_trace_common::{
    ABSENT, KIND_STATE, SOCK_ATTACHED, SOCK_FLAG_DEAD, SOCK_FLAG_FIN_RECEIVED, SOCK_FLAG_SUBFLOW,
    STATE_RECORD_LEN, StateRecord, VALID_COOKIE, VALID_CURRENT, VALID_FLAGS, VALID_NETNS,
    VALID_TCP,
};

use crate::{
    ends,
    field::{Base, Fields, field},
    maps::global,
};

/// What the hook itself knows of a change.
pub(crate) struct Change {
    pub(crate) time_ns: u64,
    pub(crate) old_state: u8,
    pub(crate) new_state: u8,
    pub(crate) netns: u32,
    /// `sk_protocol`.
    pub(crate) protocol: u16,
    /// Whether to ask for the cookie, which makes the kernel choose one.
    pub(crate) with_cookie: bool,
}

/// Stores one field of a record.
macro_rules! put {
    ($record:ident . $member:ident = $value:expr) => {
        (&raw mut (*$record).$member).write($value)
    };
}
pub(crate) use put;

/// Writes all of `record`: the change, and what can be read off `sk`.
///
/// # Safety
/// `record` is valid for writes, `sk` points to a live `struct sock`.
#[inline(always)]
pub(crate) unsafe fn write<F: Fields>(record: *mut StateRecord, sk: Base, change: &Change) {
    // SAFETY: the caller's promise.
    unsafe {
        put!(record.kind = KIND_STATE);
        put!(record.len = STATE_RECORD_LEN as u16);
        identify::<F>(record, sk, change);
        update::<F>(record, sk, change);
    }
}

/// Writes whose change it is; all but the kind and what [`update`] writes.
///
/// # Safety
/// As for [`write`].
#[inline(always)]
pub(crate) unsafe fn identify<F: Fields>(record: *mut StateRecord, sk: Base, change: &Change) {
    let mut valid = 0;
    if global!(OFFSETS.net) != ABSENT {
        valid |= VALID_NETNS;
    }
    // SAFETY: the caller's promise.
    unsafe {
        put!(record.sk = sk as u64);
        put!(record.netns = change.netns);
        put!(record.reserved = 0);
        put!(record.reserved_too = 0);
        put!(record.protocol = change.protocol);
        common::<F>(record, sk);
        valid |= cookie::<F>(record, sk, change.with_cookie);
        if flags_known() {
            valid |= VALID_FLAGS;
        }
        put!(record.valid = valid);
    }
}

/// Writes what goes with each change: when, from where to where, and the socket's own figures.
///
/// # Safety
/// As for [`write`]; the record is identified.
#[inline(always)]
pub(crate) unsafe fn update<F: Fields>(record: *mut StateRecord, sk: Base, change: &Change) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut valid = (*record).valid;
        put!(record.time_ns = change.time_ns);
        put!(record.old_state = change.old_state);
        put!(record.new_state = change.new_state);
        put!(record.sk_err = field::<F, _>(sk, global!(OFFSETS.err)));
        put!(record.shutdown = field::<F, _>(sk, global!(OFFSETS.shutdown)));
        put!(record.sock_flags = flag_bits::<F>(sk));
        valid |= transfer::<F>(record, F::tcp_sock(sk, change.protocol));
        valid |= current(record);
        put!(record.valid = valid);
    }
}

/// What every `struct sock` has.
#[inline(always)]
unsafe fn common<F: Fields>(record: *mut StateRecord, sk: Base) {
    // SAFETY: the offsets are those of `struct sock` in the running kernel.
    unsafe {
        put!(record.family = ends::family::<F>(sk));
        ends::addresses::<F>(
            (&raw mut (*record).local_addr).cast(),
            (&raw mut (*record).remote_addr).cast(),
            sk,
        );
        put!(record.local_port = ends::local_port::<F>(sk));
        put!(record.remote_port = ends::remote_port::<F>(sk));
    }
}

#[inline(always)]
fn flags_known() -> bool {
    global!(OFFSETS.flags) != ABSENT && global!(OFFSETS.socket) != ABSENT
}

/// Attached, orphaned, FIN received: see `SOCK_*`; none where the kernel does not say.
///
/// # Safety
/// `sk` points to a live `struct sock`.
#[inline(always)]
pub(crate) unsafe fn flag_bits<F: Fields>(sk: Base) -> u8 {
    let mut flags = 0;
    if flags_known() {
        // SAFETY: the caller's promise.
        let (bits, socket) = unsafe {
            let bits = F::load::<u64>(sk, global!(OFFSETS.flags));
            (bits, F::load::<usize>(sk, global!(OFFSETS.socket)))
        };
        if socket != 0 {
            flags |= SOCK_ATTACHED;
        }
        if bits >> (global!(SETTINGS.dead_bit) & 63) & 1 != 0 {
            flags |= SOCK_FLAG_DEAD;
        }
        if bits >> (global!(SETTINGS.done_bit) & 63) & 1 != 0 {
            flags |= SOCK_FLAG_FIN_RECEIVED;
        }
    }
    flags
}

/// The cookie: most sockets have theirs already, and where this program may ask, the kernel makes one
/// for those that have none.
#[inline(always)]
unsafe fn cookie<F: Fields>(record: *mut StateRecord, sk: Base, wanted: bool) -> u16 {
    // SAFETY: the caller's promise; the helper takes the hook's own socket pointer.
    unsafe {
        let mut cookie = if wanted { field::<F, u64>(sk, global!(OFFSETS.cookie)) } else { 0 };
        if F::COOKIE_HELPER && wanted && cookie == 0 && global!(SETTINGS.cookie_helper) != 0 {
            cookie = generated::bpf_get_socket_cookie(sk.cast_mut().cast());
        }
        put!(record.cookie = cookie);
        if cookie == 0 { 0 } else { VALID_COOKIE }
    }
}

/// What only a `tcp_sock` has: its port, sequence numbers, bytes and timing.
#[inline(always)]
unsafe fn transfer<F: Fields>(record: *mut StateRecord, tcp: Base) -> u16 {
    // SAFETY: the offsets are those of `struct tcp_sock` in the running kernel.
    unsafe {
        if tcp.is_null() {
            put!(record.rcv_nxt = 0);
            put!(record.copied_seq = 0);
            put!(record.snd_una = 0);
            put!(record.write_seq = 0);
            put!(record.srtt_us_x8 = 0);
            put!(record.retransmits = 0);
            put!(record.bytes_acked = 0);
            put!(record.bytes_received = 0);
            return 0;
        }
        if (*record).local_port == 0 {
            let port = field::<F, u16>(tcp, global!(OFFSETS.local_sport));
            put!(record.local_port = u16::from_be(port));
        }
        if field::<F, u8>(tcp, global!(OFFSETS.is_mptcp)) != 0 {
            put!(record.sock_flags = (*record).sock_flags | SOCK_FLAG_SUBFLOW);
        }
        put!(record.rcv_nxt = field::<F, _>(tcp, global!(OFFSETS.rcv_nxt)));
        put!(record.copied_seq = field::<F, _>(tcp, global!(OFFSETS.copied_seq)));
        put!(record.snd_una = field::<F, _>(tcp, global!(OFFSETS.snd_una)));
        put!(record.write_seq = field::<F, _>(tcp, global!(OFFSETS.write_seq)));
        put!(record.srtt_us_x8 = field::<F, _>(tcp, global!(OFFSETS.srtt)));
        put!(record.retransmits = field::<F, _>(tcp, global!(OFFSETS.retransmits)));
        put!(record.bytes_acked = field::<F, _>(tcp, global!(OFFSETS.bytes_acked)));
        put!(record.bytes_received = field::<F, _>(tcp, global!(OFFSETS.bytes_received)));
    }
    VALID_TCP
}

/// The task on whose back this runs. The helper clears the name where it fails.
#[inline(always)]
unsafe fn current(record: *mut StateRecord) -> u16 {
    // SAFETY: the caller's promise; the buffer is as long as stated.
    unsafe {
        let id = generated::bpf_get_current_pid_tgid();
        put!(record.pid = (id >> 32) as u32);
        put!(record.tid = id as u32);
        let name = (&raw mut (*record).comm).cast();
        if generated::bpf_get_current_comm(name, 16) == 0 { VALID_CURRENT } else { 0 }
    }
}
