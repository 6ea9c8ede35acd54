//! What the kernel itself says about a namespace, in `/proc`: somebody else's word for each claim.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tcp_trace::core::tcp_state::TcpState;

use super::netns::Netns;

/// A socket: its ends and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// This end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
    /// Its state.
    pub(crate) state: TcpState,
    /// Whether a mini-socket stands for it.
    pub(crate) mini: bool,
}

impl Row {
    /// The row as a host without hooks for mini-sockets can know it: a mini-socket, in whichever
    /// of its two states.
    pub(crate) fn without_substate(self) -> Self {
        if self.mini { Self { state: TcpState::TimeWait, ..self } } else { self }
    }
}

/// The full sockets of the namespace: no mini-sockets, which are no sockets any more.
pub(crate) fn sockets(netns: &Netns) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for file in ["tcp", "tcp6"] {
        rows.extend(all(netns, file).into_iter().filter(|row| !row.mini));
    }
    rows
}

/// Likewise, with the mini-sockets in their states: those that a connection's life ends in.
pub(crate) fn with_minis(netns: &Netns) -> BTreeSet<Row> {
    ["tcp", "tcp6"].iter().flat_map(|file| all(netns, file)).collect()
}

/// Every row of a file.
fn all(netns: &Netns, file: &str) -> Vec<Row> {
    let text = fs::read_to_string(netns.proc().join(file)).unwrap();
    text.lines().skip(1).filter_map(row).collect()
}

/// How many sockets stand in each state, mini-sockets in theirs among them.
pub(crate) fn gauges(netns: &Netns) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for row in ["tcp", "tcp6"].iter().flat_map(|file| all(netns, file)) {
        *counts.entry(row.state.name()).or_default() += 1;
    }
    counts
}

fn row(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (end(fields.next()?), end(fields.next()?));
    let state = TcpState::from_number(u8::from_str_radix(fields.next()?, 16).ok()?)?;
    // The timer of a mini-socket has a kind of its own.
    let timer = fields.nth(1)?;
    Some(Row { local, remote, state, mini: timer.starts_with("03:") })
}

/// `0100007F:1F90`: words of the address as the machine reads them.
fn end(text: &str) -> SocketAddr {
    let (address, port) = text.split_once(':').unwrap();
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(&address[word * 8..word * 8 + 8], 16).unwrap())
        .collect();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip: IpAddr = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).unwrap())),
    };
    SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).unwrap())
}

/// A figure of the namespace's MIB, such as `ActiveOpens` of `Tcp` or `TW` of `TcpExt`.
pub(crate) fn mib(netns: &Netns, group: &str, name: &str) -> u64 {
    let file = if group == "TcpExt" { "netstat" } else { "snmp" };
    let text = fs::read_to_string(netns.proc().join(file)).unwrap();
    let prefix = format!("{group}: ");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(found, _)| *found == name).unwrap().1.parse().unwrap()
}
