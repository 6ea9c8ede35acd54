//! The packet programs, loaded once and attached to as many interfaces as are wanted.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use aya::{Ebpf, programs::Program};

use super::policy::Framing;
use crate::kernel::load::chain;

/// A packet program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PacketProgram {
    /// Its name in the object.
    pub(crate) name: &'static str,
    /// Where it is hooked, as metrics name it.
    pub(crate) hook: &'static str,
    /// What carries it.
    pub(crate) backend: &'static str,
}

/// All of them.
pub(crate) const PROGRAMS: [PacketProgram; 6] = [
    PacketProgram { name: "segments_xdp", hook: "xdp", backend: "xdp" },
    PacketProgram { name: "segments_xdp_ip", hook: "xdp", backend: "xdp" },
    PacketProgram { name: "segments_in", hook: "tc_ingress", backend: "tc" },
    PacketProgram { name: "segments_in_ip", hook: "tc_ingress", backend: "tc" },
    PacketProgram { name: "segments_out", hook: "tc_egress", backend: "tc" },
    PacketProgram { name: "segments_out_ip", hook: "tc_egress", backend: "tc" },
];

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// XDP.
    Xdp,
    /// TC ingress.
    In,
    /// TC egress.
    Out,
}

/// The name of the program for a purpose.
pub(super) const fn name(purpose: Purpose, framing: Framing) -> &'static str {
    match (purpose, framing) {
        (Purpose::Xdp, Framing::Ethernet) => "segments_xdp",
        (Purpose::Xdp, Framing::Ip) => "segments_xdp_ip",
        (Purpose::In, Framing::Ethernet) => "segments_in",
        (Purpose::In, Framing::Ip) => "segments_in_ip",
        (Purpose::Out, Framing::Ethernet) => "segments_out",
        (Purpose::Out, Framing::Ip) => "segments_out_ip",
    }
}

/// The programs that the verifier has passed, and what it said of the others.
#[derive(Debug)]
pub(crate) struct Programs(Vec<(&'static str, Result<OwnedFd, String>)>);

impl Programs {
    /// Hands them to the verifier; those of XDP only where they may be used.
    pub(crate) fn load(ebpf: &mut Ebpf, xdp: bool) -> Self {
        let wanted = PROGRAMS.iter().filter(|program| xdp || program.backend != "xdp");
        Self(wanted.map(|program| (program.name, load(ebpf, program.name))).collect())
    }

    /// The program of this name, or why it cannot be had.
    pub(super) fn get(&self, name: &str) -> Result<BorrowedFd<'_>, String> {
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, Ok(fd))) => Ok(fd.as_fd()),
            Some((_, Err(why))) => Err(format!("{name}: {why}")),
            None => Err(format!("{name} is not loaded")),
        }
    }
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, String> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))?;
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => return Err(format!("the object's program {name} is of another kind")),
    }
    .map_err(|error| chain(&error))?;
    let fd = program.fd().map_err(|error| chain(&error))?;
    fd.as_fd().try_clone_to_owned().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_a_program() {
        for purpose in [Purpose::Xdp, Purpose::In, Purpose::Out] {
            for framing in [Framing::Ethernet, Framing::Ip] {
                let name = name(purpose, framing);
                assert!(PROGRAMS.iter().any(|program| program.name == name), "{name}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let none = Programs(vec![("segments_in", Err("EPERM".to_owned()))]);
        assert_eq!(none.get("segments_in").unwrap_err(), "segments_in: EPERM");
        assert!(none.get("segments_out").unwrap_err().contains("not loaded"));
    }
}
