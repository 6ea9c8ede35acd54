//! Two programs watch each state change, and one of them reports it.
//!
//! The kernel does not run a tracing program on a CPU that is in it already (trampolines always,
//! raw tracepoints from 6.1): where a softirq interrupts the program, every change it makes would go
//! unseen. A second copy of the program is not in use then and takes them. Whichever sees a change
//! first leaves a mark and reports; the other finds the mark, takes it away, and is silent.
//!
//! Marks lie with the CPU they were made on. Where the two run one after the other with preemption
//! in between (trampolines; tracepoints from 7.0), the second may have come to another CPU: it looks
//! everywhere before it speaks. A mark that nobody takes away, because the other copy was skipped, is
//! in nobody's way: the next change that looks the same is then left to the other copy. The oldest
//! mark makes room for a new one, and before it one that was left while the other copy was at work.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns};

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
    /// The one that usually sees a change first.
    First = 0,
    /// The other.
    Second = 1,
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
    let (own, other) = (at_work(marks, watch as usize), at_work(marks, 1 - watch as usize));
    // SAFETY: it lies within the block. Volatile, because whoever interrupts this run reads it.
    unsafe { write_volatile(own, 1) };
    let change = Change { sk, step: u64::from(old) << 32 | u64::from(new) };
    let theirs = change.take(marks) || watch == Watch::Second && change.take_anywhere();
    if !theirs {
        let time_ns = now();
        report(time_ns);
        // Last, so that little can come between the mark and the other program. While that is at
        // work the kernel skips it, and nobody will take the mark away; but where programs can be
        // preempted, it may be done before this change's turn comes.
        // SAFETY: as above.
        let idle = unsafe { read_volatile(other) } == 0;
        change.leave(marks, if idle { time_ns } else { time_ns >> LIKELY_FORGOTTEN | 1 });
    }
    // SAFETY: as above, and the run has not left its CPU.
    unsafe { write_volatile(own, 0) };
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: takes nothing and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn at_work(marks: *mut CpuMarks, whose: usize) -> *mut u32 {
    // SAFETY: there are two, and `Watch` numbers them.
    unsafe { (&raw mut (*marks).at_work).cast::<u32>().add(whose) }
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
