//! What arrives, at XDP.

use aya_ebpf::{helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};
use tcp_trace_common::frame::Frame;

use super::direct::{self, Bytes};
use crate::maps::global;

/// A frame, of which the first part can be looked at: all headers lie there.
pub(crate) struct Received<'a>(pub(crate) &'a XdpContext);

impl Frame for Received<'_> {
    type View = Bytes;

    #[inline(always)]
    fn view<const N: usize>(&self, at: usize) -> Option<Bytes> {
        direct::view::<N>(self.0.data(), self.0.data_end(), at)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        if global!(SETTINGS.xdp_frags) == 0 {
            return (self.0.data_end() - self.0.data()) as u32;
        }
        // SAFETY: the program's own context.
        unsafe { bpf_xdp_get_buff_len(self.0.ctx) as u32 }
    }

    #[inline(always)]
    fn bounded(&self, at: usize) -> usize {
        direct::bounded(at, self.0.data_end() - self.0.data())
    }
}
