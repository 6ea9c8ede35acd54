//! The only reads of kernel memory.
//!
//! Two ways, chosen by program type: [`Direct`] loads, which the verifier checks against BTF and the
//! JIT turns into plain moves (`tp_btf`, `fentry`), and [`Copied`] reads through
//! `bpf_probe_read_kernel` (`raw_tp`, `kprobe`).

use core::ptr::{null, read_volatile};

use aya_ebpf::helpers::generated;
use tcp_trace_common::ABSENT;

/// Start of a kernel structure.
pub(crate) type Base = *const u8;

/// How a program type may read kernel memory.
pub(crate) trait Fields {
    /// Whether `bpf_get_socket_cookie` takes this program's socket pointer.
    const COOKIE_HELPER: bool;

    /// The value at `base + offset`, zero where it cannot be read.
    ///
    /// # Safety
    /// `base` is a kernel pointer whose structure has a `T` at `offset`, by the kernel's BTF.
    unsafe fn load<T: Copy + Default>(base: Base, offset: u16) -> T;

    /// `sk` as a `struct tcp_sock`, null where it is none.
    ///
    /// # Safety
    /// `sk` points to a live `struct sock`.
    unsafe fn tcp_sock(sk: Base, protocol: u16) -> Base;
}

/// Plain loads from BTF-typed pointers.
pub(crate) struct Direct;

impl Fields for Direct {
    const COOKIE_HELPER: bool = true;

    #[inline(always)]
    unsafe fn load<T: Copy + Default>(base: Base, offset: u16) -> T {
        // SAFETY: the caller's promise; a fault is handled by the kernel's exception table and
        // reads as zero.
        unsafe { read_volatile(base.add(offset as usize).cast()) }
    }

    #[inline(always)]
    unsafe fn tcp_sock(sk: Base, _protocol: u16) -> Base {
        // SAFETY: the helper takes any `struct sock` and answers null for all but TCP.
        unsafe { generated::bpf_skc_to_tcp_sock(sk.cast_mut().cast()).cast_const().cast() }
    }
}

/// Reads through `bpf_probe_read_kernel`.
pub(crate) struct Copied;

impl Fields for Copied {
    const COOKIE_HELPER: bool = false;

    #[inline(always)]
    unsafe fn load<T: Copy + Default>(base: Base, offset: u16) -> T {
        let mut value = T::default();
        // SAFETY: the helper checks the address itself and fails instead of faulting; it then
        // leaves zeros. Its answer is not looked at: a branch here doubles what the verifier walks.
        unsafe {
            let into = (&raw mut value).cast();
            let from = base.add(offset as usize).cast();
            generated::bpf_probe_read_kernel(into, size_of::<T>() as u32, from);
        }
        value
    }

    #[inline(always)]
    unsafe fn tcp_sock(sk: Base, protocol: u16) -> Base {
        if protocol == IPPROTO_TCP { sk } else { null() }
    }
}

/// `IPPROTO_TCP`.
const IPPROTO_TCP: u16 = 6;

/// The value at `base + offset`, zero where the kernel has no such field.
///
/// # Safety
/// As for [`Fields::load`].
#[inline(always)]
pub(crate) unsafe fn field<F: Fields, T: Copy + Default>(base: Base, offset: u16) -> T {
    if offset == ABSENT {
        return T::default();
    }
    // SAFETY: the caller's promise.
    unsafe { F::load(base, offset) }
}
