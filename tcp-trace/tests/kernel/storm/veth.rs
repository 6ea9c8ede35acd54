//! Two namespaces joined by a pair of virtual interfaces: the kernel's own wire, which keeps up with
//! any load. [`Wire`](crate::wire::Wire) can hold segments, and is slower.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    actor::Arg,
    netns::{Netns, interface_request},
    sock::sockaddr,
};

/// The interface at each end.
pub(crate) const INTERFACE: &str = "storm";

// Of linux/rtnetlink.h, linux/netlink.h, linux/if_link.h and linux/veth.h.
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_EXCL: u16 = 0x200;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// A `struct ifinfomsg` that asks for nothing.
const IFINFOMSG: [u8; 16] = [0; 16];

/// Where an end of the pair is: 1 the left one, 2 the right one.
pub(crate) fn address(v4: bool, host: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(10, 98, 0, host).into()
    } else {
        Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, host.into()).into()
    }
}

/// Joins them.
pub(crate) fn join(left: &Netns, right: &Netns) {
    let name = attribute(IFLA_IFNAME, b"storm\0");
    let there = attribute(IFLA_NET_NS_PID, &right.home().pid().to_ne_bytes());
    let peer = attribute(VETH_INFO_PEER, &[&IFINFOMSG[..], &name, &there].concat());
    let data = attribute(IFLA_INFO_DATA, &peer);
    let kind = attribute(IFLA_INFO_KIND, b"veth");
    let info = attribute(IFLA_LINKINFO, &[kind, data].concat());
    request(left, &[&IFINFOMSG[..], &name, &info].concat());
    raise(left, 1);
    raise(right, 2);
}

/// A `struct rtattr` with its value, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends `RTM_NEWLINK` and takes the answer.
fn request(netns: &Netns, body: &[u8]) {
    let length = u32::try_from(16 + body.len()).unwrap();
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend([RTM_NEWLINK.to_ne_bytes(), flags.to_ne_bytes()].concat());
    message.extend([0; 8]);
    message.extend(body);

    let home = netns.home();
    let open = [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE];
    let open = open.map(|number| Arg::Number(number.into()));
    let socket = Arg::Number(home.call(libc::SYS_socket, &open).unwrap().value);
    let rest = [Arg::Number(0); 3];
    let size = Arg::Number(i64::try_from(message.len()).unwrap());
    let send = [&[socket, Arg::Bytes(&message), size][..], &rest].concat();
    home.call(libc::SYS_sendto, &send).unwrap();
    let receive = [&[socket, Arg::Room(256), Arg::Number(256)][..], &rest].concat();
    let answer = home.call(libc::SYS_recvfrom, &receive).unwrap().memory;
    home.call(libc::SYS_close, &[socket]).unwrap();
    // A `struct nlmsgerr` behind the header.
    let error = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
    assert_eq!(error, 0, "no veth (CONFIG_VETH): {}", std::io::Error::from_raw_os_error(-error));
}

fn raise(netns: &Netns, host: u8) {
    let v4 = sockaddr((address(true, host), 0).into());
    netns.ioctl(libc::AF_INET, libc::SIOCSIFADDR, &interface_request(INTERFACE, &v4));
    let mask = sockaddr((Ipv4Addr::new(255, 255, 255, 0), 0).into());
    netns.ioctl(libc::AF_INET, libc::SIOCSIFNETMASK, &interface_request(INTERFACE, &mask));
    // An address that another host might have could not be used for a second.
    netns.set(&format!("ipv6/conf/{INTERFACE}/accept_dad"), "0");
    let index = netns.ioctl(libc::AF_INET, libc::SIOCGIFINDEX, &interface_request(INTERFACE, &[]));
    let IpAddr::V6(v6) = address(false, host) else { unreachable!() };
    // A `struct in6_ifreq`: address, length of the prefix, number of the interface.
    let request = [&v6.octets()[..], &64u32.to_ne_bytes(), &index[16..20]].concat();
    netns.raise(INTERFACE);
    netns.ioctl(libc::AF_INET6, libc::SIOCSIFADDR, &request);
}
