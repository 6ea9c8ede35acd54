//! Two namespaces and the wire between them, which the test itself is: it can let segments pass,
//! hold them, deliver what it holds and no more, or lose them.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{
    actor::Arg,
    deadline::until,
    netns::{Netns, interface_request},
    sock::sockaddr,
};

/// The interface at each end.
const INTERFACE: &str = "wire";
/// Longest packet.
const PACKET: usize = 2048;
/// FIN among the TCP flags.
const FIN: u8 = 1;
/// SYN, likewise.
const SYN: u8 = 2;
/// RST, likewise.
const RST: u8 = 4;

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Passes,
    IsHeld,
    IsLost,
    /// Passes, unless it is a TCP segment with nothing in it but an acknowledgement, from either
    /// end or from this one.
    LosesBareAcks(Option<usize>),
    /// The test is over.
    Ends,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Packets held, with the end they are for.
    held: Vec<(usize, Vec<u8>)>,
    /// Whether the next SYN is to be kept, and the one that was.
    keeps_syn: bool,
    syn: Option<Vec<u8>>,
}

/// The wire and its ends. The left one is where `.1` and `::1` are, the right one `.2` and `::2`.
#[derive(Debug)]
pub(crate) struct Wire {
    /// The left end.
    pub(crate) left: Netns,
    /// The right end.
    pub(crate) right: Netns,
    state: Arc<Mutex<State>>,
    ends: Arc<[File; 2]>,
    forwarder: Option<JoinHandle<()>>,
}

impl Wire {
    /// A wire through which everything passes.
    pub(crate) fn new() -> Self {
        let (left, right) = (Netns::new(), Netns::new());
        let ends = Arc::new([plug(&left, 1), plug(&right, 2)]);
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Passes,
            held: Vec::new(),
            keeps_syn: false,
            syn: None,
        }));
        let forwarder = std::thread::spawn({
            let (ends, state) = (Arc::clone(&ends), Arc::clone(&state));
            move || forward(&ends, &state)
        });
        Self { left, right, state, ends, forwarder: Some(forwarder) }
    }

    /// The address of the left end.
    pub(crate) fn left_address(v4: bool) -> IpAddr {
        address(v4, 1)
    }

    /// The address of the right end.
    pub(crate) fn right_address(v4: bool) -> IpAddr {
        address(v4, 2)
    }

    /// Delivers these packets to the left end (0) or the right one (1), one after the other.
    pub(crate) fn pour(&self, to: usize, packets: impl Iterator<Item = Vec<u8>>) {
        packets.for_each(|packet| write(&self.ends[to], &packet));
    }

    /// Holds what comes from now on.
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().mode = Mode::IsHeld;
    }

    /// Loses what comes from now on.
    pub(crate) fn lose(&self) {
        self.state.lock().unwrap().mode = Mode::IsLost;
    }

    /// Loses what is held.
    pub(crate) fn forget(&self) {
        self.state.lock().unwrap().held.clear();
    }

    /// Loses segments from now on that do nothing but acknowledge.
    pub(crate) fn lose_bare_acks(&self) {
        self.state.lock().unwrap().mode = Mode::LosesBareAcks(None);
    }

    /// Likewise, only those that the left end (0) or the right one (1) sends.
    pub(crate) fn lose_bare_acks_from(&self, end: usize) {
        self.state.lock().unwrap().mode = Mode::LosesBareAcks(Some(end));
    }

    /// Keeps a copy of the next SYN.
    pub(crate) fn keep_syn(&self) {
        self.state.lock().unwrap().keeps_syn = true;
    }

    /// Delivers the copy to the left end (0) or the right one (1), as if it had been on its way for
    /// long.
    pub(crate) fn repeat_syn(&self, to: usize) {
        let state = self.state.lock().unwrap();
        write(&self.ends[to], state.syn.as_ref().expect("a SYN has passed"));
    }

    /// Waits until the left end (0) or the right one (1) has sent something that is held.
    pub(crate) fn until_held(&self, from: usize) {
        self.until_any(from, "a packet", |_| true);
    }

    /// Waits until the left end (0) or the right one (1) has sent a RST that is held.
    pub(crate) fn until_reset_is_held(&self, from: usize) {
        self.until_any(from, "a RST", |packet| has_flag(packet, RST));
    }

    /// More than one may come: what is not answered is sent again.
    fn until_any(&self, from: usize, what: &str, is: impl Fn(&[u8]) -> bool) {
        let any = |state: &State| state.held.iter().any(|(to, packet)| *to != from && is(packet));
        until(
            || format!("{what} of {from} should be held: {:?}", self.state),
            || any(&self.state.lock().unwrap()).then_some(()),
        );
    }

    /// Waits until both ends have sent a FIN that is held.
    pub(crate) fn until_fins_are_held(&self) {
        until(
            || format!("two FINs should be held: {:?}", self.state),
            || {
                let state = self.state.lock().unwrap();
                let from =
                    |end| state.held.iter().any(|(to, packet)| *to == end && has_flag(packet, FIN));
                (from(0) && from(1)).then_some(())
            },
        );
    }

    /// Delivers what is held, and goes on holding what that gives rise to.
    pub(crate) fn deliver(&self) {
        let mut state = self.state.lock().unwrap();
        for (to, packet) in std::mem::take(&mut state.held) {
            write(&self.ends[to], &packet);
        }
    }

    /// Delivers what is held for the left end (0) or the right one (1), and goes on holding.
    pub(crate) fn deliver_to(&self, end: usize) {
        let mut state = self.state.lock().unwrap();
        let (now, held) =
            std::mem::take(&mut state.held).into_iter().partition(|(to, _)| *to == end);
        state.held = held;
        let now: Vec<(usize, Vec<u8>)> = now;
        for (to, packet) in now {
            write(&self.ends[to], &packet);
        }
    }

    /// Delivers what is held and lets everything pass again.
    pub(crate) fn release(&self) {
        self.deliver();
        let mut state = self.state.lock().unwrap();
        for (to, packet) in std::mem::take(&mut state.held) {
            write(&self.ends[to], &packet);
        }
        state.mode = Mode::Passes;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.mode = Mode::Ends;
        }
        if let Some(forwarder) = self.forwarder.take() {
            let _ = forwarder.join();
        }
    }
}

fn address(v4: bool, host: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(10, 99, 0, host).into()
    } else {
        Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, host.into()).into()
    }
}

/// Makes the interface in `netns`; what is sent there can be read from the file, and vice versa.
fn plug(netns: &Netns, host: u8) -> File {
    let home = netns.home();
    let (path, flags) = (b"/dev/net/tun\0", Arg::Number(libc::O_RDWR.into()));
    let open = [Arg::Number(libc::AT_FDCWD.into()), Arg::Bytes(path), flags];
    let tun = home.call(libc::SYS_openat, &open).expect("/dev/net/tun opens (CONFIG_TUN)").value;
    let kind = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
    let request = interface_request(INTERFACE, &kind.to_ne_bytes());
    let number = Arg::Number(libc::TUNSETIFF.cast_signed());
    home.call(libc::SYS_ioctl, &[Arg::Number(tun), number, Arg::Bytes(&request)]).unwrap();
    let file = File::from(home.take_descriptor(tun));

    let v4 = sockaddr((address(true, host), 0).into());
    netns.ioctl(libc::AF_INET, libc::SIOCSIFADDR, &interface_request(INTERFACE, &v4));
    let mask = sockaddr((Ipv4Addr::new(255, 255, 255, 0), 0).into());
    netns.ioctl(libc::AF_INET, libc::SIOCSIFNETMASK, &interface_request(INTERFACE, &mask));
    let index = netns.ioctl(libc::AF_INET, libc::SIOCGIFINDEX, &interface_request(INTERFACE, &[]));
    let IpAddr::V6(v6) = address(false, host) else { unreachable!() };
    // A `struct in6_ifreq`: address, length of the prefix, number of the interface.
    let request = [&v6.octets()[..], &64u32.to_ne_bytes(), &index[16..20]].concat();
    netns.raise(INTERFACE);
    netns.ioctl(libc::AF_INET6, libc::SIOCSIFADDR, &request);
    file
}

fn forward(ends: &[File; 2], state: &Mutex<State>) {
    let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    loop {
        let mut polled =
            ends.each_ref().map(|end| PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN));
        poll(&mut polled, Some(&tick)).unwrap();
        let ready = polled.each_ref().map(|end| end.revents().contains(PollFlags::IN));
        // From reading to writing, nobody can change the mode.
        let mut state = state.lock().unwrap();
        if state.mode == Mode::Ends {
            return;
        }
        for from in [0, 1].into_iter().filter(|&end| ready[end]) {
            let mut packet = vec![0; PACKET];
            let length = (&ends[from]).read(&mut packet).unwrap();
            packet.truncate(length);
            let to = 1 - from;
            if state.keeps_syn && has_flag(&packet, SYN) {
                state.keeps_syn = false;
                state.syn = Some(packet.clone());
            }
            match state.mode {
                Mode::LosesBareAcks(of)
                    if of.is_none_or(|end| end == from) && is_bare_ack(&packet) => {}
                Mode::Passes | Mode::LosesBareAcks(_) => write(&ends[to], &packet),
                Mode::IsHeld => state.held.push((to, packet)),
                Mode::IsLost | Mode::Ends => {}
            }
        }
    }
}

fn write(mut end: &File, packet: &[u8]) {
    let written = end.write(packet).expect("the interface takes packets");
    assert_eq!(written, packet.len());
}

/// Whether this is a TCP segment with this flag.
fn has_flag(packet: &[u8], flag: u8) -> bool {
    let tcp = tcp(packet);
    tcp.and_then(|tcp| tcp.get(13)).is_some_and(|flags| flags & flag != 0)
}

/// Whether this is a TCP segment without data, and without a flag that means more than data would.
fn is_bare_ack(packet: &[u8]) -> bool {
    let Some(tcp) = tcp(packet) else { return false };
    let header = usize::from(tcp[12] >> 4) * 4;
    tcp[13] & (FIN | SYN | RST) == 0 && tcp.len() == header
}

/// The TCP segment of a packet.
fn tcp(packet: &[u8]) -> Option<&[u8]> {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if packet[9] == 6 => packet.get(usize::from(packet[0] & 15) * 4..),
        Some(6) if packet[6] == 6 => packet.get(40..),
        _ => None,
    }
}
