//! The alarm: while it is set, each record wakes the reader, however little waits.
//!
//! How many bytes wake a reader is fixed with its buffer. How many records do is said by the event
//! that a record goes through: so each CPU has a second one, which writes into the same buffer, and
//! the programs find this one or the other in their map. A reader at rest sets the alarm and need
//! not look; once records come it takes it back, for a wakeup each is what they cannot pay.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
};

use crate::kernel::sys::{self, Wake};

/// The alarm of all CPUs, or none: where one cannot have it, the reader has to look.
#[derive(Debug)]
pub(super) struct Alarm {
    /// The programs' map; what is put into it leaves with the last descriptor of it.
    map: OwnedFd,
    bells: Vec<Bell>,
    /// Whether it is set; unknown where the kernel refused half way.
    set: Option<bool>,
}

/// One CPU's two events.
#[derive(Debug)]
struct Bell {
    cpu: u32,
    quiet: Arc<OwnedFd>,
    loud: OwnedFd,
}

impl Alarm {
    /// Beside the events that are in `map`, whose buffers must be mapped.
    ///
    /// # Errors
    /// `EMFILE` where there is no descriptor left: it takes two for each CPU.
    pub(super) fn new<'a>(
        map: BorrowedFd<'_>,
        events: impl IntoIterator<Item = (u32, &'a Arc<OwnedFd>)>,
    ) -> io::Result<Self> {
        let bell = |(cpu, event): (u32, &Arc<OwnedFd>)| {
            let loud = sys::perf_event_open(cpu, Wake::Records(1))?;
            sys::perf_event_write_to(loud.as_fd(), event.as_fd())?;
            sys::perf_event_enable(loud.as_fd())?;
            Ok(Bell { cpu, quiet: Arc::clone(event), loud })
        };
        let bells = events.into_iter().map(bell).collect::<io::Result<_>>()?;
        Ok(Self { map: map.try_clone_to_owned()?, bells, set: Some(false) })
    }

    /// Sets it, or takes it back. A program that runs meanwhile may still do as before.
    ///
    /// # Errors
    /// Where the kernel refuses; it may then be set for some CPUs and not for others.
    pub(super) fn set(&mut self, wanted: bool) -> io::Result<()> {
        if self.set.replace(wanted) == Some(wanted) {
            return Ok(());
        }
        for bell in &self.bells {
            let event = if wanted { &bell.loud } else { &bell.quiet };
            let changed = sys::bpf_array_set_fd(self.map.as_fd(), bell.cpu, event.as_fd());
            changed.inspect_err(|_| self.set = None)?;
        }
        Ok(())
    }
}
