//! On which CPUs the two ends of the load run.
//!
//! They wait for each other all the time, so that this decides the rate more than any tracer: on
//! CPUs of their own, each waits for the other's to wake; on one CPU neither does, and the rate is
//! two to eight times as high. A scheduler that is left alone chooses now this, now that. On one CPU
//! only the work counts, so that a tracer's share of it shows at its largest, and shows again.

use std::{os::unix::process::CommandExt as _, process::Command};

use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use anyhow::{Context as _, Result};

/// Where they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::unsafe_derive_deserialize, reason = "what is unsafe in it holds for every value")]
pub(crate) enum Placement {
    /// Both on one CPU, where only the work itself counts
    Together,
    /// Each on a CPU of its own, where waiting for the other's to wake counts as well
    Apart,
    /// Wherever the scheduler puts them, which may change between two runs
    Free,
}

/// An end of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

impl Placement {
    /// As the command line writes it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Apart => "apart",
            Self::Together => "together",
            Self::Free => "free",
        }
    }

    /// As a sentence goes on.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Apart => "each on a CPU of its own",
            Self::Together => "both on one CPU",
            Self::Free => "wherever the scheduler puts them",
        }
    }

    /// Keeps this thread where `end` of the load's thread of this `number` belongs.
    pub(super) fn settle(self, end: End, number: usize) -> Result<()> {
        let Some(set) = self.cpus(end, number)? else {
            return Ok(());
        };
        sched_setaffinity(None, &set).with_context(|| format!("cannot stay on the CPU of {end:?}"))
    }

    /// Keeps `command` where `end` belongs.
    pub(super) fn hold(self, end: End, command: &mut Command) -> Result<()> {
        if let Some(set) = self.cpus(end, 0)? {
            // SAFETY: between fork and exec this makes one system call and touches no memory.
            unsafe {
                command.pre_exec(move || Ok(sched_setaffinity(None, &set)?));
            }
        }
        Ok(())
    }

    /// Where `end` belongs; anywhere, if nowhere.
    fn cpus(self, end: End, number: usize) -> Result<Option<CpuSet>> {
        let allowed = sched_getaffinity(None).context("cannot tell this thread's CPUs")?;
        let allowed: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        Ok(self.cpu(end, number, &allowed).map(|cpu| {
            let mut set = CpuSet::new();
            set.set(cpu);
            set
        }))
    }

    /// Which of the CPUs; any, if none. Each thread of the load begins with the next, and where there
    /// are too few, they are shared.
    fn cpu(self, end: End, number: usize, allowed: &[usize]) -> Option<usize> {
        let place = match (self, end) {
            (Self::Free, _) => return None,
            (Self::Together, _) | (Self::Apart, End::Client) => number,
            (Self::Apart, End::Server) => number + 1,
        };
        allowed.get(place.checked_rem(allowed.len())?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cpu_is_enough_for_all() {
        let cpus = |placement: Placement, allowed: &[usize]| {
            (placement.cpu(End::Client, 0, allowed), placement.cpu(End::Server, 0, allowed))
        };
        assert_eq!(cpus(Placement::Apart, &[2, 5, 6]), (Some(2), Some(5)));
        assert_eq!(cpus(Placement::Apart, &[2]), (Some(2), Some(2)));
        assert_eq!(cpus(Placement::Together, &[2, 5]), (Some(2), Some(2)));
        assert_eq!(cpus(Placement::Free, &[2, 5]), (None, None));
        let second = |placement: Placement, end| placement.cpu(end, 1, &[2, 5]);
        assert_eq!(second(Placement::Together, End::Client), Some(5));
        assert_eq!(second(Placement::Apart, End::Server), Some(2));
        assert_eq!(Placement::Apart.cpu(End::Client, 0, &[]), None);
    }
}
