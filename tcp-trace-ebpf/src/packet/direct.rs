//! Bytes read where they lie.
//!
//! The instructions are spelled out where the compiler would otherwise rearrange what the verifier
//! must follow: it knows nothing of alignment, which packets do not have, and would compute an
//! address anew after it was checked.

use core::arch::asm;

use tcp_trace_common::frame::View;

/// Mask of offsets: the least that holds
/// [`MOST_BYTES_BEFORE`](tcp_trace_common::frame::MOST_BYTES_BEFORE).
pub(crate) const OFFSET_MASK: usize = 0x1ff;

/// Bytes of a frame, checked to lie in it.
#[derive(Clone, Copy)]
pub(crate) struct Bytes(*const u8);

/// The `N` bytes at `at` of what lies from `data` to `end`.
#[inline(always)]
pub(crate) fn view<const N: usize>(data: usize, end: usize, at: usize) -> Option<Bytes> {
    let bytes = bytes(data, at);
    if bytes.0 as usize + N > end { None } else { Some(bytes) }
}

/// What begins `at` bytes behind `data`.
#[inline(always)]
pub(crate) fn bytes(data: usize, at: usize) -> Bytes {
    let mut start = data;
    // SAFETY: an addition.
    unsafe {
        asm!(
            "{0} += {1}",
            inout(reg) start,
            in(reg) at,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    Bytes(start as *const u8)
}

/// `at`, of which the verifier is to know no more than the bound: whatever came before, a header at
/// any place is then walked through once, and not once for each way to it. It cannot know that a
/// difference of the same `unknown` number is 0.
#[inline(always)]
pub(crate) fn bounded(mut at: usize, unknown: usize) -> usize {
    // SAFETY: an addition, its reversal, and a conjunction.
    unsafe {
        asm!(
            "{0} += {1}",
            "{0} -= {1}",
            "{0} &= {2}",
            inout(reg) at,
            in(reg) unknown,
            const OFFSET_MASK,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    at
}

/// Loads what is at an offset of a checked address.
macro_rules! load {
    ($width:literal, $from:expr, $at:ident) => {{
        let value: u64;
        // SAFETY: the bytes were checked to lie in the frame, which outlives the program's run.
        unsafe {
            asm!(
                concat!("{0} = *(", $width, " *)({1} + {2})"),
                lateout(reg) value,
                in(reg) $from,
                const $at,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        value
    }};
}

impl View for Bytes {
    #[inline(always)]
    fn byte<const AT: usize>(&self) -> u8 {
        load!("u8", self.0, AT) as u8
    }

    #[inline(always)]
    fn half<const AT: usize>(&self) -> u16 {
        u16::from_be(load!("u16", self.0, AT) as u16)
    }

    #[inline(always)]
    fn word<const AT: usize>(&self) -> u32 {
        u32::from_be(load!("u32", self.0, AT) as u32)
    }
}
