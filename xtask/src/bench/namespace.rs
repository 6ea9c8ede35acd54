//! Namespaces of one's own: a loopback without strangers' traffic or `TIME_WAIT`s, and tracefs where
//! the host has not mounted it.

use std::{net::UdpSocket, path::Path};

use anyhow::{Context as _, Result};
use rustix::{
    ioctl::{Setter, ioctl},
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

const TRACEFS: &str = "/sys/kernel/tracing";
/// `SIOCSIFFLAGS`: sets an interface's flags.
const SET_FLAGS: u32 = 0x8914;
/// `IFF_UP`.
const UP: i16 = 1;

/// `struct ifreq` with flags in its union, whose largest member has 24 bytes.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Moves this thread, and those it starts from here on, into a new network namespace with nothing
/// but a loopback.
pub(super) fn enter_network() -> Result<()> {
    // SAFETY: the table of file descriptors stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
        .context("cannot make a network namespace; that takes root")?;
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot open a socket in the namespace")?;
    let mut request = InterfaceFlags { name: [0; 16], flags: UP, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq`, which this is, and writes nothing.
    unsafe { ioctl(&socket, Setter::<SET_FLAGS, _>::new(request)) }
        .context("cannot bring up loopback in the namespace")
}

/// Mounts tracefs for this process alone, if the host has it not: tracepoints of libbpf-tools need
/// it.
///
/// Must come before any thread is started.
pub(super) fn provide_tracefs() -> Result<()> {
    if Path::new(TRACEFS).join("events").exists() {
        return Ok(());
    }
    // SAFETY: the table of file descriptors stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot make a mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("cannot make the mounts private")?;
    mount("tracefs", TRACEFS, "tracefs", MountFlags::empty(), None)
        .with_context(|| format!("cannot mount tracefs at {TRACEFS}"))
}
