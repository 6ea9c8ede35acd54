//! What becomes of a frame: it is counted by its fate, and reported where it opens or ends a
//! connection.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tcp_trace_common::{
    KIND_SEGMENT, SEGMENT_ACK, SEGMENT_FATE_COUNT, SEGMENT_FIN, SEGMENT_FOLDED, SEGMENT_FORGOTTEN,
    SEGMENT_HOOK_TC_OUT, SEGMENT_OTHER, SEGMENT_RECORD_LEN, SEGMENT_SYN_ACK, SegmentRecord,
    TCP_ACK, TCP_SYN, VALID_NETNS,
    frame::{Headers, Skip, View, fate_of},
};

use crate::{
    awaited::{self, Way},
    budget,
    counter::SegmentCounters,
    emit::emit,
    fold,
    maps::global,
    record::put,
};

/// Where a frame is seen.
pub(crate) struct Sight {
    /// The program's own context.
    pub(crate) ctx: *mut c_void,
    /// `SEGMENT_HOOK_*`.
    pub(crate) hook: u8,
    /// Index of the interface.
    pub(crate) interface: u32,
    /// The tag that the card took off, as in the record; 0: none.
    pub(crate) vlan: u16,
}

impl Sight {
    #[inline(always)]
    const fn way(&self) -> Way {
        if self.hook == SEGMENT_HOOK_TC_OUT { Way::Out } else { Way::In }
    }
}

/// Counts the frame, and reports it where it is worth it.
#[inline(always)]
pub(crate) fn see<V: View>(sight: &Sight, frame: Result<Headers<V>, Skip>) {
    let Some(counters) = SegmentCounters::of_this_cpu() else { return };
    let fates = sight.hook as usize * SEGMENT_FATE_COUNT;
    let headers = match frame {
        Ok(headers) => headers,
        Err(skip) => {
            counters.raise(fates + skip.fate());
            return;
        }
    };
    let flags = headers.flags();
    let mut fate = fate_of(flags);
    let is_awaited = flags & TCP_ACK != 0 && awaited::redeem(&headers, sight.way());
    if fate == SEGMENT_OTHER {
        if !is_awaited {
            counters.raise(fates + SEGMENT_OTHER);
            return;
        }
        fate = SEGMENT_ACK;
    }
    counters.raise(fates + fate);
    if (fate == SEGMENT_SYN_ACK || fate == SEGMENT_FIN) && awaited::expect(&headers, sight.way()) {
        counters.raise(SEGMENT_FORGOTTEN + sight.hook as usize);
    }
    // SAFETY: a clock is read.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // Those of connections that are told in one record would cost more than it saves.
    if !fold::is_on() && budget::spend(now_ns, flags & TCP_SYN != 0) {
        report(sight, &headers, now_ns);
    } else {
        counters.raise(SEGMENT_FOLDED + sight.hook as usize);
    }
}

#[inline(always)]
fn report<V: View>(sight: &Sight, headers: &Headers<V>, now_ns: u64) {
    let mut record = MaybeUninit::uninit();
    // SAFETY: the record is ours, and all of it is written.
    let record = unsafe {
        write(record.as_mut_ptr(), sight, headers, now_ns);
        record.assume_init_ref()
    };
    emit(sight.ctx, record);
}

#[inline(always)]
unsafe fn write<V: View>(
    record: *mut SegmentRecord,
    sight: &Sight,
    headers: &Headers<V>,
    now_ns: u64,
) {
    let netns = global!(SETTINGS.segment_netns);
    // SAFETY: the caller's promise.
    unsafe {
        put!(record.kind = KIND_SEGMENT);
        put!(record.len = SEGMENT_RECORD_LEN as u16);
        put!(record.valid = if netns == 0 { 0 } else { VALID_NETNS });
        put!(record.vlan = if sight.vlan == 0 { headers.vlan } else { sight.vlan });
        put!(record.time_ns = now_ns);
        address((&raw mut (*record).source_addr).cast(), headers.source());
        address((&raw mut (*record).destination_addr).cast(), headers.destination());
        put!(record.source_port = headers.source_port());
        put!(record.destination_port = headers.destination_port());
        put!(record.seq = headers.seq());
        put!(record.ack = headers.ack());
        put!(record.window = headers.window());
        put!(record.reserved = 0);
        put!(record.payload = headers.payload);
        put!(record.netns = netns);
        put!(record.interface = sight.interface);
        put!(record.flags = headers.flags());
        put!(record.hook = sight.hook);
        put!(record.reserved_too = 0);
    }
}

/// Word by word: the compiler clears an array of bytes one by one.
#[inline(always)]
unsafe fn address(into: *mut u32, words: [u32; 4]) {
    // SAFETY: the caller's promise; both addresses in a record are aligned for this.
    unsafe {
        into.write(words[0].to_be());
        into.add(1).write(words[1].to_be());
        into.add(2).write(words[2].to_be());
        into.add(3).write(words[3].to_be());
    }
}
