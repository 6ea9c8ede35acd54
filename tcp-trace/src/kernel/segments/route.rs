//! The conversation with rtnetlink in one network namespace: lists, changes and news.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, netlink as nl,
        recv, send, socket_with, sockopt,
    },
};
use zerocopy::IntoBytes as _;

use crate::kernel::netlink::{self, Header};

/// The kernel fills datagrams of at most 32 KiB, unless one object needs more.
const BUFFER: usize = 128 << 10;
/// An answer may wait for the lock that all network configuration of the host shares.
const TIMEOUT: Duration = Duration::from_secs(10);
/// News taken at a time: where more come, all of it is looked at anew anyway.
const NEWS: usize = 1 << 12;

/// Multicast groups: `RTNLGRP_LINK`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_ROUTE`.
const GROUPS: u32 = 1 << 0 | 1 << 6 | 1 << 10;
/// `RTM_NEWLINK` and `RTM_DELLINK`.
const LINK_NEWS: [u16; 2] = [16, 17];
/// `RTM_NEWROUTE` and `RTM_DELROUTE`.
const ROUTE_NEWS: [u16; 2] = [24, 25];

/// A socket for questions and changes; it stays in the namespace it was opened in.
#[derive(Debug)]
pub(super) struct Route {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Route {
    /// Opens it in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(SocketFlags::CLOEXEC)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(TIMEOUT))?;
        // Connected to the kernel, it takes messages from no one else.
        connect(&socket, &nl::SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Lists objects: `each` gets what follows the header of each message.
    pub(super) fn list(
        &mut self,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.ask(kind, netlink::NLM_F_DUMP, body, &mut each)
    }

    /// Makes a change, and waits until it is made.
    pub(super) fn change(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.ask(kind, netlink::NLM_F_ACK | flags, body, &mut |_| {})
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(size_of::<Header>() + body.len()).map_err(io::Error::other)?;
        let flags = netlink::NLM_F_REQUEST | flags;
        let header = Header { length, kind, flags, sequence: self.sequence, port: 0 };
        let message = [header.as_bytes(), body].concat();
        retry_on_intr(|| send(&self.socket, &message, SendFlags::empty()))?;
        loop {
            let received =
                retry_on_intr(|| recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC));
            let (_, length) = received.map_err(|error| match error {
                Errno::AGAIN => io::Error::other("the kernel did not answer for 10 s"),
                error => error.into(),
            })?;
            let datagram = self.buffer.get(..length);
            let datagram = datagram.ok_or_else(|| io::Error::other("an answer was cut off"))?;
            if is_last(datagram, self.sequence, each)? {
                return Ok(());
            }
        }
    }
}

fn socket(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    // NETLINK_ROUTE is protocol 0.
    socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
}

/// Takes the messages of one datagram that answers the request with this number.
fn is_last(datagram: &[u8], sequence: u32, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    if datagram.is_empty() {
        return Err(io::Error::other("an empty answer"));
    }
    for message in netlink::messages(datagram) {
        let (header, payload) = message.map_err(io::Error::other)?;
        if header.sequence != sequence {
            continue;
        }
        match header.kind {
            netlink::NLMSG_ERROR | netlink::NLMSG_DONE => {
                return match netlink::errno(payload) {
                    0 => Ok(true),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
            netlink::NLMSG_OVERRUN => {}
            _ => each(payload),
        }
    }
    Ok(false)
}

/// A socket that hears of interfaces and routes as they change.
#[derive(Debug)]
pub(super) struct News {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl News {
    /// Opens it in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        bind(&socket, &nl::SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Takes what has come; whether any of it may change which interfaces are wanted.
    pub(super) fn matters(&mut self) -> bool {
        let mut matters = false;
        for _ in 0..NEWS {
            match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((_, length)) => {
                    // A router's routes change all the time: only the default ones matter.
                    matters |= self.buffer.get(..length).is_none_or(changes_wants);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return matters,
                // More came than the socket holds (ENOBUFS).
                Err(_) => return true,
            }
        }
        true
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a datagram tells of an interface or a default route, or cannot be read.
fn changes_wants(datagram: &[u8]) -> bool {
    netlink::messages(datagram).any(|message| {
        message.is_ok_and(|(header, payload)| {
            // The second byte of a `struct rtmsg` is the length of the prefix.
            LINK_NEWS.contains(&header.kind)
                || ROUTE_NEWS.contains(&header.kind) && payload.get(1) == Some(&0)
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let header = Header { length, kind, flags: 0, sequence, port: 0 };
        [header.as_bytes(), payload].concat()
    }

    fn taken(datagram: &[u8]) -> (Vec<Vec<u8>>, io::Result<bool>) {
        let mut payloads = Vec::new();
        let last = is_last(datagram, 7, &mut |payload| payloads.push(payload.to_owned()));
        (payloads, last)
    }

    #[test]
    fn answers_are_taken_until_the_last() {
        let rows = [message(16, 7, b"row1"), message(16, 6, b"past"), message(16, 7, b"row2")];
        let (payloads, last) = taken(&rows.concat());
        assert_eq!(payloads, [b"row1", b"row2"]);
        assert!(!last.unwrap());
        assert!(taken(&message(3, 7, &[0; 4])).1.unwrap());
        assert!(taken(&message(2, 7, &0i32.to_ne_bytes())).1.unwrap());
        let refused = taken(&message(2, 7, &(-1i32).to_ne_bytes())).1.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        assert!(taken(&[]).1.is_err());
        assert!(taken(&[1, 2, 3]).1.is_err());
    }

    #[test]
    fn of_routes_only_the_default_ones_are_news() {
        assert!(changes_wants(&message(16, 0, &[0; 16])));
        assert!(changes_wants(&message(17, 0, &[0; 16])));
        assert!(changes_wants(&message(24, 0, &[2, 0, 0, 0])));
        assert!(!changes_wants(&message(24, 0, &[2, 24, 0, 0])));
        assert!(!changes_wants(&message(25, 0, &[])));
        let both = [message(24, 0, &[2, 24, 0, 0]), message(25, 0, &[10, 0, 0, 0])].concat();
        assert!(changes_wants(&both));
    }

    #[test]
    fn the_kernel_lists_and_refuses() {
        let mut route = Route::open().unwrap();
        let mut links = 0;
        route.list(18, &[0; 16], |_| links += 1).unwrap();
        assert!(links > 0);
        // RTM_DELLINK of an interface that cannot be.
        let nobody = [[0; 4], (-1i32).to_ne_bytes(), [0; 4], [0; 4]].concat();
        assert!(route.change(17, 0, &nobody).is_err());
        assert!(!News::open().unwrap().matters());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = taken(&bytes);
            changes_wants(&bytes);
        }
    }
}
