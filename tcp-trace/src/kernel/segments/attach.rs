//! Attaches the programs to one interface, and takes them off again. Where the kernel has links,
//! what is attached ends with the process that holds it, however that ends.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::programs::{SchedClassifier, TcAttachType};

use super::{
    clsact::{self, Side},
    interfaces::Interface,
    owner::{self, Owner},
    policy::{self, Choice, Framing, Ingress},
    programs::{PROGRAMS, Programs, Purpose, name},
    route::Route,
    standing::{InterfaceStanding, Way},
    wishes::{Wishes, XdpMode},
};
use crate::kernel::sys::{self, LinkPlace};

/// The first kernel with links for TC.
const TCX: (u32, u32) = (6, 6);

/// What is needed to attach anything.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) programs: Programs,
    pub(super) kernel: (u32, u32),
    pub(super) wishes: Wishes,
}

/// A program on an interface.
#[derive(Debug)]
enum Held {
    /// Until this is closed.
    Link {
        #[expect(dead_code, reason = "it is held, not used")]
        link: OwnedFd,
        way: Way,
    },
    /// Until it is removed.
    Filter(clsact::Set),
}

impl Held {
    fn way(&self) -> Way {
        match self {
            Self::Link { way, .. } => *way,
            Self::Filter(_) => Way::Clsact,
        }
    }
}

/// The programs of one interface.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    ingress: Option<(Held, &'static str)>,
    egress: Option<(Held, &'static str)>,
    why: String,
    refusals: Vec<String>,
}

impl Hooks {
    /// Attaches what is not attached yet.
    pub(super) fn complete(
        &mut self,
        interface: &Interface,
        means: &Means,
        route: &mut Route,
        owner: &Owner,
    ) {
        self.refusals.clear();
        // What is there is not judged anew: its own program would be in its way.
        let framing = if self.ingress.is_some() {
            policy::framing(interface.hardware)
        } else {
            let others = others(interface, route);
            let choice = policy::choose(interface, &others, means.kernel, &means.wishes);
            choice.map(|choice| {
                self.attach_ingress(interface, &choice, means, route, owner);
                self.why = choice.why;
                choice.framing
            })
        };
        let framing = match framing {
            Ok(framing) => framing,
            Err(why) => {
                self.refusals.push(why.clone());
                self.why = why;
                return;
            }
        };
        if self.egress.is_none() {
            match tc(interface, Side::Egress, framing, means, route, owner) {
                Ok(held) => self.egress = Some(held),
                Err(why) => self.refusals.push(format!("TC egress: {why}")),
            }
        }
    }

    fn attach_ingress(
        &mut self,
        interface: &Interface,
        choice: &Choice,
        means: &Means,
        route: &mut Route,
        owner: &Owner,
    ) {
        for way in &choice.ingress {
            let (attached, what) = match way {
                Ingress::Xdp(mode) => {
                    (xdp(interface, *mode, choice.framing, means), format!("XDP {mode}"))
                }
                Ingress::Tc => (
                    tc(interface, Side::Ingress, choice.framing, means, route, owner),
                    "TC ingress".to_owned(),
                ),
            };
            match attached {
                Ok(held) => {
                    self.ingress = Some(held);
                    return;
                }
                Err(why) => self.refusals.push(format!("{what}: {why}")),
            }
        }
    }

    /// Forgets filters that somebody has removed.
    pub(super) fn recheck(&mut self, route: &mut Route) {
        for held in [&mut self.ingress, &mut self.egress] {
            if let Some((Held::Filter(set), _)) = held
                && !set.is_there(route)
            {
                *held = None;
            }
        }
    }

    /// Takes everything off.
    pub(super) fn remove(self, route: &mut Route) {
        for (held, _) in [self.ingress, self.egress].into_iter().flatten() {
            if let Held::Filter(set) = held {
                set.remove(route);
            }
        }
    }

    /// How it stands.
    pub(super) fn standing(&self, interface: &Interface) -> InterfaceStanding {
        let way = |held: &Option<(Held, _)>| held.as_ref().map(|(held, _)| held.way());
        let programs = [&self.ingress, &self.egress].into_iter().flatten();
        InterfaceStanding {
            name: interface.name.clone(),
            index: interface.index,
            ingress: way(&self.ingress),
            egress: way(&self.egress),
            why: self.why.clone(),
            refusals: self.refusals.clone(),
            programs: programs.map(|(_, program)| *program).collect(),
        }
    }
}

/// The TC programs and filters at an interface's ingress that are not ours.
pub(super) fn others(interface: &Interface, route: &mut Route) -> Vec<String> {
    // A kernel without TCX has none.
    let linked = SchedClassifier::query_tcx(&interface.name, TcAttachType::Ingress);
    let linked = linked.map(|(_, programs)| programs).unwrap_or_default();
    let linked = linked.iter().map(|info| match info.name_as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => format!("number {}", info.id()),
    });
    // An interface without a qdisc for them has none.
    let filters = clsact::filters(route, interface.index, Side::Ingress).unwrap_or_default();
    let filters = filters.into_iter().map(|filter| filter.name);
    linked.chain(filters.filter(|name| owner::named(name).is_none())).collect()
}

/// Whether the XDP program of this number goes by the name of one of ours. Needs `CAP_SYS_ADMIN`;
/// without it nothing is.
pub(super) fn is_ours(id: u32) -> bool {
    let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
    let name = loaded.into_iter().find(|program| program.id() == id);
    let name = name.as_ref().and_then(aya::programs::ProgramInfo::name_as_str);
    name.is_some_and(|name| PROGRAMS.iter().any(|own| own.backend == "xdp" && own.name == name))
}

fn xdp(
    interface: &Interface,
    mode: XdpMode,
    framing: Framing,
    means: &Means,
) -> Result<(Held, &'static str), String> {
    let name = name(Purpose::Xdp, framing);
    let program = means.programs.get(name)?;
    let (place, way) = match mode {
        XdpMode::Native => (LinkPlace::XdpNative, Way::XdpNative),
        XdpMode::Generic => (LinkPlace::XdpGeneric, Way::XdpGeneric),
    };
    let link = sys::bpf_link_create(program, interface.index, place);
    let link = link.map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            "an XDP program of somebody else is there, which is never displaced".to_owned()
        }
        Some(libc::EOPNOTSUPP) => "its driver has no such XDP".to_owned(),
        _ => format!("BPF_LINK_CREATE answered: {error}"),
    })?;
    Ok((Held::Link { link, way }, name))
}

fn tc(
    interface: &Interface,
    side: Side,
    framing: Framing,
    means: &Means,
    route: &mut Route,
    owner: &Owner,
) -> Result<(Held, &'static str), String> {
    let (purpose, place) = match side {
        Side::Ingress => (Purpose::In, LinkPlace::TcIngress),
        Side::Egress => (Purpose::Out, LinkPlace::TcEgress),
    };
    let name = name(purpose, framing);
    let program = means.programs.get(name)?;
    match linked(program, interface, place, means.kernel) {
        Some(Ok(link)) => Ok((Held::Link { link, way: Way::Tcx }, name)),
        Some(Err(error)) => Err(format!("BPF_LINK_CREATE answered: {error}")),
        None => clsact::set(route, owner, interface.index, side, program.as_raw_fd())
            .map(|set| (Held::Filter(set), name)),
    }
}

/// By a link; `None` where the kernel has none for TC.
fn linked(
    program: BorrowedFd<'_>,
    interface: &Interface,
    place: LinkPlace,
    kernel: (u32, u32),
) -> Option<io::Result<OwnedFd>> {
    if kernel < TCX {
        return None;
    }
    let link = sys::bpf_link_create(program, interface.index, place);
    // Built without CONFIG_NET_XGRESS.
    let absent =
        |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP));
    match link {
        Err(error) if absent(&error) => None,
        other => Some(other),
    }
}

/// How TC is attached on such a kernel.
pub(super) fn tc_way(kernel: (u32, u32)) -> Way {
    if kernel < TCX { Way::Clsact } else { Way::Tcx }
}
