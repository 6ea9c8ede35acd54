//! Frames that are sent after all: on `lo` of a namespace of a thread's own.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// Puts this thread into a namespace with nothing but `lo`, which is down.
pub(crate) fn enter_own_namespace() {
    // SAFETY: it takes no pointer.
    ok(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into());
}

/// A socket that sends whole frames; raises `lo`.
pub(crate) fn packet_socket() -> OwnedFd {
    // SAFETY: it takes no pointer; the descriptor is ours alone.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        ok(fd.into());
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: plain integers, for which zero is a value; the call reads no more than there is.
    unsafe {
        let mut request: libc::ifreq = mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap();
        ok(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request).into());
    }
    socket
}

/// Sends it out of `lo`.
pub(crate) fn send(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: plain integers, for which zero is a value; address and frame are as long as stated.
    let sent = unsafe {
        let mut to: libc::sockaddr_ll = mem::zeroed();
        to.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        to.sll_ifindex = 1;
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            u32::try_from(size_of_val(&to)).unwrap(),
        )
    };
    ok(i64::try_from(sent).unwrap());
}

#[track_caller]
fn ok(answer: i64) {
    assert!(answer >= 0, "{}", io::Error::last_os_error());
}
