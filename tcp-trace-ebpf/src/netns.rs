//! Which network namespace a socket lives in, and whether it is traced.

use tcp_trace_common::ABSENT;

use crate::{
    field::{Base, Fields},
    maps::global,
};

/// Inode of the namespace of `sk`, 0 where the kernel does not say.
///
/// # Safety
/// `sk` points to a live `struct sock`.
#[inline(always)]
pub(crate) unsafe fn of<F: Fields>(sk: Base) -> u32 {
    if global!(OFFSETS.net) == ABSENT || global!(OFFSETS.net_inum) == ABSENT {
        return 0;
    }
    // SAFETY: a live socket holds a reference to its namespace.
    unsafe {
        let net: usize = F::load(sk, global!(OFFSETS.net));
        F::load(net as Base, global!(OFFSETS.net_inum))
    }
}

/// Whether every namespace is traced.
#[inline(always)]
pub(crate) fn is_unfiltered() -> bool {
    global!(SETTINGS.netns[0]) == 0
}

/// Whether the filter lets `netns` through. An unused filter is pruned by the verifier.
#[inline(always)]
pub(crate) fn is_traced(netns: u32) -> bool {
    let first = global!(SETTINGS.netns[0]);
    first == 0
        || netns == first
        || netns == global!(SETTINGS.netns[1])
        || netns == global!(SETTINGS.netns[2])
        || netns == global!(SETTINGS.netns[3])
}
