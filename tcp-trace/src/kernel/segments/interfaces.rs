//! The interfaces of a network namespace, and which of them have a default route. Parsing is pure
//! and total.

use std::{collections::BTreeSet, io};

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::route::Route;
use crate::kernel::netlink;

// Of linux/rtnetlink.h and linux/if_link.h.
const RTM_GETLINK: u16 = 18;
const RTM_GETROUTE: u16 = 26;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_XDP: u16 = 43;
const IFLA_PARENT_DEV_NAME: u16 = 56;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Interfaces kept: what a host has that is out of its mind.
const LIMIT: usize = 1 << 14;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// Its name; what is no UTF-8 is replaced.
    pub(super) name: String,
    /// `ARPHRD_*`.
    pub(super) hardware: u16,
    /// What made it: `veth`, `tun`, `bridge`, …; `None` for most cards and for `lo`.
    pub(super) kind: Option<String>,
    /// Whether it stands on a device of some bus (told from 5.14 on).
    pub(super) on_bus: bool,
    /// Whether packets to anywhere leave by it.
    pub(super) default_route: bool,
    /// Number of the XDP program that is there; 0 where there are several.
    pub(super) xdp: Option<u32>,
}

/// `struct ifinfomsg`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct LinkMessage {
    family: u8,
    pad: u8,
    hardware: u16,
    index: i32,
    flags: u32,
    change: u32,
}

/// `struct rtmsg`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RouteMessage {
    family: u8,
    destination_len: u8,
    source_len: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

/// `struct rtnexthop`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct NextHop {
    length: u16,
    flags: u8,
    hops: u8,
    interface: i32,
}

/// Lists the interfaces of the namespace that `route` is of; `default_routes` are the indices of
/// those by which one leads out.
pub(super) fn interfaces(
    route: &mut Route,
    default_routes: &BTreeSet<u32>,
) -> io::Result<Vec<Interface>> {
    let mut ask = vec![0; size_of::<LinkMessage>()];
    netlink::put(&mut ask, IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut found = Vec::new();
    route.list(RTM_GETLINK, &ask, |payload| {
        if found.len() < LIMIT {
            found.extend(link(payload));
        }
    })?;
    for interface in &mut found {
        interface.default_route = default_routes.contains(&interface.index);
    }
    found.sort_unstable_by_key(|interface| interface.index);
    found.dedup_by_key(|interface| interface.index);
    Ok(found)
}

/// The interfaces by which a default route leads out, by index. The kernel lists every route for
/// it, of which a router may have a million.
pub(super) fn default_routes(route: &mut Route) -> io::Result<BTreeSet<u32>> {
    let mut out = BTreeSet::new();
    for family in [AF_INET, AF_INET6] {
        let ask = [&[family], &[0; size_of::<RouteMessage>() - 1][..]].concat();
        let listed = route.list(RTM_GETROUTE, &ask, |payload| default_route(payload, &mut out));
        // A kernel without IPv6 has no routes of it.
        if family == AF_INET {
            listed?;
        }
    }
    Ok(out)
}

/// One interface; `None` where the message makes no sense.
fn link(payload: &[u8]) -> Option<Interface> {
    let (message, rest) = LinkMessage::ref_from_prefix(payload).ok()?;
    let mut interface = Interface {
        index: u32::try_from(message.index).ok().filter(|index| *index > 0)?,
        hardware: message.hardware,
        ..Interface::default()
    };
    for (kind, value) in netlink::attributes(rest).map_while(Result::ok) {
        match kind {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_PARENT_DEV_NAME => interface.on_bus = true,
            IFLA_LINKINFO => interface.kind = nested(value, IFLA_INFO_KIND).map(text),
            IFLA_XDP => interface.xdp = xdp(value),
            _ => {}
        }
    }
    (!interface.name.is_empty()).then_some(interface)
}

fn nested(value: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut inner = netlink::attributes(value).map_while(Result::ok);
    inner.find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn xdp(value: &[u8]) -> Option<u32> {
    let attached = nested(value, IFLA_XDP_ATTACHED)?.first().is_some_and(|mode| *mode != 0);
    let id = nested(value, IFLA_XDP_PROG_ID).and_then(number).unwrap_or(0);
    attached.then_some(id)
}

/// Adds the interfaces by which a default route of the main table leads out.
fn default_route(payload: &[u8], out: &mut BTreeSet<u32>) {
    let Ok((message, rest)) = RouteMessage::ref_from_prefix(payload) else { return };
    let mut table = u32::from(message.table);
    let mut found = Vec::new();
    for (kind, value) in netlink::attributes(rest).map_while(Result::ok) {
        match kind {
            RTA_TABLE => table = number(value).unwrap_or(table),
            RTA_OIF => found.extend(number(value)),
            RTA_MULTIPATH => found.extend(next_hops(value)),
            _ => {}
        }
    }
    if message.destination_len == 0 && message.kind == RTN_UNICAST && table == RT_TABLE_MAIN {
        out.extend(found);
    }
}

/// The interfaces of a route with several next hops.
fn next_hops(mut rest: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while let Ok((hop, _)) = NextHop::ref_from_prefix(rest) {
        found.extend(u32::try_from(hop.interface));
        let length = usize::from(hop.length).max(size_of::<NextHop>()).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

fn number(value: &[u8]) -> Option<u32> {
    u32::read_from_bytes(value).ok()
}

/// Text that ends with a NUL.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(netlink::put(&mut bytes, kind, value));
        bytes
    }

    fn link_message(index: i32, hardware: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0, 0];
        bytes.extend(hardware.to_ne_bytes());
        bytes.extend(index.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(attributes.concat());
        bytes
    }

    fn route_message(length: u8, table: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let fixed = vec![AF_INET, length, 0, 0, table, 0, 0, kind, 0, 0, 0, 0];
        [fixed, attributes.concat()].concat()
    }

    #[test]
    fn a_link_is_read_with_its_kind_and_its_xdp_program() {
        let info = attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0"));
        let program = [attribute(2, &[2]), attribute(4, &77u32.to_ne_bytes())].concat();
        let bytes = link_message(
            3,
            1,
            &[attribute(IFLA_IFNAME, b"v0\0"), info, attribute(IFLA_XDP | 0x8000, &program)],
        );
        let expected = Interface {
            index: 3,
            name: "v0".to_owned(),
            hardware: 1,
            kind: Some("veth".to_owned()),
            xdp: Some(77),
            ..Interface::default()
        };
        assert_eq!(link(&bytes), Some(expected));
        let none = attribute(IFLA_XDP, &attribute(IFLA_XDP_ATTACHED, &[0]));
        let bytes = link_message(2, 1, &[attribute(3, b"e0\0"), attribute(56, b"0000:00"), none]);
        let card = link(&bytes).unwrap();
        assert!(card.on_bus && card.xdp.is_none() && card.kind.is_none());
        assert_eq!(link(&link_message(0, 1, &[attribute(3, b"e0\0")])), None);
        assert_eq!(link(&link_message(1, 1, &[])), None);
    }

    #[test]
    fn default_routes_of_the_main_table_alone_count() {
        let oif = |index: u32| attribute(RTA_OIF, &index.to_ne_bytes());
        let hop = |index: i32| [&[8, 0, 0, 0][..], &index.to_ne_bytes()].concat();
        let several = attribute(RTA_MULTIPATH, &[hop(5), hop(6)].concat());
        let other_table = attribute(RTA_TABLE, &51820u32.to_ne_bytes());
        let mut out = BTreeSet::new();
        for bytes in [
            route_message(0, 254, 1, &[oif(2)]),
            route_message(24, 254, 1, &[oif(3)]),
            // As long as 8 bits do, a table stands in both places.
            route_message(0, 252, 1, &[oif(4), other_table]),
            // Unreachable.
            route_message(0, 254, 7, &[oif(1)]),
            route_message(0, 254, 1, &[several]),
        ] {
            default_route(&bytes, &mut out);
        }
        assert_eq!(out, BTreeSet::from([2, 5, 6]));
    }

    #[test]
    fn every_host_has_lo() {
        let mut route = Route::open().unwrap();
        let routes = default_routes(&mut route).unwrap();
        let found = interfaces(&mut route, &routes).unwrap();
        let lo = found.iter().find(|interface| interface.name == "lo").unwrap();
        assert_eq!(lo.hardware, 772);
        assert!(!lo.default_route && lo.kind.is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = link(&bytes);
            default_route(&bytes, &mut BTreeSet::new());
            next_hops(&bytes);
            text(&bytes);
        }
    }
}
