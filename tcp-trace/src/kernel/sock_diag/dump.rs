//! The conversation with the kernel: a request, then datagrams until it says done.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netlink as nl, recv,
        send, socket_with, sockopt,
    },
};
use zerocopy::{Immutable, IntoBytes};

use super::{
    LIMIT, Snapshot, SockDiagError, Take,
    row::{self, Found, Stamp},
};
use crate::kernel::netlink::{self, Header, Malformed};

/// `SOCK_DIAG_BY_FAMILY`: kind of the request and of every row.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The kernel fills datagrams of at most 32 KiB.
const BUFFER: usize = 64 << 10;
/// A datagram takes the kernel well under a millisecond.
const TIMEOUT: Duration = Duration::from_secs(5);

/// `struct inet_diag_req_v2` after its header.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
struct Request {
    header: Header,
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    /// `struct inet_diag_sockid`: zero for every socket.
    id: [u8; 48],
}

/// [`Header::length`] of a request.
const REQUEST_LEN: u32 = 72;
const _: () = assert!(size_of::<Request>() == REQUEST_LEN as usize);

/// A `NETLINK_SOCK_DIAG` socket in one network namespace.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Channel {
    /// Opens it in the namespace of the calling thread, which it is about from wherever it is used.
    ///
    /// # Errors
    /// Where the kernel lacks the interface.
    pub(crate) fn open() -> Result<Self, SockDiagError> {
        let protocol = Some(nl::SOCK_DIAG);
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .map_err(|error| match error {
                Errno::PROTONOSUPPORT => SockDiagError::Unavailable { source: error.into() },
                _ => failed("socket")(error),
            })?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(TIMEOUT))
            .map_err(failed("setsockopt SO_RCVTIMEO"))?;
        // Connected to the kernel, it takes messages from no one else.
        connect(&socket, &nl::SocketAddrNetlink::new(0, 0)).map_err(failed("connect"))?;
        Ok(Self { socket, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// Lists the sockets of one address family: adds them to `found`, and hands that to `take` whenever it
    /// has so many. After an error the channel is of no more use.
    ///
    /// The kernel reads on only as datagrams are taken, so that `take` may take its time.
    pub(super) fn dump(
        &mut self,
        family: u8,
        stamp: Stamp,
        found: &mut Snapshot,
        (size, take): (usize, &mut Take<'_>),
    ) -> Result<(), SockDiagError> {
        self.sequence += 1;
        let request = Request::new(family, self.sequence);
        retry_on_intr(|| send(&self.socket, request.as_bytes(), SendFlags::empty()))
            .map_err(failed("send"))?;
        loop {
            let datagram = self.receive()?;
            if read(datagram, request.header.sequence, stamp, found)? == Progress::Done {
                return Ok(());
            }
            if found.held() >= size && !take(found.piece()) {
                return Err(SockDiagError::Unwanted);
            }
        }
    }

    /// The next datagram, whole.
    fn receive(&mut self) -> Result<&[u8], SockDiagError> {
        // With TRUNC the kernel tells the whole length, also of what did not fit.
        let received =
            retry_on_intr(|| recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC));
        let (_, need) = received.map_err(|error| match error {
            Errno::AGAIN => SockDiagError::Silent { after: TIMEOUT },
            _ => failed("recv")(error),
        })?;
        let have = self.buffer.len();
        let cut = Malformed { what: "netlink datagram cut off", have, need };
        self.buffer.get(..need).ok_or(SockDiagError::Malformed(cut))
    }
}

impl Request {
    /// For all TCP sockets of a family.
    fn new(family: u8, sequence: u32) -> Self {
        Self {
            header: Header {
                length: REQUEST_LEN,
                kind: SOCK_DIAG_BY_FAMILY,
                flags: netlink::NLM_F_REQUEST | netlink::NLM_F_DUMP,
                sequence,
                port: 0,
            },
            family,
            protocol: row::IPPROTO_TCP,
            extensions: 1 << (row::INET_DIAG_INFO - 1),
            pad: 0,
            states: row::STATES,
            id: [0; 48],
        }
    }
}

/// Names the system call that failed.
fn failed(what: &'static str) -> impl Fn(Errno) -> SockDiagError {
    move |error| SockDiagError::Call { what, source: io::Error::from(error) }
}

/// Whether a dump goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Datagrams follow.
    More,
    /// This was the last.
    Done,
}

/// Takes the rows of one datagram that answers the request with this number.
pub(super) fn read(
    datagram: &[u8],
    sequence: u32,
    stamp: Stamp,
    found: &mut Snapshot,
) -> Result<Progress, SockDiagError> {
    if datagram.is_empty() {
        // Asking on would be answered the same way for ever.
        let (have, need) = (0, size_of::<Header>());
        return Err(Malformed { what: "netlink datagram", have, need }.into());
    }
    for message in netlink::messages(datagram) {
        let (header, payload) = message?;
        if header.sequence != sequence {
            continue;
        }
        found.interrupted |= header.flags & netlink::NLM_F_DUMP_INTR != 0;
        match header.kind {
            SOCK_DIAG_BY_FAMILY => found.count(row::parse(payload, stamp)?),
            netlink::NLMSG_OVERRUN => found.interrupted = true,
            netlink::NLMSG_ERROR | netlink::NLMSG_DONE => match netlink::errno(payload) {
                0 if header.kind == netlink::NLMSG_DONE => return Ok(Progress::Done),
                0 => {}
                errno => return Err(SockDiagError::from_answer(errno)),
            },
            _ => {}
        }
    }
    Ok(Progress::More)
}

impl Snapshot {
    /// Keeps what stands for a socket and counts the rest.
    fn count(&mut self, found: Found) {
        if self.told >= LIMIT {
            self.beyond_limit += 1;
            return;
        }
        self.told += usize::from(found != Found::Other);
        match found {
            Found::Socket(row) => self.rows.push(row),
            Found::Mini(record) => self.minis.push(record),
            Found::Other => self.passed_over += 1,
        }
    }
}

/// Dumps, and once more where the first try failed or was interrupted: what it has told is not to be
/// trusted. Where the kernel lacks the interface, or nobody wants to know any more, there is nothing to
/// try again.
///
/// # Errors
/// That of the last try.
pub(crate) fn steady(
    mut dump: impl FnMut() -> Result<Snapshot, SockDiagError>,
) -> Result<Snapshot, SockDiagError> {
    match dump() {
        Ok(found) if !found.interrupted => Ok(found),
        Err(last @ (SockDiagError::Unavailable { .. } | SockDiagError::Unwanted)) => Err(last),
        Ok(_) | Err(_) => dump(),
    }
}
