//! What would be done: the same decisions, with nothing attached.

use std::io;

use super::{
    attach, follow,
    interfaces::{self, Interface},
    policy::{self, Ingress},
    programs::{Programs, Purpose, name},
    route::Route,
    scope::Scope,
    standing::{InterfaceStanding, Standing, Way},
    wishes::{Wishes, XdpMode},
};

/// How the programs would stand. Nothing is attached; whether the verifier passes them is known.
pub(super) fn survey(
    scope: &mut Scope,
    programs: &Programs,
    kernel: (u32, u32),
    wishes: &Wishes,
) -> Standing {
    let looked = scope.within(|| -> io::Result<Vec<InterfaceStanding>> {
        let mut route = Route::open()?;
        let routes = interfaces::default_routes(&mut route)?;
        let found = interfaces::interfaces(&mut route, &routes)?;
        let wanted = found.iter().filter(|interface| policy::is_wanted(interface, wishes));
        let mut rows: Vec<_> =
            wanted.map(|interface| row(interface, &mut route, programs, kernel, wishes)).collect();
        rows.extend(policy::missing(&found, wishes).map(follow::absent));
        Ok(rows)
    });
    let netns = Some(scope.inode);
    match looked.and_then(|looked| looked) {
        Ok(interfaces) => Standing { netns, interfaces, ..Standing::default() },
        Err(error) => {
            let why = format!("asking for the interfaces (rtnetlink) failed: {error}");
            Standing { netns, ..Standing::impossible(why) }
        }
    }
}

fn row(
    interface: &Interface,
    route: &mut Route,
    programs: &Programs,
    kernel: (u32, u32),
    wishes: &Wishes,
) -> InterfaceStanding {
    let mut row = InterfaceStanding {
        index: interface.index,
        why: String::new(),
        ..follow::absent(&interface.name)
    };
    let others = attach::others(interface, route);
    // A tracer that runs has what this one would have.
    let ours = interface.xdp.filter(|id| *id != 0 && attach::is_ours(*id));
    let interface =
        &Interface { xdp: interface.xdp.filter(|_| ours.is_none()), ..interface.clone() };
    let choice = match policy::choose(interface, &others, kernel, wishes) {
        Ok(choice) => choice,
        Err(why) => return InterfaceStanding { refusals: vec![why.clone()], why, ..row },
    };
    row.why = choice.why;
    if let Some(id) = ours {
        row.why =
            format!("{}; a tcp-trace that runs has it now (XDP program number {id})", row.why);
    }
    for way in choice.ingress {
        let (purpose, way) = match way {
            Ingress::Xdp(XdpMode::Native) => (Purpose::Xdp, Way::XdpNative),
            Ingress::Xdp(XdpMode::Generic) => (Purpose::Xdp, Way::XdpGeneric),
            Ingress::Tc => (Purpose::In, attach::tc_way(kernel)),
        };
        match programs.get(name(purpose, choice.framing)) {
            Ok(_) => {
                row.ingress = Some(way);
                break;
            }
            Err(why) => row.refusals.push(format!("{way}: {why}")),
        }
    }
    match programs.get(name(Purpose::Out, choice.framing)) {
        Ok(_) => row.egress = Some(attach::tc_way(kernel)),
        Err(why) => row.refusals.push(format!("TC egress: {why}")),
    }
    row
}
