//! TCP sockets in the hands of an [`Actor`], one system call for each method.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::actor::{Actor, Arg};

/// Longest `struct sockaddr`.
const ADDRESS: usize = 128;

/// A socket; the actor's end closes it, not this value's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sock<'a> {
    actor: &'a Actor,
    fd: i64,
}

impl Actor {
    /// `socket()` of the family of `address`.
    pub(crate) fn socket(&self, address: SocketAddr) -> Sock<'_> {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let arguments = [family, libc::SOCK_STREAM, 0].map(|n| Arg::Number(n.into()));
        let fd = self.call(libc::SYS_socket, &arguments).unwrap().value;
        Sock { actor: self, fd }
    }

    /// A listener on `address`.
    pub(crate) fn listen(&self, address: SocketAddr) -> Sock<'_> {
        let sock = self.socket(address);
        sock.bind(address).unwrap();
        sock.listen(64);
        sock
    }

    /// A connection to `address`.
    pub(crate) fn connect(&self, address: SocketAddr) -> Sock<'_> {
        let sock = self.socket(address);
        sock.connect(address).unwrap();
        sock
    }
}

impl<'a> Sock<'a> {
    /// The one with this descriptor of the actor's.
    pub(crate) fn at(actor: &'a Actor, fd: i64) -> Self {
        Self { actor, fd }
    }

    /// Its descriptor in the actor.
    pub(crate) fn descriptor(&self) -> i64 {
        self.fd
    }

    /// Who holds it.
    pub(crate) fn actor(&self) -> &'a Actor {
        self.actor
    }

    fn call(&self, number: i64, arguments: &[Arg<'_>]) -> io::Result<super::actor::Answered> {
        let all: Vec<_> = [Arg::Number(self.fd)].iter().chain(arguments).copied().collect();
        self.actor.call(number, &all)
    }

    /// `bind()`.
    pub(crate) fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let bytes = sockaddr(address);
        let length = Arg::Number(length(&bytes));
        self.call(libc::SYS_bind, &[Arg::Bytes(&bytes), length]).map(drop)
    }

    /// `listen()`.
    pub(crate) fn listen(&self, backlog: i64) {
        self.call(libc::SYS_listen, &[Arg::Number(backlog)]).unwrap();
    }

    /// `accept()`; waits where nothing is there to be accepted.
    pub(crate) fn accept(&self) -> Sock<'a> {
        let nowhere = [Arg::Number(0), Arg::Number(0)];
        let fd = self.call(libc::SYS_accept, &nowhere).unwrap().value;
        Sock { actor: self.actor, fd }
    }

    /// `connect()`.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        self.begin_connect(address);
        self.actor.finish().map(drop)
    }

    /// `connect()`, the end of which is waited for with [`Actor::finish`].
    pub(crate) fn begin_connect(&self, address: SocketAddr) {
        let bytes = sockaddr(address);
        let arguments = [Arg::Number(self.fd), Arg::Bytes(&bytes), Arg::Number(length(&bytes))];
        self.actor.begin(libc::SYS_connect, &arguments);
    }

    /// `connect()` to `AF_UNSPEC`: undoes the connection, keeps the socket.
    pub(crate) fn disconnect(&self) {
        let unspecified = [0u8; 16];
        self.call(libc::SYS_connect, &[Arg::Bytes(&unspecified), Arg::Number(16)]).unwrap();
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let length = length(bytes);
        let arguments = [Arg::Bytes(bytes), Arg::Number(length), Arg::Number(0)];
        let arguments = [&arguments[..], &[Arg::Number(0), Arg::Number(0)]].concat();
        assert_eq!(self.call(libc::SYS_sendto, &arguments).unwrap().value, length);
    }

    /// Connects to `address` with `bytes` in the SYN (Fast Open).
    pub(crate) fn send_fast(&self, address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let (flags, to) = (Arg::Number(libc::MSG_FASTOPEN.into()), sockaddr(address));
        let data = [Arg::Bytes(bytes), Arg::Number(length(bytes)), flags];
        let to = [Arg::Bytes(&to), Arg::Number(length(&to))];
        self.call(libc::SYS_sendto, &[&data[..], &to].concat()).map(drop)
    }

    /// Receives up to 64 bytes; waits for the first, and gives none at the end of the stream.
    pub(crate) fn receive(&self) -> io::Result<Vec<u8>> {
        let none = [Arg::Number(0); 3];
        let arguments = [&[Arg::Room(64), Arg::Number(64)][..], &none].concat();
        let answered = self.call(libc::SYS_recvfrom, &arguments)?;
        let got = usize::try_from(answered.value).unwrap();
        Ok(answered.memory[..got].to_vec())
    }

    /// Waits until this many bytes can be read, and leaves them there.
    pub(crate) fn wait_for(&self, bytes: usize) {
        let wanted = Arg::Number(i64::try_from(bytes).unwrap());
        let flags = Arg::Number((libc::MSG_PEEK | libc::MSG_WAITALL).into());
        let arguments = [Arg::Room(bytes), wanted, flags, Arg::Number(0), Arg::Number(0)];
        let answered = self.call(libc::SYS_recvfrom, &arguments).unwrap();
        assert_eq!(usize::try_from(answered.value), Ok(bytes));
    }

    /// Reads up to the end of the stream, which must hold just `bytes`.
    #[track_caller]
    pub(crate) fn read_to_end(&self, bytes: &[u8]) {
        let mut got = Vec::new();
        loop {
            match self.receive().unwrap() {
                part if part.is_empty() => break,
                part => got.extend(part),
            }
        }
        assert_eq!(got, bytes);
    }

    /// `shutdown(SHUT_WR)`.
    pub(crate) fn shutdown(&self) {
        self.call(libc::SYS_shutdown, &[Arg::Number(libc::SHUT_WR.into())]).unwrap();
    }

    /// `close()`.
    pub(crate) fn close(self) {
        self.call(libc::SYS_close, &[]).unwrap();
    }

    /// `close()` with `SO_LINGER` 0.
    pub(crate) fn abort(self) {
        let linger = [1i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat();
        self.set(libc::SOL_SOCKET, libc::SO_LINGER, &linger);
        self.close();
    }

    /// An option that is a number.
    pub(crate) fn set_number(&self, level: i32, option: i32, value: i32) {
        self.set(level, option, &value.to_ne_bytes());
    }

    fn set(&self, level: i32, option: i32, value: &[u8]) {
        let names = [level, option].map(|n| Arg::Number(n.into()));
        let value = [Arg::Bytes(value), Arg::Number(length(value))];
        self.call(libc::SYS_setsockopt, &[names, value].concat()).unwrap();
    }

    /// Makes calls return instead of waiting.
    pub(crate) fn set_nonblocking(&self) {
        let arguments = [libc::F_SETFL, libc::O_NONBLOCK].map(|n| Arg::Number(n.into()));
        self.call(libc::SYS_fcntl, &arguments).unwrap();
    }

    /// `getsockname()`, v4-mapped addresses as IPv4.
    pub(crate) fn local(&self) -> SocketAddr {
        let room = u64::try_from(ADDRESS).unwrap().to_ne_bytes();
        let arguments = [Arg::Room(ADDRESS), Arg::Bytes(&room)];
        parse(&self.call(libc::SYS_getsockname, &arguments).unwrap().memory)
    }
}

/// Any port of the loopback address of the same family.
pub(crate) fn loopback(v4: bool) -> SocketAddr {
    let address: IpAddr = if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(address, 0)
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap()
}

/// The bytes of a `struct sockaddr_in` or `sockaddr_in6`.
pub(crate) fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = u16::try_from(family).unwrap().to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.extend(ip.octets());
            bytes.extend([0; 8]);
        }
        IpAddr::V6(ip) => {
            bytes.extend([0; 4]);
            bytes.extend(ip.octets());
            bytes.extend([0; 4]);
        }
    }
    bytes
}

fn parse(bytes: &[u8]) -> SocketAddr {
    let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let ip = if family == libc::AF_INET {
        IpAddr::from(<[u8; 4]>::try_from(&bytes[4..8]).unwrap())
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&bytes[8..24]).unwrap()).to_canonical()
    };
    SocketAddr::new(ip, port)
}
