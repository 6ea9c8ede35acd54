//! Figures the kernel keeps about our own programs.

use std::os::fd::AsFd as _;

use aya::Ebpf;

use super::{plan::Backend, sys};
pub(crate) use sys::ProgramFigures;

/// The figures of the attached program; zeros where the kernel does not tell.
pub(crate) fn figures(ebpf: &Ebpf, backend: Backend) -> ProgramFigures {
    let program = ebpf.program(backend.program());
    let fd = program.and_then(|program| program.fd().ok());
    fd.and_then(|fd| sys::bpf_program_figures(fd.as_fd()).ok()).unwrap_or_default()
}
