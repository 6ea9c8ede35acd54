//! The events through which records come.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::generated::{perf_event_attr, perf_event_sample_format, perf_sw_ids, perf_type_id};

use super::owned;

/// `PERF_FLAG_FD_CLOEXEC` of `perf_event_open(2)`.
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
/// `PERF_EVENT_IOC_ENABLE`: `_IO('$', 0)`.
const PERF_EVENT_IOC_ENABLE: libc::Ioctl = 0x2400;
/// `PERF_EVENT_IOC_SET_OUTPUT`: `_IO('$', 5)`.
const PERF_EVENT_IOC_SET_OUTPUT: libc::Ioctl = 0x2405;

/// When the readers of a buffer are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Once so many bytes wait.
    Bytes(u32),
    /// With every so many records. Every single one halves the connection rate of the host.
    Records(u32),
}

/// Opens the software event that `bpf_perf_event_output` writes to, for one CPU.
pub(crate) fn perf_event_open(cpu: u32, wake: Wake) -> io::Result<OwnedFd> {
    // SAFETY: the structure is plain integers, for which all-zero is a value.
    let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
    attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
    attr.size = size_of::<perf_event_attr>().try_into().map_err(io::Error::other)?;
    attr.config = perf_sw_ids::PERF_COUNT_SW_BPF_OUTPUT as u64;
    attr.sample_type = perf_event_sample_format::PERF_SAMPLE_RAW as u64;
    attr.__bindgen_anon_1.sample_period = 1;
    match wake {
        Wake::Bytes(bytes) => {
            attr.set_watermark(1);
            attr.__bindgen_anon_2.wakeup_watermark = bytes;
        }
        Wake::Records(records) => attr.__bindgen_anon_2.wakeup_events = records,
    }
    let cpu = i32::try_from(cpu).map_err(io::Error::other)?;
    // SAFETY: the attribute is initialised, of the size it says, and only read.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)
    };
    owned(fd)
}

/// Lets the event take samples.
pub(crate) fn perf_event_enable(event: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: this request takes no pointer.
    let answer = unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_ENABLE, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets what goes through `event` be written into the buffer of another event of the same CPU, which
/// is mapped. Each wakes the readers of that buffer by its own rule.
pub(crate) fn perf_event_write_to(event: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    let other = other.as_raw_fd();
    // SAFETY: this request takes a descriptor's number, and no pointer.
    let answer = unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_OUTPUT, other) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
