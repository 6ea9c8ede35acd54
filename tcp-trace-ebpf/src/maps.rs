//! Every map and load-time global of the object.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray, PerfEventArray},
};
use tcp_trace_common::{
    AWAITED_SLOTS, Batch, COUNTER_SLOTS, FOLD_ROOM, FoldOrder, FoldedRecord, OUTPUT_ERROR_SLOTS,
    Offsets, SEGMENT_SLOTS, STACK_SLOTS, Settings, StackRecord, StateRecord,
};

use crate::packet::ROOM;

/// Per-CPU buffers towards the daemon, opened by it with a byte watermark.
#[map]
pub(crate) static EVENTS: PerfEventArray<StateRecord> = PerfEventArray::new(0);

/// Records that wait until they leave together, by CPU; as long as there are CPUs. See
/// [`crate::batch`]. The daemon looks at it through its own memory.
#[map]
pub(crate) static BATCHES: Array<Batch> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The exact counters: one block of [`COUNTER_SLOTS`] for each CPU.
#[map]
pub(crate) static COUNTERS: PerCpuArray<[u64; COUNTER_SLOTS]> = PerCpuArray::with_max_entries(1, 0);

/// Outputs that failed, by errno: one block of [`OUTPUT_ERROR_SLOTS`] for each CPU.
#[map]
pub(crate) static FAILURES: PerCpuArray<[u64; OUTPUT_ERROR_SLOTS]> =
    PerCpuArray::with_max_entries(1, 0);

/// Whether connections are folded; written by the daemon at any time.
#[map]
pub(crate) static FOLD_ORDER: Array<FoldOrder> = Array::with_max_entries(1, 0);

/// An address that is to become a number; see [`crate::fold`].
#[map]
pub(crate) static ADDRESS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Connections that are being folded; see [`crate::fold`]. The daemon looks at it through its own
/// memory, without a call.
#[map]
pub(crate) static FOLDED: Array<FoldedRecord> = Array::with_max_entries(FOLD_ROOM, BPF_F_MMAPABLE);

/// What the packet hooks count: one block of [`SEGMENT_SLOTS`] for each CPU.
#[map]
pub(crate) static SEGMENTS: PerCpuArray<[u64; SEGMENT_SLOTS]> = PerCpuArray::with_max_entries(1, 0);

/// ACKs that are waited for; see [`crate::awaited`].
#[map]
pub(crate) static AWAITED: Array<u64> = Array::with_max_entries(AWAITED_SLOTS, 0);

/// Up to when this CPU's time for reports of segments is spent, of those that open a connection and
/// of all others; see [`crate::budget`].
#[map]
pub(crate) static BUDGET: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Headers copied out of a buffer; see [`crate::packet::Copied`].
#[map]
pub(crate) static COPY: PerCpuArray<[u8; ROOM]> = PerCpuArray::with_max_entries(1, 0);

/// What becomes of user stacks: one block of [`STACK_SLOTS`] for each CPU.
#[map]
pub(crate) static STACK_COUNTS: PerCpuArray<[u64; STACK_SLOTS]> =
    PerCpuArray::with_max_entries(1, 0);

/// The user stack that is being taken on this CPU; see [`crate::stack`].
#[map]
pub(crate) static STACK: PerCpuArray<Stack> = PerCpuArray::with_max_entries(1, 0);

/// A user stack in the making: too large for the stack of a program.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Stack {
    /// Whether one is being taken: a program may be preempted at it.
    pub(crate) taken: u64,
    pub(crate) record: StackRecord,
}

/// What is being done to a mini-socket on this CPU; see [`crate::probes::time_wait`].
#[map]
pub(crate) static AT_WORK: PerCpuArray<AtWork> = PerCpuArray::with_max_entries(1, 0);

/// A mini-socket that this CPU has just begun to look at.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct AtWork {
    /// Its address; 0: none.
    pub(crate) mini: u64,
    /// Since when.
    pub(crate) since_ns: u64,
    /// In whose course.
    pub(crate) course: u64,
}

/// State changes that one of two programs has reported, by the CPU it ran on; as long as there are
/// CPUs. See [`crate::pair`].
#[map]
pub(crate) static MARKS: Array<CpuMarks> = Array::with_max_entries(1, 0);

/// The marks made on one CPU: two cache lines.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct CpuMarks {
    pub(crate) marks: [Mark; Self::LEN],
    /// 1 while the second program is at work on this CPU, or was interrupted at it.
    pub(crate) second_at_work: u64,
}

impl CpuMarks {
    /// How many changes may wait for the other program at once: one for each softirq or task that
    /// comes between the two.
    pub(crate) const LEN: usize = 5;
}

/// A state change that has been reported.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Mark {
    /// Address of the socket; 0: none.
    pub(crate) sk: u64,
    /// From which state to which.
    pub(crate) step: u64,
    /// Since when; 0: free.
    pub(crate) since_ns: u64,
}

/// Field offsets of the running kernel; frozen by the loader, so the verifier sees constants.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::NONE;

/// The daemon's settings; frozen likewise.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings::DEFAULT;

/// The value the loader left in a load-time global.
#[inline(always)]
pub(crate) fn load_time<T: Copy>(member: &T) -> T {
    // SAFETY: a reference is valid for reads; volatile, so that the compiler cannot fold in the
    // value the object was built with.
    unsafe { core::ptr::read_volatile(member) }
}

/// One member of a load-time global: `global!(OFFSETS.family)`.
macro_rules! global {
    ($global:ident . $member:ident $([$index:literal])?) => {
        $crate::maps::load_time(&$crate::maps::$global.$member $([$index])?)
    };
}
pub(crate) use global;
