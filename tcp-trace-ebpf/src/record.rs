//! A socket, written down.

use aya_ebpf::helpers::generated;
use tcp_trace_common::{
    ABSENT, KIND_STATE, SOCK_ATTACHED, SOCK_FLAG_DEAD, SOCK_FLAG_FIN_RECEIVED, STATE_RECORD_LEN,
    StateRecord, VALID_COOKIE, VALID_CURRENT, VALID_FLAGS, VALID_NETNS, VALID_TCP,
};

use crate::{
    field::{Base, Fields, field},
    maps::global,
};

/// `AF_INET6`.
const AF_INET6: u16 = 10;
/// What stands before an IPv4 address in its IPv6 form, as the word holding bytes 8 to 11.
const V4_MAPPED: u32 = u32::from_be(0x0000_ffff);

/// All that can be read off `sk` itself; time, states and namespace are the caller's. Asking for the
/// cookie makes the kernel choose one, so it is asked for only `with_cookie`.
///
/// # Safety
/// `sk` points to a live `struct sock`.
#[inline(always)]
pub(crate) unsafe fn of_socket<F: Fields>(sk: Base, with_cookie: bool) -> StateRecord {
    let mut valid = 0;
    // SAFETY: the offsets are those of `struct sock` in the running kernel.
    let (family, protocol) = unsafe {
        (
            field::<F, u16>(sk, global!(OFFSETS.family)),
            field::<F, u16>(sk, global!(OFFSETS.protocol)),
        )
    };
    if global!(OFFSETS.net) != ABSENT {
        valid |= VALID_NETNS;
    }
    // SAFETY: as above; ports and addresses are plain integers.
    let mut record = unsafe {
        StateRecord {
            kind: KIND_STATE,
            len: STATE_RECORD_LEN as u16,
            valid: 0,
            protocol,
            time_ns: 0,
            cookie: 0,
            sk: sk as u64,
            local_addr: address::<F>(
                sk,
                family,
                global!(OFFSETS.local_v4),
                global!(OFFSETS.local_v6),
            ),
            remote_addr: address::<F>(
                sk,
                family,
                global!(OFFSETS.remote_v4),
                global!(OFFSETS.remote_v6),
            ),
            local_port: field::<F, u16>(sk, global!(OFFSETS.local_port)),
            remote_port: u16::from_be(field::<F, u16>(sk, global!(OFFSETS.remote_port))),
            family,
            old_state: 0,
            new_state: 0,
            netns: 0,
            sk_err: field::<F, i32>(sk, global!(OFFSETS.err)),
            rcv_nxt: 0,
            copied_seq: 0,
            snd_una: 0,
            write_seq: 0,
            srtt_us_x8: 0,
            retransmits: 0,
            bytes_acked: 0,
            bytes_received: 0,
            pid: 0,
            tid: 0,
            comm: [0; 2],
            shutdown: field::<F, u8>(sk, global!(OFFSETS.shutdown)),
            sock_flags: 0,
            reserved: 0,
            reserved_too: 0,
        }
    };
    if global!(OFFSETS.flags) != ABSENT && global!(OFFSETS.socket) != ABSENT {
        // SAFETY: as above.
        record.sock_flags = unsafe { sock_flags::<F>(sk) };
        valid |= VALID_FLAGS;
    }
    if F::COOKIE_HELPER && with_cookie && global!(SETTINGS.cookie_helper) != 0 {
        // SAFETY: the helper takes the hook's own socket pointer.
        record.cookie = unsafe { generated::bpf_get_socket_cookie(sk.cast_mut().cast()) };
        valid |= VALID_COOKIE;
    }
    // SAFETY: `sk` is live, and a `struct tcp_sock` begins with its `struct sock`.
    unsafe {
        let tcp = F::tcp_sock(sk, protocol);
        if !tcp.is_null() {
            transfer::<F>(&mut record, tcp);
            valid |= VALID_TCP;
        }
    }
    record.valid = valid;
    record
}

/// Notes the task on whose back this runs.
#[inline(always)]
pub(crate) fn name_current(record: &mut StateRecord) {
    // SAFETY: the helpers read the current task; the buffer is as long as stated.
    unsafe {
        let id = generated::bpf_get_current_pid_tgid();
        record.pid = (id >> 32) as u32;
        record.tid = id as u32;
        if generated::bpf_get_current_comm(record.comm.as_mut_ptr().cast(), 16) == 0 {
            record.valid |= VALID_CURRENT;
        }
    }
}

/// One end's address; IPv4 is written in its mapped form.
#[inline(always)]
unsafe fn address<F: Fields>(sk: Base, family: u16, v4: u16, v6: u16) -> [u8; 16] {
    let words: [u32; 4] = if family == AF_INET6 && v6 != ABSENT {
        // SAFETY: the caller's promise; the field is 16 bytes.
        unsafe { [F::load(sk, v6), F::load(sk, v6 + 4), F::load(sk, v6 + 8), F::load(sk, v6 + 12)] }
    } else {
        // SAFETY: the caller's promise.
        [0, 0, V4_MAPPED, unsafe { field::<F, u32>(sk, v4) }]
    };
    // SAFETY: sixteen bytes either way, and every bit pattern is an address.
    unsafe { core::mem::transmute(words) }
}

/// Attached, orphaned, FIN received: see `SOCK_*`.
#[inline(always)]
unsafe fn sock_flags<F: Fields>(sk: Base) -> u8 {
    // SAFETY: the caller's promise.
    let (bits, socket) = unsafe {
        (F::load::<u64>(sk, global!(OFFSETS.flags)), F::load::<usize>(sk, global!(OFFSETS.socket)))
    };
    let mut flags = 0;
    if socket != 0 {
        flags |= SOCK_ATTACHED;
    }
    if bits >> (global!(SETTINGS.dead_bit) & 63) & 1 != 0 {
        flags |= SOCK_FLAG_DEAD;
    }
    if bits >> (global!(SETTINGS.done_bit) & 63) & 1 != 0 {
        flags |= SOCK_FLAG_FIN_RECEIVED;
    }
    flags
}

/// What only a `tcp_sock` has: its port, sequence numbers, bytes and timing.
#[inline(always)]
unsafe fn transfer<F: Fields>(record: &mut StateRecord, tcp: Base) {
    // SAFETY: the offsets are those of `struct tcp_sock` in the running kernel.
    unsafe {
        if record.local_port == 0 {
            record.local_port = u16::from_be(field::<F, _>(tcp, global!(OFFSETS.local_sport)));
        }
        record.rcv_nxt = field::<F, _>(tcp, global!(OFFSETS.rcv_nxt));
        record.copied_seq = field::<F, _>(tcp, global!(OFFSETS.copied_seq));
        record.snd_una = field::<F, _>(tcp, global!(OFFSETS.snd_una));
        record.write_seq = field::<F, _>(tcp, global!(OFFSETS.write_seq));
        record.srtt_us_x8 = field::<F, _>(tcp, global!(OFFSETS.srtt));
        record.retransmits = field::<F, _>(tcp, global!(OFFSETS.retransmits));
        record.bytes_acked = field::<F, _>(tcp, global!(OFFSETS.bytes_acked));
        record.bytes_received = field::<F, _>(tcp, global!(OFFSETS.bytes_received));
    }
}
