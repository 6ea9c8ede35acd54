//! Orders that are no single system call: a descriptor goes from one process to another.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, IntoRawFd as _},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The order to send a descriptor with `SCM_RIGHTS`: over which socket, and which.
pub(super) const SEND: i64 = -3;
/// The order to receive one: over which socket; answers with its number.
pub(super) const RECEIVE: i64 = -4;
/// The order to receive one over the socket for orders.
pub(super) const ADOPT: i64 = -5;

/// Room for one descriptor.
const ROOM: usize = rustix::cmsg_space!(ScmRights(1));

/// 0, or -1.
///
/// # Safety
/// Both are open descriptors.
pub(super) unsafe fn send(over: u64, descriptor: u64) -> i64 {
    // SAFETY: the caller's promise.
    let [over, descriptor] = [over, descriptor].map(|number| unsafe { borrowed(number) });
    if self::over(over, descriptor).is_ok() { 0 } else { -1 }
}

/// Sends `descriptor` over `socket`. Allocates nothing.
pub(super) fn over(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut message = SendAncillaryBuffer::new(&mut room);
    let sent = [descriptor];
    assert!(message.push(SendAncillaryMessage::ScmRights(&sent)), "there is room for one");
    sendmsg(socket, &[IoSlice::new(b".")], &mut message, SendFlags::empty())?;
    Ok(())
}

/// The descriptor's number, or -1.
///
/// # Safety
/// `over` is an open descriptor.
pub(super) unsafe fn receive(over: u64) -> i64 {
    // SAFETY: the caller's promise.
    let over = unsafe { borrowed(over) };
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut message = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let got = recvmsg(over, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::empty());
    let descriptor = message.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match descriptor {
        Some(descriptor) if got.is_ok() => descriptor.into_raw_fd().into(),
        _ => -1,
    }
}

unsafe fn borrowed<'a>(number: u64) -> BorrowedFd<'a> {
    // SAFETY: the caller's promise.
    unsafe { BorrowedFd::borrow_raw(i32::try_from(number).unwrap_or(i32::MAX)) }
}
