//! ACKs that are waited for: the one that ends a handshake, and that of each FIN.
//!
//! A SYN-ACK or FIN that passes in one direction leaves a mark for the segment that acknowledges it
//! in the other. On loopback each passes both ways, and leaves a mark either time, so that its ACK is
//! told of once as it is sent and once as it arrives. Marks are few and of a fixed number: one that
//! is never redeemed (the peer is gone) lies until another takes its place.

use core::ptr;

use tcp_trace_common::{
    AWAITED_SLOTS,
    frame::{Headers, View},
};

use crate::maps::AWAITED;

/// An odd number without a pattern: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Which way a segment goes; a mark says so too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl Way {
    const fn back(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// Where a mark lies, and what tells it from others there.
struct Place {
    slot: *mut u64,
    tag: u32,
}

impl Place {
    /// Of segments from `from` to `to`.
    #[inline(always)]
    fn of(from: ([u32; 4], u16), to: ([u32; 4], u16), is_v6: bool, way: Way) -> Option<Self> {
        let ports = u64::from(from.1) << 16 | u64::from(to.1) | (way as u64) << 32;
        let mut hash = mix(0, ports);
        hash = mix(hash, pair(from.0[3], to.0[3]));
        if is_v6 {
            hash = mix(hash, pair(from.0[0], from.0[1]));
            hash = mix(hash, pair(to.0[0], to.0[1]));
            hash = mix(hash, pair(from.0[2], to.0[2]));
        }
        let slot = AWAITED.get_ptr_mut((hash >> 32) as u32 % AWAITED_SLOTS)?;
        Some(Self { slot, tag: hash as u32 ^ (hash >> 32) as u32 | 1 })
    }

    #[inline(always)]
    fn read(&self) -> u64 {
        // SAFETY: the map's own memory, aligned. Another CPU may write to it: the whole or nothing.
        unsafe { ptr::read_volatile(self.slot) }
    }

    #[inline(always)]
    fn write(&self, mark: u64) {
        // SAFETY: likewise.
        unsafe { ptr::write_volatile(self.slot, mark) };
    }
}

#[inline(always)]
const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[inline(always)]
const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(SPREAD);
    product ^ product >> 32
}

/// Waits for whatever acknowledges this SYN-ACK or FIN; whether another wait is forgotten for it.
#[inline(always)]
pub(crate) fn expect<V: View>(headers: &Headers<V>, way: Way) -> bool {
    let from = (headers.destination(), headers.destination_port());
    let to = (headers.source(), headers.source_port());
    let Some(place) = Place::of(from, to, headers.is_v6, way.back()) else { return false };
    let ack = headers.seq().wrapping_add(headers.payload).wrapping_add(1);
    let before = place.read();
    place.write(u64::from(place.tag) << 32 | u64::from(ack));
    before != 0 && (before >> 32) as u32 != place.tag
}

/// Whether this segment, which has an ACK, is waited for; it is then no longer.
#[inline(always)]
pub(crate) fn redeem<V: View>(headers: &Headers<V>, way: Way) -> bool {
    let from = (headers.source(), headers.source_port());
    let to = (headers.destination(), headers.destination_port());
    let Some(place) = Place::of(from, to, headers.is_v6, way) else { return false };
    let mark = place.read();
    let is_covered = (headers.ack().wrapping_sub(mark as u32)).cast_signed() >= 0;
    if (mark >> 32) as u32 != place.tag || !is_covered {
        return false;
    }
    place.write(0);
    true
}
