//! Figures the kernel keeps about our own programs.

use std::os::fd::{AsFd as _, OwnedFd};

use aya::{
    Ebpf,
    programs::{links::LinkInfo, loaded_links},
};

use super::{
    load::Attached,
    segments::{PROGRAMS, Standing},
    sys,
};

/// What the kernel keeps about a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Its name in the object.
    pub program: String,
    /// Runs; 0 while `kernel.bpf_stats_enabled` is 0.
    pub runs: u64,
    /// Nanoseconds in it, likewise.
    pub run_time_ns: u64,
    /// Times it was skipped, because it, or for a kprobe any, was at work on that CPU already, and
    /// no other program took its place (5.12; of kprobes from 6.7).
    pub misses: u64,
}

/// The figures of every attached program, those of the state changes first; zeros where the kernel
/// does not tell. `caught` is how often the second of these took the first's place.
pub(crate) fn figures(attached: &Attached, caught: u64) -> Vec<ProgramRuns> {
    let mut first = of(attached, attached.backend.program());
    first.misses = first.misses.saturating_sub(caught);
    let second = attached.backend.second().map(|name| {
        // Skipped, it misses nothing that the first does not report.
        ProgramRuns { misses: 0, ..of(attached, name) }
    });
    let others = attached.hooks.programs().map(|name| of(attached, name));
    std::iter::once(first).chain(second).chain(others).collect()
}

/// The figures of the packet programs that are attached anywhere.
pub(crate) fn of_packets(attached: &Attached, standing: &Standing) -> Vec<ProgramRuns> {
    let names = PROGRAMS.iter().map(|program| program.name);
    names.filter(|name| standing.is_attached(name)).map(|name| of(attached, name)).collect()
}

/// The links of our kprobes, which count what was passed over before a program was even asked.
#[derive(Debug, Default)]
pub(crate) struct KprobeLinks(Vec<(&'static str, OwnedFd)>);

impl KprobeLinks {
    /// The links of `programs`, all of them kprobes. Before 5.15 a kprobe has no link of its own,
    /// and before 6.7 its link counts nothing.
    pub(crate) fn find(ebpf: &Ebpf, programs: impl Iterator<Item = &'static str>) -> Self {
        let id =
            |name| ebpf.program(name).and_then(|program| Some((name, program.info().ok()?.id())));
        let programs: Vec<_> = programs.filter_map(id).collect();
        if programs.is_empty() {
            return Self::default();
        }
        let link = |link: LinkInfo| {
            let (name, _) = programs.iter().find(|(_, id)| *id == link.program_id())?;
            Some((*name, sys::bpf_link_by_id(link.id()).ok()?))
        };
        Self(loaded_links().filter_map(Result::ok).filter_map(link).collect())
    }

    fn missed(&self, name: &str) -> u64 {
        let of_program = self.0.iter().filter(|(program, _)| *program == name);
        of_program.filter_map(|(_, link)| sys::bpf_kprobe_missed(link.as_fd()).ok()).sum()
    }
}

fn of(attached: &Attached, name: &'static str) -> ProgramRuns {
    let program = attached.ebpf.program(name);
    let fd = program.and_then(|program| program.fd().ok());
    let figures = fd.and_then(|fd| sys::bpf_program_figures(fd.as_fd()).ok()).unwrap_or_default();
    ProgramRuns {
        program: name.to_owned(),
        runs: figures.runs,
        run_time_ns: figures.run_time_ns,
        misses: figures.misses.saturating_add(attached.kprobe_links.missed(name)),
    }
}
