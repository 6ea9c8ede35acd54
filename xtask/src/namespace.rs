//! Namespaces of one's own: a loopback without strangers' traffic or `TIME_WAIT`s, and tracefs where
//! the host has not mounted it.

use std::{
    fs::File,
    net::UdpSocket,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{self, Command},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    ioctl::{Setter, ioctl},
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
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

/// A network namespace of one's own, which lasts as long as this or a process in it.
#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<File>);

impl Network {
    /// A new one, with nothing but a loopback.
    pub(crate) fn new() -> Result<Self> {
        let made = thread::spawn(|| {
            enter_network()?;
            let file = File::open("/proc/thread-self/ns/net");
            file.context("cannot open the namespace of a thread")
        });
        let Ok(made) = made.join() else { bail!("the thread that makes a namespace died") };
        Ok(Self(Arc::new(made?)))
    }

    /// That of a handle such as `/proc/1/ns/net`.
    pub(crate) fn open(handle: &Path) -> Result<Self> {
        let tried = || format!("cannot open the namespace {}", handle.display());
        Ok(Self(Arc::new(File::open(handle).with_context(tried)?)))
    }

    /// Moves this thread, and those it starts from here on, into it.
    pub(crate) fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot enter a network namespace")
    }

    /// Has `command` run in it.
    pub(crate) fn hold(&self, command: &mut Command) {
        let file = Arc::clone(&self.0);
        // SAFETY: between fork and exec this makes one system call and touches no memory.
        unsafe {
            command.pre_exec(move || {
                let kind = Some(LinkNameSpaceType::Network);
                Ok(move_into_link_name_space(file.as_fd(), kind)?)
            });
        }
    }

    /// Where other programs find it while this process runs.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd()).into()
    }
}

/// Has `command` run in a new network namespace whose loopback is down.
pub(crate) fn isolate(command: &mut Command) {
    // SAFETY: between fork and exec this makes one system call and touches no memory; the process
    // that makes it has no other thread.
    unsafe {
        command.pre_exec(|| Ok(unshare_unsafe(UnshareFlags::NEWNET)?));
    }
}

/// Moves this thread, and those it starts from here on, into a new network namespace with nothing
/// but a loopback.
pub(crate) fn enter_network() -> Result<()> {
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
pub(crate) fn provide_tracefs() -> Result<()> {
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
