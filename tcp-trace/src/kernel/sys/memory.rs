//! Memory that is shared with the kernel.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use aya_obj::generated::perf_event_mmap_page;

/// The shared memory of one perf buffer: a control page, then a ring of a power-of-two size.
#[derive(Debug)]
pub(crate) struct PerfMemory {
    base: ptr::NonNull<perf_event_mmap_page>,
    page: usize,
    ring: usize,
}

// SAFETY: the mapping belongs to this value alone and is valid from any thread.
unsafe impl Send for PerfMemory {}

impl PerfMemory {
    /// Maps `ring` bytes (a power of two of pages) of `event`.
    pub(crate) fn map(event: BorrowedFd<'_>, ring: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        // SAFETY: a new mapping, at an address the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                page + ring,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = ptr::NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { base, page, ring })
    }

    /// Moves all bytes that wait onto the end of `out`, and gives their room back to the kernel.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) -> usize {
        let control = self.base.as_ptr();
        // SAFETY: both positions lie in the mapped control page, aligned; the kernel writes the
        // head and reads the tail, so they are used as atomics.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*control).data_head),
                AtomicU64::from_ptr(&raw mut (*control).data_tail),
            )
        };
        let start = tail.load(Ordering::Relaxed);
        let end = head.load(Ordering::Acquire);
        let waiting = usize::try_from(end.wrapping_sub(start)).unwrap_or(0).min(self.ring);
        let from = usize::try_from(start).unwrap_or(0) & (self.ring - 1);
        let first = waiting.min(self.ring - from);
        out.reserve(waiting);
        // SAFETY: the kernel leaves the bytes between tail and head alone until the tail moves;
        // both parts lie within the ring, and the room was reserved just now.
        unsafe {
            let ring = control.cast::<u8>().add(self.page);
            let into = out.as_mut_ptr().add(out.len());
            ptr::copy_nonoverlapping(ring.add(from), into, first);
            ptr::copy_nonoverlapping(ring, into.add(first), waiting - first);
            out.set_len(out.len() + waiting);
        }
        tail.store(start.wrapping_add(waiting as u64), Ordering::Release);
        waiting
    }
}

/// The values of a BPF array, as they lie in the kernel; to read only.
#[derive(Debug)]
pub(crate) struct ArrayMemory {
    base: ptr::NonNull<u64>,
    length: usize,
    writable: bool,
}

// SAFETY: the mapping belongs to this value alone and is valid from any thread.
unsafe impl Send for ArrayMemory {}

impl ArrayMemory {
    /// Maps the first `length` bytes of the values of `array`, which was made for it
    /// (`BPF_F_MMAPABLE`, 5.5), to read only.
    pub(crate) fn map(array: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::with(array, length, false)
    }

    /// Likewise, and to [`store`](Self::store) to.
    pub(crate) fn map_writable(array: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        Self::with(array, length, true)
    }

    fn with(array: BorrowedFd<'_>, length: usize, writable: bool) -> io::Result<Self> {
        let write = if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping, at an address the kernel chooses.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | write,
                libc::MAP_SHARED,
                array.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = ptr::NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { base, length, writable })
    }

    /// The eight bytes at `at`, which must be aligned; nothing outside of the memory.
    pub(crate) fn word(&self, at: usize) -> Option<u64> {
        let end = at.checked_add(8)?;
        if !at.is_multiple_of(8) || end > self.length {
            return None;
        }
        // SAFETY: it lies within the mapping (just checked) and is aligned. Volatile, because the
        // kernel's programs write to it.
        Some(unsafe { self.base.as_ptr().add(at / 8).read_volatile() })
    }

    /// Adds to the eight bytes at `at`, as one step, also for the kernel's programs; nothing outside of
    /// the memory or where it is mapped to read only.
    pub(crate) fn add(&self, at: usize, value: u64) {
        if let Some(word) = self.writable_word(at) {
            // SAFETY: it lies within the mapping, is aligned and may be written to; whoever else changes
            // it does so by atomic steps, too.
            unsafe { AtomicU64::from_ptr(word) }.fetch_add(value, Ordering::SeqCst);
        }
    }

    /// Stores eight bytes at `at`, which must be aligned; nothing outside of the memory or where it is
    /// mapped to read only.
    pub(crate) fn store(&self, at: usize, value: u64) {
        if let Some(word) = self.writable_word(at) {
            // SAFETY: it lies within the mapping, is aligned and may be written to. Volatile, because the
            // kernel's programs read it.
            unsafe { word.write_volatile(value) };
        }
    }

    fn writable_word(&self, at: usize) -> Option<*mut u64> {
        let within = at.checked_add(8).is_some_and(|end| end <= self.length);
        // SAFETY: it lies within the mapping.
        (self.writable && within && at.is_multiple_of(8))
            .then(|| unsafe { self.base.as_ptr().add(at / 8) })
    }
}

impl Drop for ArrayMemory {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

impl Drop for PerfMemory {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.page + self.ring) };
    }
}
