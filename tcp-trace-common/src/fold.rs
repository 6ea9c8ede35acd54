//! A short connection told in one record: what is kept of it while it lives, and what is reported at
//! its end.

use crate::StateRecord;

/// Kind of a [`FoldedRecord`].
pub const KIND_FOLDED: u16 = 22;

/// Each connection leaves its records one by one.
pub const FOLD_OFF: u32 = 0;
/// Likewise from now on; those that are still folded are told at their next step.
pub const FOLD_DRAIN: u32 = 1;
/// Connections that are born leave one record at their end.
pub const FOLD_ON: u32 = 2;

/// Steps that one record holds; a life with more is told one by one from there on.
pub const FOLD_STEPS: usize = 10;
/// Connections that may be folded at once; a power of two.
pub const FOLD_ROOM: u32 = 1 << 14;

/// [`FoldStep::code`]: a state change has its old state in the upper half and its new one in the
/// lower; nothing changes from state 0, whose codes are these. The connection's `connect()`.
pub const FOLD_CONNECT: u8 = 1;
/// [`FoldStep::code`]: `accept()`.
pub const FOLD_ACCEPT: u8 = 2;
/// [`FoldStep::code`]: the last descriptor was closed.
pub const FOLD_CLOSE: u8 = 3;

/// [`FoldedRecord::callers`]: who opened it.
pub const FOLD_OPENER: usize = 0;
/// [`FoldedRecord::callers`]: who closed it.
pub const FOLD_CLOSER: usize = 1;

/// What the programs are to do with connections that are born: a map of one, written by the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct FoldOrder {
    /// `FOLD_*`.
    pub mode: u32,
    /// Padding.
    pub reserved: u32,
    /// A connection older than so many nanoseconds is told at its next step.
    pub longest_ns: u64,
}

/// One step of a folded connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct FoldStep {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// `sk_err`.
    pub error: i32,
    /// What: see [`FOLD_CONNECT`].
    pub code: u8,
    /// As in a [`StateRecord`].
    pub sock_flags: u8,
    /// `sk_shutdown`.
    pub shutdown: u8,
    /// Padding.
    pub reserved: u8,
}

/// Who made a call, as in a [`LifeRecord`](crate::LifeRecord); all zero where nobody was seen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct FoldCaller {
    /// cgroup v2 id, 0 where it was not read.
    pub cgroup: u64,
    /// When the process began, nanoseconds of `CLOCK_BOOTTIME`, 0 where not read.
    pub process_started_ns: u64,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name of the thread.
    pub comm: [u64; 2],
}

/// A connection's steps, and its socket as it was at the last of them. 400 bytes; the first 152 lie
/// as in a [`StateRecord`], whose kind and length are this record's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
#[repr(C)]
pub struct FoldedRecord {
    /// The socket at the last step. Its address is what an unfinished record is found by.
    pub state: StateRecord,
    /// How many of the steps there are.
    pub count: u32,
    /// Not 0 where the daemon itself has read it off the place of a connection that goes on.
    pub unfinished: u32,
    /// Who opened and who closed it.
    pub callers: [FoldCaller; 2],
    /// In order.
    pub steps: [FoldStep; FOLD_STEPS],
}

/// Size of a [`FoldedRecord`] in bytes.
pub const FOLDED_RECORD_LEN: usize = size_of::<FoldedRecord>();

const _: () = assert!(FOLDED_RECORD_LEN == 152 + 8 + 80 + 16 * FOLD_STEPS);
const _: () = assert!(core::mem::offset_of!(FoldedRecord, count) == 152);

/// The code of a state change.
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the BPF machine has few call frames to spare")]
pub const fn fold_code(old: u8, new: u8) -> u8 {
    old << 4 | new & 15
}
