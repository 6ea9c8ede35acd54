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
}

/// The full sockets of the namespace: no mini-sockets, which are no sockets any more.
pub(crate) fn sockets(netns: &Netns) -> BTreeSet<Row> {
    read(netns, |line| !is_mini(line))
}

/// Everything that is there: full sockets, mini-sockets in their substate, and requests, which
/// stand in `SYN_RECV` as a child does for a moment.
pub(crate) fn everything(netns: &Netns) -> BTreeSet<Row> {
    read(netns, |_| true)
}

fn read(netns: &Netns, wanted: impl Fn(&str) -> bool) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for file in ["tcp", "tcp6"] {
        let text = fs::read_to_string(netns.proc().join(file)).unwrap();
        rows.extend(text.lines().skip(1).filter(|line| wanted(line)).filter_map(row));
    }
    rows
}

/// The timer of a mini-socket has a kind of its own.
fn is_mini(line: &str) -> bool {
    line.split_ascii_whitespace().nth(5).is_some_and(|timer| timer.starts_with("03:"))
}

/// How many full sockets stand in each state.
pub(crate) fn gauges(netns: &Netns) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for row in sockets(netns) {
        *counts.entry(row.state.name()).or_default() += 1;
    }
    counts
}

fn row(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (end(fields.next()?), end(fields.next()?));
    let state = TcpState::from_number(u8::from_str_radix(fields.next()?, 16).ok()?)?;
    Some(Row { local, remote, state })
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
