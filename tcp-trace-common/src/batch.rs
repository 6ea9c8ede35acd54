//! Batches: memory of each CPU in which records wait until they leave the kernel together.

/// Kind of the [`BatchHead`] before the records of a finished batch.
pub const KIND_BATCH: u16 = 23;

/// Bytes of records that fit into a batch, unless [`Settings::batches`](crate::Settings::batches) says less.
pub const BATCH_ROOM: usize = 4032;
/// Bytes of a batch, all in all.
pub const BATCH_LEN: usize = size_of::<Batch>();

/// In [`Batch::counts`], one state change; classes have a byte each.
pub const BATCH_STATE: u64 = 1;
/// Likewise, one record that is neither a state change nor a segment.
pub const BATCH_LIFE: u64 = 1 << 8;
/// Likewise, one segment.
pub const BATCH_SEGMENT: u64 = 1 << 16;
/// Bits of [`Batch::counts`]; in [`Batch::taken`] the generation stands above them.
pub const BATCH_COUNT_BITS: u32 = 24;

/// What stands before the records, in memory and in the sample that they leave in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct BatchHead {
    /// [`KIND_BATCH`], once a batch has been finished.
    pub kind: u16,
    /// Size of this head in bytes.
    pub len: u16,
    /// Always zero.
    pub reserved: u32,
    /// See [`batch_at`]: one word, so that whoever reads it has both halves of one moment.
    pub at: u64,
}

/// One CPU's batch. Records lie one behind the other, each beginning with its kind and its length,
/// two bytes each, and a multiple of eight bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct Batch {
    /// How many programs are at it, or would be: one that finds itself alone may write.
    pub busy: u64,
    /// How many records of each class it holds: sums of `BATCH_*`.
    pub counts: u64,
    /// Padding.
    pub reserved: [u64; 3],
    /// Written by the daemon: as [`Batch::counts`], those that it has read here already, of the
    /// generation above [`BATCH_COUNT_BITS`].
    pub taken: u64,
    /// What leaves begins here.
    pub head: BatchHead,
    /// The records.
    pub records: [u64; BATCH_ROOM / 8],
}

/// Generation and length as one word: bytes of records in the lower half of 16 bits, and above it how
/// many batches were finished before.
#[must_use]
pub const fn batch_at(generation: u64, length: u16) -> u64 {
    generation << 16 | length as u64
}

/// Of a word as [`batch_at`] makes it, the generation.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the BPF machine has few call frames to spare")]
pub const fn batch_generation(at: u64) -> u64 {
    at >> 16
}

/// Likewise, the bytes of records.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the BPF machine has few call frames to spare")]
pub const fn batch_length(at: u64) -> u64 {
    at & 0xffff
}

const _: () = assert!(BATCH_LEN == 4096);
const _: () = assert!(core::mem::offset_of!(Batch, head) == 48);
const _: () = assert!(core::mem::offset_of!(Batch, records) == 64);
// A class's count fits its byte.
const _: () = assert!(BATCH_ROOM / crate::SEGMENT_RECORD_LEN < 256);
const _: () = assert!(crate::FOLDED_RECORD_LEN <= BATCH_ROOM);
