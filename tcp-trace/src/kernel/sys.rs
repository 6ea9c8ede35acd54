//! The system calls that no safe library offers, each behind a safe function.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
};

use aya_obj::generated::{
    BPF_F_BEFORE, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, bpf_attach_type, bpf_attr, bpf_cmd,
    bpf_link_info, bpf_prog_info, bpf_prog_type,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

mod memory;
mod perf_event;

pub(crate) use memory::{ArrayMemory, PerfMemory};
pub(crate) use perf_event::{Wake, perf_event_enable, perf_event_open, perf_event_write_to};

/// `NS_GET_NSTYPE`: `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// What kind of namespace the descriptor stands for: `CLONE_NEW*` (4.11).
///
/// # Errors
/// `ENOTTY` where it stands for no namespace.
pub(crate) fn namespace_kind(namespace: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: this request takes no pointer.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE, 0) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind) }
}

/// Moves the calling thread, and what it starts from here on, into a new network namespace.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` where there may be no more.
pub(crate) fn new_network_namespace() -> io::Result<()> {
    // SAFETY: the table of file descriptors stays shared.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Brings `lo` of the network namespace up that `socket` was opened in.
pub(crate) fn raise_loopback(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the structure is plain integers and unions of them, for which all-zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (into, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *into = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP.try_into().map_err(io::Error::other)?;
    // SAFETY: this request reads the structure, which outlives the call, and writes nothing.
    let answer =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts file descriptor `value` into a BPF array under `key`.
pub(crate) fn bpf_array_set_fd(
    map: BorrowedFd<'_>,
    key: u32,
    value: BorrowedFd<'_>,
) -> io::Result<()> {
    let value = value.as_raw_fd();
    // SAFETY: the union is plain integers, for which all-zero is a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: these are the members BPF_MAP_UPDATE_ELEM reads.
    let element = unsafe { &mut attr.__bindgen_anon_2 };
    element.map_fd = map.as_raw_fd().cast_unsigned();
    element.key = ptr::from_ref(&key).addr() as u64;
    element.__bindgen_anon_1.value = ptr::from_ref(&value).addr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// What the kernel counts about a loaded program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgramFigures {
    /// Runs; counted only while `kernel.bpf_stats_enabled` is 1.
    pub(crate) runs: u64,
    /// Nanoseconds spent; likewise.
    pub(crate) run_time_ns: u64,
    /// Runs skipped because the program was running on that CPU already (5.12).
    pub(crate) misses: u64,
}

/// Asks for the figures of a program.
pub(crate) fn bpf_program_figures(program: BorrowedFd<'_>) -> io::Result<ProgramFigures> {
    // SAFETY: the structure is plain integers, for which all-zero is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    // SAFETY: likewise.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.info.bpf_fd = program.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_prog_info>().try_into().map_err(io::Error::other)?;
    attr.info.info = (&raw mut info).addr() as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(ProgramFigures {
        runs: info.run_cnt,
        run_time_ns: info.run_time_ns,
        misses: info.recursion_misses,
    })
}

/// A descriptor of the link with this id.
pub(crate) fn bpf_link_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: the union is plain integers, for which all-zero is a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr).and_then(owned)
}

/// Where on an interface a program is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkPlace {
    /// XDP in the driver (5.9).
    XdpNative,
    /// XDP in the network stack (5.9).
    XdpGeneric,
    /// TC ingress, before the programs that are there (6.6).
    TcIngress,
    /// TC egress, before the programs that are there (6.6).
    TcEgress,
}

/// Links a program to an interface of the calling thread's network namespace, for as long as the
/// descriptor lives. What is there is never displaced.
pub(crate) fn bpf_link_create(
    program: BorrowedFd<'_>,
    interface: u32,
    place: LinkPlace,
) -> io::Result<OwnedFd> {
    // The first of several TC programs sees what the others end; it lets everything pass itself.
    let (kind, flags) = match place {
        LinkPlace::XdpNative => (bpf_attach_type::BPF_XDP, XDP_FLAGS_DRV_MODE),
        LinkPlace::XdpGeneric => (bpf_attach_type::BPF_XDP, XDP_FLAGS_SKB_MODE),
        LinkPlace::TcIngress => (bpf_attach_type::BPF_TCX_INGRESS, BPF_F_BEFORE),
        LinkPlace::TcEgress => (bpf_attach_type::BPF_TCX_EGRESS, BPF_F_BEFORE),
    };
    // SAFETY: the union is plain integers, for which all-zero is a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = interface;
    attr.link_create.attach_type = kind as u32;
    attr.link_create.flags = flags;
    bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).and_then(owned)
}

/// Loads a program that does nothing but say `answer`.
pub(crate) fn bpf_empty_program(kind: bpf_prog_type, answer: i32) -> io::Result<OwnedFd> {
    // `r0 = answer; exit`
    let answer = u64::from(answer.cast_unsigned()) << 32;
    let instructions = [0xb7 | answer, 0x95];
    // SAFETY: the union is plain integers, for which all-zero is a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_3.prog_type = kind as u32;
    attr.__bindgen_anon_3.insn_cnt = 2;
    attr.__bindgen_anon_3.insns = instructions.as_ptr().addr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr().addr() as u64;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).and_then(owned)
}

/// Nanoseconds that a run of `program` on `frame` takes, on average over `repeat` runs.
pub(crate) fn bpf_trial(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<u32> {
    // SAFETY: the union is plain integers, for which all-zero is a value.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.test.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.test.data_in = frame.as_ptr().addr() as u64;
    attr.test.data_size_in = frame.len().try_into().map_err(io::Error::other)?;
    attr.test.repeat = repeat;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel has filled in this very member.
    Ok(unsafe { attr.test.duration })
}

/// How often a kprobe's link was passed over, its breakpoint being at work already, or for want of
/// a slot for its return (6.7; 0 before).
pub(crate) fn bpf_kprobe_missed(link: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: the structure is plain integers, for which all-zero is a value.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    // SAFETY: likewise.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.info.bpf_fd = link.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_link_info>().try_into().map_err(io::Error::other)?;
    attr.info.info = (&raw mut info).addr() as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: plain integers either way; the kernel has filled in the member of a kprobe's link,
    // and what it does not know stays zero.
    Ok(unsafe { info.__bindgen_anon_1.perf_event.__bindgen_anon_1.kprobe.missed })
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: the attribute is initialised, and what it points to outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Lets this thread run like a batch job: it gets its share, but never cuts in on a thread that has
/// just been running, such as an end of a connection that is being traced.
pub(crate) fn run_as_batch() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call, which only reads it; 0 is the calling thread.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const param) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives memory back that is free by now: what the start took, ten times what is needed later.
pub(crate) fn give_memory_back() {
    // Other libraries keep less of what is free, and have no such call.
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and changes nothing that anybody holds.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Opens the directory or file of kernfs (cgroup2fs among them) with inode number `id`, in the file
/// system that `mount` lies in.
///
/// # Errors
/// `ESTALE` where there is none, `EPERM` without `CAP_DAC_READ_SEARCH`; `EOPNOTSUPP` or `ESTALE` in
/// other file systems.
pub(crate) fn open_kernfs(mount: BorrowedFd<'_>, id: u64) -> io::Result<OwnedFd> {
    /// A `struct file_handle` with what kernfs puts into one since Linux 5.5.
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        id: u64,
    }
    /// `FILEID_KERNFS` of `enum fid_type`.
    const KERNFS: i32 = 0xfe;
    let handle = Handle { bytes: 8, kind: KERNFS, id };
    // SAFETY: the handle is as long as it says, outlives the call and is only read.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw const handle,
            libc::O_PATH | libc::O_CLOEXEC,
        )
    };
    owned(fd)
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
