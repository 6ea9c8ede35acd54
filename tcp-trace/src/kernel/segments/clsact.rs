//! TC before links (6.6): a clsact qdisc and a filter in it, which nobody's end takes away. What is
//! sent and read is pure; the rest asks the kernel.

use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    interfaces::text,
    owner::{self, Owner, Qdisc},
    route::Route,
};
use crate::kernel::netlink;

// Of linux/rtnetlink.h and linux/pkt_sched.h.
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const ETH_P_ALL: u16 = 3;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;

/// Filters are tried in the order of their priorities; ours looks and lets pass, so it comes early.
const PRIORITY: u16 = 7;
/// The number of our filter among those of its priority: "tt".
const HANDLE: u32 = 0x7474;
/// Filters of an interface that are looked at.
const LIMIT: usize = 1 << 12;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What comes in.
    Ingress,
    /// What goes out.
    Egress,
}

impl Side {
    /// Both.
    const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    const fn parent(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
        }
    }
}

/// `struct tcmsg`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Message {
    family: u8,
    pad: [u8; 3],
    interface: i32,
    handle: u32,
    parent: u32,
    info: u32,
}

impl Message {
    fn of(interface: u32) -> io::Result<Self> {
        let interface = i32::try_from(interface).map_err(io::Error::other)?;
        Ok(Self { interface, ..Self::default() })
    }

    fn filter(interface: u32, side: Side, priority: u16) -> io::Result<Self> {
        Ok(Self {
            handle: HANDLE,
            parent: side.parent(),
            info: u32::from(priority) << 16 | u32::from(ETH_P_ALL.to_be()),
            ..Self::of(interface)?
        })
    }
}

/// The qdisc at an interface's ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IngressQdisc {
    /// clsact: filters both ways.
    Clsact,
    /// The older one, which has no egress.
    IngressOnly,
}

/// The interfaces that have one, by index.
pub(super) fn qdiscs(route: &mut Route) -> io::Result<Vec<(u32, IngressQdisc)>> {
    let mut found = Vec::new();
    route.list(RTM_GETQDISC, Message::default().as_bytes(), |payload| {
        found.extend(qdisc(payload));
    })?;
    Ok(found)
}

fn qdisc(payload: &[u8]) -> Option<(u32, IngressQdisc)> {
    let (message, rest) = Message::ref_from_prefix(payload).ok()?;
    let index = u32::try_from(message.interface).ok()?;
    let mut attributes = netlink::attributes(rest).map_while(Result::ok);
    let (_, kind) = attributes.find(|(kind, _)| *kind == TCA_KIND)?;
    match text(kind).as_str() {
        "clsact" => Some((index, IngressQdisc::Clsact)),
        "ingress" => Some((index, IngressQdisc::IngressOnly)),
        _ => None,
    }
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    priority: u16,
    handle: u32,
    /// Its name, where it is of BPF; else what it is.
    pub(super) name: String,
}

/// The filters of one side of an interface with a qdisc for them.
pub(super) fn filters(route: &mut Route, interface: u32, side: Side) -> io::Result<Vec<Filter>> {
    let ask = Message { parent: side.parent(), ..Message::of(interface)? };
    let mut found = Vec::new();
    route.list(RTM_GETTFILTER, ask.as_bytes(), |payload| {
        if found.len() < LIMIT {
            found.extend(filter(payload));
        }
    })?;
    Ok(found)
}

fn filter(payload: &[u8]) -> Option<Filter> {
    let (message, rest) = Message::ref_from_prefix(payload).ok()?;
    let (mut kind, mut name) = (String::new(), None);
    for (attribute, value) in netlink::attributes(rest).map_while(Result::ok) {
        match attribute {
            TCA_KIND => kind = text(value),
            TCA_OPTIONS => {
                let mut inner = netlink::attributes(value).map_while(Result::ok);
                name = inner.find(|(kind, _)| *kind == TCA_BPF_NAME).map(|(_, name)| text(name));
            }
            _ => {}
        }
    }
    // A row without a handle stands for a priority as such.
    let name = if kind == "bpf" { name.unwrap_or(kind) } else { kind };
    let priority = u16::try_from(message.info >> 16).ok()?;
    (message.handle != 0).then_some(Filter { priority, handle: message.handle, name })
}

/// The priority for a filter of ours beside others: before all of them where there is room, and
/// always one that is free, so that who replaces or removes his own does not meet ours.
fn priority(others: &[Filter]) -> u16 {
    let taken = |priority: u16| others.iter().any(|filter| filter.priority == priority);
    let first = others.iter().map(|filter| filter.priority).min().unwrap_or(u16::MAX);
    let before = PRIORITY.min(first.saturating_sub(1));
    let after = (PRIORITY..u16::MAX).find(|priority| !taken(*priority));
    if before > 0 { before } else { after.unwrap_or(PRIORITY) }
}

/// A filter that was set.
#[derive(Debug)]
pub(super) struct Set {
    interface: u32,
    side: Side,
    priority: u16,
    qdisc: Qdisc,
    name: String,
}

/// Sets a filter of `owner` with this program, and a clsact qdisc where there is none.
pub(super) fn set(
    route: &mut Route,
    owner: &Owner,
    interface: u32,
    side: Side,
    program: i32,
) -> Result<Set, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let there = qdiscs(route).map_err(failed("listing qdiscs"))?;
    let there = there.iter().find(|(index, _)| *index == interface).map(|(_, qdisc)| *qdisc);
    let qdisc = match there {
        Some(IngressQdisc::IngressOnly) if side == Side::Egress => {
            return Err(
                "an ingress qdisc of somebody else is there, which has no egress".to_owned()
            );
        }
        Some(_) if has_added(route, interface) => Qdisc::Added,
        Some(_) => Qdisc::Found,
        None => {
            add_qdisc(route, interface)
                .map_err(failed("adding a clsact qdisc (CONFIG_NET_SCH_INGRESS)"))?;
            Qdisc::Added
        }
    };
    let others = filters(route, interface, side).map_err(failed("listing filters"))?;
    let priority = priority(&others);
    let name = owner.filter_name(qdisc);
    let body = new_filter(interface, side, priority, &name, program);
    let flags = netlink::NLM_F_CREATE | netlink::NLM_F_EXCL;
    let made = body.and_then(|body| route.change(RTM_NEWTFILTER, flags, &body));
    let set = Set { interface, side, priority, qdisc, name };
    match made {
        Ok(()) => Ok(set),
        Err(error) => {
            set.tidy(route);
            Err(format!("adding a TC filter (CONFIG_NET_CLS_BPF): {error}"))
        }
    }
}

/// Whether a daemon added the qdisc, this one or another: of several filters the last takes it away.
fn has_added(route: &mut Route, interface: u32) -> bool {
    let says_so = |filter: &Filter| {
        owner::named(&filter.name).is_some_and(|named| named.qdisc == Qdisc::Added)
    };
    Side::BOTH
        .iter()
        .any(|side| filters(route, interface, *side).is_ok_and(|found| found.iter().any(says_so)))
}

fn add_qdisc(route: &mut Route, interface: u32) -> io::Result<()> {
    let message = Message { handle: CLSACT_HANDLE, parent: TC_H_CLSACT, ..Message::of(interface)? };
    let mut body = message.as_bytes().to_vec();
    netlink::put(&mut body, TCA_KIND, b"clsact\0");
    let flags = netlink::NLM_F_CREATE | netlink::NLM_F_EXCL;
    match route.change(RTM_NEWQDISC, flags, &body) {
        // Somebody was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn new_filter(
    interface: u32,
    side: Side,
    priority: u16,
    name: &str,
    program: i32,
) -> io::Result<Vec<u8>> {
    let mut options = Vec::new();
    netlink::put(&mut options, TCA_BPF_FD, &program.to_ne_bytes());
    netlink::put(&mut options, TCA_BPF_NAME, &[name.as_bytes(), b"\0"].concat());
    netlink::put(&mut options, TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes());
    let mut body = Message::filter(interface, side, priority)?.as_bytes().to_vec();
    netlink::put(&mut body, TCA_KIND, b"bpf\0");
    netlink::put(&mut body, TCA_OPTIONS | NESTED, &options);
    Ok(body)
}

impl Set {
    /// Whether it is still there: whoever removes a qdisc removes all filters in it.
    pub(super) fn is_there(&self, route: &mut Route) -> bool {
        let found = filters(route, self.interface, self.side);
        found.is_ok_and(|found| found.iter().any(|filter| filter.name == self.name))
    }

    /// Takes it away, and the qdisc that was added for it where nothing else is in it.
    pub(super) fn remove(self, route: &mut Route) {
        let filter = Message::filter(self.interface, self.side, self.priority);
        let removed = filter.and_then(|filter| route.change(RTM_DELTFILTER, 0, filter.as_bytes()));
        if let Err(error) = removed {
            // With its interface or its qdisc it is gone.
            tracing::debug!(interface = self.interface, %error, "a TC filter was not removed");
        }
        self.tidy(route);
    }

    fn tidy(&self, route: &mut Route) {
        if self.qdisc == Qdisc::Added {
            remove_empty_qdisc(route, self.interface);
        }
    }
}

fn remove_empty_qdisc(route: &mut Route, interface: u32) {
    let is_empty = Side::BOTH
        .iter()
        .all(|side| filters(route, interface, *side).is_ok_and(|found| found.is_empty()));
    if !is_empty {
        return;
    }
    let Ok(message) = Message::of(interface) else { return };
    let message = Message { handle: CLSACT_HANDLE, parent: TC_H_CLSACT, ..message };
    if let Err(error) = route.change(RTM_DELQDISC, 0, message.as_bytes()) {
        tracing::debug!(interface, %error, "a clsact qdisc was not removed");
    }
}

/// Removes what daemons have left that are no more; how many filters that were.
pub(super) fn remove_leftovers(route: &mut Route) -> io::Result<u64> {
    let mut removed = 0;
    for (interface, _) in qdiscs(route)? {
        let mut qdisc_too = false;
        for side in Side::BOTH {
            for filter in filters(route, interface, side)? {
                let Some(named) = owner::named(&filter.name).filter(|named| !named.is_alive())
                else {
                    continue;
                };
                let message = Message {
                    handle: filter.handle,
                    ..Message::filter(interface, side, filter.priority)?
                };
                route.change(RTM_DELTFILTER, 0, message.as_bytes())?;
                qdisc_too |= named.qdisc == Qdisc::Added;
                removed += 1;
            }
        }
        if qdisc_too {
            remove_empty_qdisc(route, interface);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(priority: u16) -> Filter {
        Filter { priority, handle: 1, name: "other".to_owned() }
    }

    #[test]
    fn ours_comes_first_where_there_is_room() {
        assert_eq!(priority(&[]), 7);
        assert_eq!(priority(&[of(49152)]), 7);
        assert_eq!(priority(&[of(3), of(9)]), 2);
        assert_eq!(priority(&[of(1)]), 7);
        assert_eq!(priority(&[of(1), of(7), of(8)]), 9);
    }

    #[test]
    fn what_is_sent_is_read_back() {
        let body = new_filter(3, Side::Egress, 7, "name", 5).unwrap();
        let expected = Filter { priority: 7, handle: HANDLE, name: "name".to_owned() };
        assert_eq!(filter(&body), Some(expected));
    }

    #[test]
    fn rows_are_told_apart() {
        let row = |handle: u32, kind: &[u8]| {
            let mut bytes =
                Message { interface: 4, handle, ..Message::default() }.as_bytes().to_vec();
            netlink::put(&mut bytes, TCA_KIND, kind);
            bytes
        };
        assert_eq!(filter(&row(0, b"bpf\0")), None);
        assert_eq!(filter(&row(1, b"flower\0")).unwrap().name, "flower");
        assert_eq!(qdisc(&row(1, b"clsact\0")), Some((4, IngressQdisc::Clsact)));
        assert_eq!(qdisc(&row(1, b"ingress\0")), Some((4, IngressQdisc::IngressOnly)));
        assert_eq!(qdisc(&row(1, b"fq_codel\0")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (qdisc(&bytes), filter(&bytes));
        }

        #[test]
        fn a_priority_is_one_that_nobody_has(taken in prop::collection::vec(1u16..20, 0..18)) {
            let others: Vec<_> = taken.iter().copied().map(of).collect();
            let ours = priority(&others);
            prop_assert!(ours > 0 && !taken.contains(&ours));
        }
    }
}
