//! Which interfaces, and how segments are seen on each: decided from facts and wishes alone. Pure.

use super::{
    interfaces::Interface,
    wishes::{Wishes, Xdp, XdpMode},
};

/// The first kernel whose generic XDP hands a program large segments as they are.
pub(super) const XDP_KEEPS_SEGMENTS: (u32, u32) = (6, 9);

/// How what comes in is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ingress {
    /// XDP.
    Xdp(XdpMode),
    /// TC.
    Tc,
}

/// Where the IP header is in a packet of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Behind a header of Ethernet.
    Ethernet,
    /// At the beginning.
    Ip,
}

/// What is to be done with an interface. What goes out is always looked at by TC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Ways to try for what comes in, best first.
    pub(super) ingress: Vec<Ingress>,
    /// Which programs fit.
    pub(super) framing: Framing,
    /// Why, in words.
    pub(super) why: String,
}

/// Whether `interface` is to be looked at: `lo` and those with a default route, or those named.
pub(super) fn is_wanted(interface: &Interface, wishes: &Wishes) -> bool {
    let by_default = wishes.interfaces.is_empty()
        && (interface.hardware == ARPHRD_LOOPBACK || interface.default_route);
    by_default || wishes.names().any(|name| name == interface.name)
}

/// Names asked for that no interface has.
pub(super) fn missing<'a>(
    interfaces: &'a [Interface],
    wishes: &'a Wishes,
) -> impl Iterator<Item = &'a str> {
    wishes.names().filter(|name| !interfaces.iter().any(|interface| interface.name == *name))
}

/// Decides for one interface. `others` are names of TC programs and filters that others have on its
/// ingress.
///
/// # Errors
/// Where no program fits; why, in words.
pub(super) fn choose(
    interface: &Interface,
    others: &[String],
    kernel: (u32, u32),
    wishes: &Wishes,
) -> Result<Choice, String> {
    let framing = framing(interface.hardware)?;
    let (ingress, why) = match wishes.xdp(&interface.name) {
        Some(wish) => asked_for(interface, wish),
        None => by_default(interface, others, kernel),
    };
    Ok(Choice { ingress, framing, why })
}

fn asked_for(interface: &Interface, wish: Xdp) -> (Vec<Ingress>, String) {
    let modes = match wish {
        Xdp::Off => {
            let name = &interface.name;
            return (vec![Ingress::Tc], format!("XDP is not wanted: --xdp {name}=off"));
        }
        Xdp::As(mode) => vec![mode],
        Xdp::Best => vec![XdpMode::Native, XdpMode::Generic],
    };
    if let Some(why) = occupied(interface) {
        return (vec![Ingress::Tc], format!("--xdp is refused: {why}"));
    }
    let ways = modes.into_iter().map(Ingress::Xdp).chain([Ingress::Tc]).collect();
    (ways, "asked for with --xdp".to_owned())
}

fn by_default(
    interface: &Interface,
    others: &[String],
    kernel: (u32, u32),
) -> (Vec<Ingress>, String) {
    let tc = |why: String| (vec![Ingress::Tc], why);
    let what = match nature(interface) {
        Nature::Software(what) => what,
        Nature::Card => {
            let name = &interface.name;
            return tc(format!(
                "native XDP would re-create its rings; ask for it with --xdp {name}=native"
            ));
        }
        Nature::HandedOn(kind) => {
            let name = &interface.name;
            return tc(format!(
                "on a {kind} generic XDP copies what is sent from this host; ask for it with --xdp \
                 {name}=generic"
            ));
        }
        Nature::Merging(kind) => {
            return tc(format!("generic XDP would end the merging of packets on a {kind}"));
        }
    };
    if let Some(why) = occupied(interface) {
        return tc(why);
    }
    if kernel < XDP_KEEPS_SEGMENTS {
        return tc("before Linux 6.9 generic XDP copies every large segment".to_owned());
    }
    if !others.is_empty() {
        let others = others.join(", ");
        return tc(format!(
            "behind generic XDP the TC programs that are there ({others}) would see packets laid \
             out differently"
        ));
    }
    (vec![Ingress::Xdp(XdpMode::Generic), Ingress::Tc], what)
}

/// Whether XDP is somebody else's there; it is never displaced.
fn occupied(interface: &Interface) -> Option<String> {
    match interface.xdp? {
        0 => Some("XDP programs of somebody else are there".to_owned()),
        id => Some(format!("an XDP program of somebody else is there (number {id})")),
    }
}

/// What an interface is made of.
#[derive(Debug, PartialEq, Eq)]
enum Nature {
    /// Memory: what passes has been put together by this host. In words.
    Software(String),
    /// Hardware, or one made of some.
    Card,
    /// Memory, to which another end or interface of this host hands packets on. The sender still
    /// holds them, for TCP may have to send them again, so generic XDP copies each: one stream over
    /// a veth pair then kept 88 % of its rate, and all of it with TC.
    HandedOn(String),
    /// Software that merges the packets it unwraps (GRO), which generic XDP would switch off.
    Merging(String),
}

fn nature(interface: &Interface) -> Nature {
    if interface.hardware == ARPHRD_LOOPBACK {
        return Nature::Software("loopback".to_owned());
    }
    match interface.kind.as_deref() {
        // Real ones say nothing of a kind, but some do.
        _ if interface.on_bus => Nature::Card,
        Some(kind @ ("tun" | "dummy" | "vcan")) => {
            Nature::Software(format!("a virtual interface ({kind})"))
        }
        Some(
            kind @ ("veth" | "netkit" | "bridge" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap"
            | "vrf" | "ifb"),
        ) => Nature::HandedOn(kind.to_owned()),
        None | Some("bond" | "team" | "vlan" | "ipoib" | "wwan" | "dsa" | "hsr") => Nature::Card,
        Some(kind) => Nature::Merging(kind.to_owned()),
    }
}

// Of linux/if_arp.h.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_PPP: u16 = 512;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_TUNNEL: u16 = 768;
const ARPHRD_TUNNEL6: u16 = 769;
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_SIT: u16 = 776;
const ARPHRD_NONE: u16 = 0xfffe;

/// Where IP begins in the packets of such an interface.
///
/// # Errors
/// Where that is not known.
pub(super) fn framing(hardware: u16) -> Result<Framing, String> {
    match hardware {
        ARPHRD_ETHER | ARPHRD_LOOPBACK => Ok(Framing::Ethernet),
        ARPHRD_NONE | ARPHRD_RAWIP | ARPHRD_PPP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT => {
            Ok(Framing::Ip)
        }
        other => Err(format!("where IP begins in its packets is not known (ARPHRD {other})")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: (u32, u32) = (6, 8);
    const NEW: (u32, u32) = (6, 18);

    fn interface(name: &str, hardware: u16, kind: Option<&str>) -> Interface {
        Interface {
            index: 2,
            name: name.to_owned(),
            hardware,
            kind: kind.map(str::to_owned),
            ..Interface::default()
        }
    }

    fn wishes(interfaces: &[&str], xdp: &[&str]) -> Wishes {
        Wishes {
            interfaces: interfaces.iter().map(|text| text.parse().unwrap()).collect(),
            xdp: xdp.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    /// The ways in, as a few letters, and why.
    fn chosen(
        interface: &Interface,
        others: &[&str],
        kernel: (u32, u32),
        xdp: &[&str],
    ) -> (String, String) {
        let others: Vec<_> = others.iter().map(|&other| other.to_owned()).collect();
        let choice = choose(interface, &others, kernel, &wishes(&[], xdp)).unwrap();
        let way = |way: &Ingress| match way {
            Ingress::Xdp(mode) => mode.to_string(),
            Ingress::Tc => "tc".to_owned(),
        };
        (choice.ingress.iter().map(way).collect::<Vec<_>>().join(" "), choice.why)
    }

    /// Interface, others at its TC ingress, kernel, `--xdp`; ways and a word of why.
    type Case<'a> = (&'a Interface, &'a [&'a str], (u32, u32), &'a [&'a str], &'a str, &'a str);

    #[test]
    fn the_table_of_choices() {
        let lo = interface("lo", ARPHRD_LOOPBACK, None);
        let veth = interface("v0", ARPHRD_ETHER, Some("veth"));
        let card = interface("eth0", ARPHRD_ETHER, None);
        let wireguard = interface("wg0", ARPHRD_NONE, Some("wireguard"));
        let tun = interface("tun0", ARPHRD_NONE, Some("tun"));
        let bond = interface("bond0", ARPHRD_ETHER, Some("bond"));
        let taken = Interface { xdp: Some(9), ..tun.clone() };
        let taken_card = Interface { xdp: Some(0), ..card.clone() };
        let function = Interface { on_bus: true, ..interface("x", ARPHRD_ETHER, Some("tun")) };
        let cases: [Case<'_>; 19] = [
            (&lo, &[], NEW, &[], "generic tc", "loopback"),
            (&lo, &[], OLD, &[], "tc", "copies every large segment"),
            (&lo, &["cil_from_lo"], NEW, &[], "tc", "cil_from_lo"),
            (&lo, &[], OLD, &["lo=generic"], "generic tc", "--xdp"),
            (&lo, &["x"], NEW, &["lo"], "native generic tc", "--xdp"),
            (&lo, &[], NEW, &["lo=off"], "tc", "not wanted"),
            (&veth, &[], NEW, &[], "tc", "--xdp v0=generic"),
            (&veth, &[], NEW, &["v0=native"], "native tc", "--xdp"),
            (&veth, &[], NEW, &["v1=native"], "tc", "veth"),
            (&taken, &[], NEW, &[], "tc", "number 9"),
            (&taken, &[], NEW, &["tun0=generic"], "tc", "--xdp is refused"),
            (&card, &[], NEW, &[], "tc", "--xdp eth0=native"),
            (&card, &[], OLD, &["eth0=native"], "native tc", "--xdp"),
            (&taken_card, &[], NEW, &[], "tc", "rings"),
            (&bond, &[], NEW, &[], "tc", "rings"),
            (&wireguard, &[], NEW, &[], "tc", "wireguard"),
            (&tun, &[], NEW, &[], "generic tc", "tun"),
            (&function, &[], NEW, &[], "tc", "rings"),
            (&interface("p", ARPHRD_PPP, Some("ppp")), &[], NEW, &[], "tc", "ppp"),
        ];
        for (interface, others, kernel, xdp, ways, word) in cases {
            let (found, why) = chosen(interface, others, kernel, xdp);
            assert_eq!(found, ways, "{interface:?} {xdp:?} on {kernel:?}");
            assert!(why.contains(word), "{why:?} of {interface:?}");
        }
    }

    #[test]
    fn programs_fit_the_link_layer() {
        let framing = |hardware| {
            choose(&interface("x", hardware, None), &[], NEW, &Wishes::default())
                .map(|choice| choice.framing)
        };
        assert_eq!(framing(ARPHRD_ETHER), Ok(Framing::Ethernet));
        assert_eq!(framing(ARPHRD_LOOPBACK), Ok(Framing::Ethernet));
        for hardware in [ARPHRD_NONE, ARPHRD_RAWIP, ARPHRD_PPP, ARPHRD_TUNNEL6, ARPHRD_SIT] {
            assert_eq!(framing(hardware), Ok(Framing::Ip));
        }
        assert!(framing(32).unwrap_err().contains("ARPHRD 32"));
    }

    #[test]
    fn lo_and_default_routes_are_wanted_unless_others_are_named() {
        let lo = interface("lo", ARPHRD_LOOPBACK, None);
        let plain = interface("v0", ARPHRD_ETHER, Some("veth"));
        let routed = Interface { default_route: true, ..interface("eth0", ARPHRD_ETHER, None) };
        let wanted = |wishes: &Wishes| {
            let all = [&lo, &plain, &routed];
            all.map(|interface| is_wanted(interface, wishes))
        };
        assert_eq!(wanted(&wishes(&[], &[])), [true, false, true]);
        assert_eq!(wanted(&wishes(&["v0"], &[])), [false, true, false]);
        assert_eq!(wanted(&wishes(&[], &["v0"])), [true, true, true]);
        assert_eq!(wanted(&wishes(&[], &["v0=off"])), [true, false, true], "no wish to look there");
        assert_eq!(wanted(&wishes(&["lo"], &["v0"])), [true, true, false]);
        let named = wishes(&["lo", "nope"], &["gone=generic"]);
        assert_eq!(missing(&[lo], &named).collect::<Vec<_>>(), ["nope", "gone"]);
    }

    proptest! {
        /// Whatever is there, somebody else's XDP program stays, and TC is the last resort.
        #[test]
        fn nothing_is_displaced(
            hardware in any::<u16>(),
            kind in proptest::option::of("[a-z]{1,8}"),
            xdp in proptest::option::of(any::<u32>()),
            others in prop::collection::vec("[a-z]{1,5}", 0..2),
            kernel in (4u32..8, 0u32..20),
            mode in proptest::option::of(prop_oneof![Just(XdpMode::Native), Just(XdpMode::Generic)]),
            asked in any::<bool>(),
        ) {
            let interface = Interface { xdp, ..interface("x", hardware, kind.as_deref()) };
            let wish = mode.map_or_else(|| "x".to_owned(), |mode| format!("x={mode}"));
            let wishes = wishes(&[], if asked { std::slice::from_ref(&wish) } else { &[] }
                .iter().map(String::as_str).collect::<Vec<_>>().as_slice());
            if let Ok(choice) = choose(&interface, &others, kernel, &wishes) {
                prop_assert_eq!(choice.ingress.last(), Some(&Ingress::Tc));
                let tries_xdp = choice.ingress.iter().any(|way| *way != Ingress::Tc);
                prop_assert!(!(tries_xdp && xdp.is_some()));
                prop_assert!(!tries_xdp || asked || kernel >= (6, 9) && others.is_empty());
                prop_assert!(!choice.why.is_empty());
            }
        }
    }
}
