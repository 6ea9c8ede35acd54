//! Headers that the kernel copies out, wherever in a buffer they lie.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};
use tcp_trace_common::frame::{Frame, MOST_BYTES_BEFORE};

use super::direct::{self, Bytes};
use crate::maps::COPY;

/// Bytes that are copied at most: up to the last TCP header that is looked for, and more.
const MOST: u32 = 512;
/// What is shorter is cut wherever it lies: an IPv4 header.
const LEAST: u32 = 20;
/// Room for a copy, and for whatever begins at its end: behind an offset as large as its mask come
/// an IPv6 header and another, which the verifier of 5.10 does not see are compared with the length.
pub(crate) const ROOM: usize = direct::OFFSET_MASK + 1 + 40 + 40;

const _: () = assert!(MOST as usize >= MOST_BYTES_BEFORE + 20);

/// The beginning of a buffer whose headers are not all in its linear part.
#[derive(Clone, Copy)]
pub(crate) struct Copied {
    skb: *const __sk_buff,
    copy: *const u8,
    copied: usize,
}

impl Copied {
    /// Copies; `None` where there is nothing to be had.
    #[inline(always)]
    pub(crate) fn from(skb: *const __sk_buff) -> Option<Self> {
        let copy = COPY.get_ptr_mut(0)?;
        // SAFETY: the program's own context.
        let length = unsafe { (*skb).len };
        if length < LEAST {
            return None;
        }
        let copied = if length < MOST { length } else { MOST };
        // SAFETY: the place has room for as many bytes, and is this CPU's own: no packet program
        // interrupts another.
        let answer = unsafe { bpf_skb_load_bytes(skb.cast(), 0, copy.cast(), copied) };
        if answer == 0 {
            Some(Self { skb, copy: copy.cast(), copied: copied as usize })
        } else {
            None
        }
    }
}

impl Frame for Copied {
    type View = Bytes;

    #[inline(always)]
    fn view<const N: usize>(&self, at: usize) -> Option<Bytes> {
        if at + N > self.copied { None } else { Some(direct::bytes(self.copy as usize, at)) }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn bounded(&self, at: usize) -> usize {
        direct::bounded(at, self.length() as usize)
    }
}
