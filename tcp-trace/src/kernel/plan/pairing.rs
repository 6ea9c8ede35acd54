//! How the two programs on each state change watch together.

use tcp_trace_common::{PAIRED, PAIRED_PREEMPTIBLE};

use super::{Backend, Plan};

impl Plan {
    /// How the two programs of `backend` watch: a `PAIRED*`, or 0 where it has one.
    pub(crate) fn pairing(&self, backend: Backend) -> u32 {
        match backend {
            Backend::Kprobe => 0,
            // A trampoline lets others in between any two of its programs.
            Backend::Fentry => PAIRED_PREEMPTIBLE,
            Backend::TpBtf | Backend::RawTp if self.preemptible_tracepoints => PAIRED_PREEMPTIBLE,
            Backend::TpBtf | Backend::RawTp => PAIRED,
        }
    }
}
