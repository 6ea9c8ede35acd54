//! Both ends of a connection: what full sockets, mini-sockets and request sockets have in common.
//!
//! All three begin with a `struct sock_common`, so the same offsets serve for each.

use tcp_trace_common::ABSENT;

use crate::{
    field::{Base, Fields, field},
    maps::global,
};

/// `AF_INET6`.
const AF_INET6: u16 = 10;
/// What stands before an IPv4 address in its IPv6 form, as the word holding bytes 8 to 11.
const V4_MAPPED: u32 = u32::from_be(0x0000_ffff);

/// `skc_family`.
///
/// # Safety
/// `sk` points to a structure that begins with a `sock_common`.
#[inline(always)]
pub(crate) unsafe fn family<F: Fields>(sk: Base) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { field::<F, u16>(sk, global!(OFFSETS.family)) }
}

/// `skc_state`.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn state<F: Fields>(sk: Base) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { field::<F, u8>(sk, global!(OFFSETS.state)) }
}

/// The local port, host order; 0 while none is chosen and once it is given back.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn local_port<F: Fields>(sk: Base) -> u16 {
    // SAFETY: the caller's promise.
    unsafe { field::<F, u16>(sk, global!(OFFSETS.local_port)) }
}

/// The remote port, host order.
///
/// # Safety
/// As for [`family`].
#[inline(always)]
pub(crate) unsafe fn remote_port<F: Fields>(sk: Base) -> u16 {
    // SAFETY: the caller's promise.
    u16::from_be(unsafe { field::<F, u16>(sk, global!(OFFSETS.remote_port)) })
}

/// Both addresses, sixteen bytes each; IPv4 in its mapped form.
///
/// # Safety
/// As for [`family`]; both places are aligned for words and valid for sixteen bytes.
#[inline(always)]
pub(crate) unsafe fn addresses<F: Fields>(local: *mut u32, remote: *mut u32, sk: Base) {
    // SAFETY: the caller's promise.
    unsafe {
        let family = family::<F>(sk);
        address::<F>(local, sk, family, global!(OFFSETS.local_v4), global!(OFFSETS.local_v6));
        address::<F>(remote, sk, family, global!(OFFSETS.remote_v4), global!(OFFSETS.remote_v6));
    }
}

/// One end's address; IPv4 is written in its mapped form.
#[inline(always)]
unsafe fn address<F: Fields>(into: *mut u32, sk: Base, family: u16, v4: u16, v6: u16) {
    // SAFETY: the caller's promise; either field fills sixteen bytes.
    unsafe {
        if family == AF_INET6 && v6 != ABSENT {
            into.write(F::load(sk, v6));
            into.add(1).write(F::load(sk, v6 + 4));
            into.add(2).write(F::load(sk, v6 + 8));
            into.add(3).write(F::load(sk, v6 + 12));
        } else {
            into.write(0);
            into.add(1).write(0);
            into.add(2).write(V4_MAPPED);
            into.add(3).write(field::<F, u32>(sk, v4));
        }
    }
}
