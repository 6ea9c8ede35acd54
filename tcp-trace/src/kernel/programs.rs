//! Figures the kernel keeps about our own programs.

use std::os::fd::AsFd as _;

use super::{load::Attached, sys};

/// What the kernel keeps about a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramRuns {
    /// Its name in the object.
    pub program: String,
    /// Runs; 0 while `kernel.bpf_stats_enabled` is 0.
    pub runs: u64,
    /// Nanoseconds in it, likewise.
    pub run_time_ns: u64,
    /// Times it was skipped: it was running on that CPU already (5.12; kprobes from 6.7).
    pub misses: u64,
}

/// The figures of every attached program, that of the state changes first; zeros where the kernel
/// does not tell.
pub(crate) fn figures(attached: &Attached) -> Vec<ProgramRuns> {
    let others = attached.hooks.programs();
    std::iter::once(attached.backend.program())
        .chain(others)
        .map(|name| of(attached, name))
        .collect()
}

fn of(attached: &Attached, name: &'static str) -> ProgramRuns {
    let program = attached.ebpf.program(name);
    let fd = program.and_then(|program| program.fd().ok());
    let figures = fd.and_then(|fd| sys::bpf_program_figures(fd.as_fd()).ok()).unwrap_or_default();
    ProgramRuns {
        program: name.to_owned(),
        runs: figures.runs,
        run_time_ns: figures.run_time_ns,
        misses: figures.misses,
    }
}
