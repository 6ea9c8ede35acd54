//! Two programs watch each state change, and one of them reports it.
//!
//! The kernel does not run a tracing program on a CPU that is in it already (trampolines always,
//! raw tracepoints from 6.1): where a softirq interrupts the program, every change it makes would go
//! unseen. A second copy of the program is not in use then and takes them. The first always reports
//! and leaves a mark; the second, which always runs after it (the loader sees to their order), finds
//! the mark, takes it away and is silent. Without a mark the first was skipped, and it reports.
//!
//! Only the first leaves marks: one of the second's would never be taken away, and would silence the
//! first at the next change that looks the same. Nor does the first leave one where the second is
//! skipped, being at work on this CPU: a mark that is left over could silence the second some day.
//!
//! Marks lie with the CPU they were made on. Where programs can be preempted (trampolines;
//! tracepoints from 7.0), the second may come to another CPU, so it looks everywhere; and it may be
//! done with what it was at before this change's turn comes, so there is a mark for that, too. What
//! is left over then makes room first; among its like the oldest does.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use tcp_trace_common::PAIRED_PREEMPTIBLE;

use crate::{
    field::Base,
    maps::{CpuMarks, MARKS, Mark, global},
};

/// CPUs that a second copy looks at; the verifier follows each turn of the loop.
const SEARCHED_CPUS: u32 = 512;

/// By how many bits the time of a mark is shortened that nobody is likely to take away: it looks
/// older than every other, and is in order among its like.
const LIKELY_FORGOTTEN: u32 = 20;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// The one that sees each change first, unless the kernel skips it.
    First,
    /// The other.
    Second,
}

/// Calls `report` with the time of the change, where it is for this program to report it.
#[inline(always)]
pub(crate) fn once(sk: Base, (old, new): (u32, u32), watch: Watch, report: impl FnOnce(u64)) {
    // SAFETY: takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let marks = if global!(SETTINGS.paired) != 0 { MARKS.get_ptr_mut(cpu) } else { None };
    let Some(marks) = marks else {
        // No second copy, or a CPU that was not there at the start.
        if watch == Watch::First {
            report(now());
        }
        return;
    };
    let change = Change { sk, step: u64::from(old) << 32 | u64::from(new) };
    match watch {
        Watch::First => first(change, marks, report),
        Watch::Second => second(change, marks, report),
    }
}

#[inline(always)]
fn first(change: Change, marks: *mut CpuMarks, report: impl FnOnce(u64)) {
    let time_ns = now();
    report(time_ns);
    // Last, so that little can come between the mark and the second program.
    // SAFETY: it lies within the block. Volatile, because whoever is interrupted writes to it.
    let skipped = unsafe { read_volatile(&raw const (*marks).second_at_work) } != 0;
    if !skipped {
        change.leave(marks, time_ns);
    } else if global!(SETTINGS.paired) == PAIRED_PREEMPTIBLE {
        change.leave(marks, time_ns >> LIKELY_FORGOTTEN | 1);
    }
}

#[inline(always)]
fn second(change: Change, marks: *mut CpuMarks, report: impl FnOnce(u64)) {
    // SAFETY: it lies within the block. Volatile, because whoever interrupts this run reads it.
    unsafe { write_volatile(&raw mut (*marks).second_at_work, 1) };
    let reported = change.take(marks)
        || global!(SETTINGS.paired) == PAIRED_PREEMPTIBLE && change.take_anywhere();
    if !reported {
        report(now());
    }
    // SAFETY: as above, and the run has not left its CPU.
    unsafe { write_volatile(&raw mut (*marks).second_at_work, 0) };
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes nothing and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

/// What a mark is made of. The address is compared and never calculated with: it is a typed pointer.
#[derive(Clone, Copy)]
struct Change {
    sk: Base,
    step: u64,
}

impl Change {
    /// Takes its mark away, where there is one.
    #[inline(always)]
    fn take(self, marks: *mut CpuMarks) -> bool {
        for index in 0..CpuMarks::LEN {
            let mark = place(marks, index);
            // SAFETY: the place lies within the block. Volatile, because a softirq may write to it
            // between any two of these lines.
            unsafe {
                if read_volatile(&raw const (*mark).sk) == self.sk as u64
                    && read_volatile(&raw const (*mark).step) == self.step
                {
                    write_volatile(&raw mut (*mark).sk, 0);
                    write_volatile(&raw mut (*mark).since_ns, 0);
                    return true;
                }
            }
        }
        false
    }

    /// Likewise, on whichever CPU it was left.
    #[inline(always)]
    fn take_anywhere(self) -> bool {
        for cpu in 0..SEARCHED_CPUS {
            let Some(marks) = MARKS.get_ptr_mut(cpu) else { return false };
            if self.take(marks) {
                return true;
            }
        }
        false
    }

    /// Leaves its mark in the place that has been free or forgotten for longest.
    #[inline(always)]
    fn leave(self, marks: *mut CpuMarks, time_ns: u64) {
        let mut oldest = place(marks, 0);
        // SAFETY: as in `take`.
        let mut since_ns = unsafe { read_volatile(&raw const (*oldest).since_ns) };
        for index in 1..CpuMarks::LEN {
            let mark = place(marks, index);
            // SAFETY: as in `take`.
            let since = unsafe { read_volatile(&raw const (*mark).since_ns) };
            if since < since_ns {
                (oldest, since_ns) = (mark, since);
            }
        }
        // SAFETY: as in `take`. The time first: from then on the place is not free any more.
        unsafe {
            write_volatile(&raw mut (*oldest).since_ns, time_ns);
            write_volatile(&raw mut (*oldest).step, self.step);
            write_volatile(&raw mut (*oldest).sk, self.sk as u64);
        }
    }
}

#[inline(always)]
fn place(marks: *mut CpuMarks, index: usize) -> *mut Mark {
    // SAFETY: every caller's index is below the length of the block.
    unsafe { (&raw mut (*marks).marks).cast::<Mark>().add(index) }
}
