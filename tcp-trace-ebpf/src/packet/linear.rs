//! What TC hands on, as far as it lies in one piece.

use aya_ebpf::bindings::__sk_buff;
use tcp_trace_common::frame::Frame;

use super::direct::{self, Bytes};

/// The linear part of a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Linear(pub(crate) *const __sk_buff);

impl Frame for Linear {
    type View = Bytes;

    #[inline(always)]
    fn view<const N: usize>(&self, at: usize) -> Option<Bytes> {
        // SAFETY: the program's own context.
        let (data, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        direct::view::<N>(data, end, at)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn bounded(&self, at: usize) -> usize {
        direct::bounded(at, self.length() as usize)
    }
}
