//! The way of records from the kernel: per-CPU perf buffers, opened by us and drained together.
//!
//! aya opens perf buffers with a wakeup for every event, which costs half the host's connection
//! rate, so they are opened here with a byte watermark; a tick drains what stays below it, and what
//! still waits in [`batches`].

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::event::epoll;
use thiserror::Error;

use super::sys::{self, Wake};

mod alarm;
mod batches;
mod samples;

use alarm::Alarm;
pub(crate) use batches::{Batches, room as batch_room};
use batches::{Source, Taken};
pub(crate) use samples::Sample;

/// Room for one CPU's records while the reader is away: what 64 MiB gives each CPU, within bounds.
#[must_use]
pub(crate) fn default_buffer_bytes(cpus: usize) -> usize {
    ((64 << 20) / cpus.max(1)).clamp(256 << 10, 4 << 20)
}

/// A wakeup costs the traced connection an interrupt of its own CPU, so buffers wake the reader only
/// when a quarter is full; the tick finds the rest.
const WATERMARK_SHARE: usize = 4;
/// What the waker is known by among the CPUs.
const WAKER: u64 = u64::MAX;

/// Why the buffers could not be opened.
#[derive(Debug, Error)]
pub(crate) enum TransportError {
    /// `perf_event_open` said no.
    #[error("perf_event_open for CPU {cpu} failed: {source}{hint}")]
    Open {
        /// The CPU.
        cpu: u32,
        /// What the kernel said.
        source: io::Error,
        /// What helps.
        hint: &'static str,
    },
    /// The buffer's memory was refused.
    #[error(
        "mapping {bytes} bytes of perf buffer for CPU {cpu} failed: {source} (try a smaller --buffer-size)"
    )]
    Map {
        /// The CPU.
        cpu: u32,
        /// Its ring.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else on the way.
    #[error("{what} failed: {source}")]
    Other {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The perf buffers of all CPUs, and the batches that are on their way there.
#[derive(Debug)]
pub(crate) struct Transport {
    rings: Vec<Ring>,
    alarm: Option<Alarm>,
    batches: Option<Batches>,
    epoll: OwnedFd,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Ring {
    cpu: u32,
    bytes: usize,
    memory: sys::PerfMemory,
    taken: Taken,
    event: Arc<OwnedFd>,
}

impl Transport {
    /// Opens a buffer of at least `bytes` for each CPU and hands it to the map `events`.
    pub(crate) fn open(
        events: BorrowedFd<'_>,
        cpus: &[u32],
        bytes: usize,
    ) -> Result<Self, TransportError> {
        let other = |what| move |source| TransportError::Other { what, source };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| other("epoll_create")(error.into()))?;
        let bytes = bytes.max(rustix::param::page_size()).next_power_of_two();
        let watermark = u32::try_from(bytes / WATERMARK_SHARE).unwrap_or(u32::MAX);
        let mut rings = Vec::with_capacity(cpus.len());
        for &cpu in cpus {
            let event = sys::perf_event_open(cpu, Wake::Bytes(watermark))
                .map_err(|source| TransportError::Open { cpu, hint: hint(&source), source })?;
            let memory = sys::PerfMemory::map(event.as_fd(), bytes)
                .map_err(|source| TransportError::Map { cpu, bytes, source })?;
            sys::bpf_array_set_fd(events, cpu, event.as_fd())
                .map_err(other("putting a perf buffer into its map"))?;
            sys::perf_event_enable(event.as_fd()).map_err(other("enabling a perf buffer"))?;
            let data = epoll::EventData::new_u64(u64::from(cpu));
            epoll::add(&epoll, &event, data, epoll::EventFlags::IN)
                .map_err(|error| other("watching a perf buffer")(error.into()))?;
            let (taken, event) = (Taken::default(), Arc::new(event));
            rings.push(Ring { cpu, bytes, memory, taken, event });
        }
        let alarm = Alarm::new(events, rings.iter().map(|ring| (ring.cpu, &ring.event)));
        let alarm = alarm.inspect_err(|error| {
            tracing::debug!(%error, "no record can call the reader: it looks 20 times a second");
        });
        Ok(Self { rings, alarm: alarm.ok(), batches: None, epoll, scratch: Vec::new() })
    }

    /// Has records taken from `batches`, too.
    pub(crate) fn add(&mut self, batches: Batches) {
        self.batches = Some(batches);
    }

    /// Lets each record end a [`wait`](Self::wait), or takes that back; returns whether each does.
    /// What a program was about to write at that moment may still wait for the next tick.
    pub(crate) fn call_at_once(&mut self, wanted: bool) -> bool {
        let Some(alarm) = &mut self.alarm else { return false };
        let calls = match alarm.set(wanted) {
            Ok(()) => wanted,
            Err(error) => {
                tracing::error!(%error, wanted, "the perf buffers were not changed: wakeups cost");
                false
            }
        };
        // One that waits in a batch would call nobody.
        if let Some(batches) = &mut self.batches {
            batches.hold(calls);
        }
        calls
    }

    /// Lets `waker` end a [`wait`](Self::wait) early.
    pub(crate) fn watch(&self, waker: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(WAKER);
        Ok(epoll::add(&self.epoll, waker, data, epoll::EventFlags::IN)?)
    }

    /// Waits until a buffer passes its watermark, the waker calls, or `tick` is over; returns whether
    /// the waker has called.
    pub(crate) fn wait(&self, tick: Duration) -> io::Result<bool> {
        let mut ready = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 16];
        let timeout = rustix::event::Timespec::try_from(tick).map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, &mut ready, Some(&timeout)) {
            Ok(count) => Ok(ready.iter().take(count).any(|event| event.data.u64() == WAKER)),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes everything that waits, CPU by CPU, and says how much that was.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(u32, Sample<'_>)) -> Drained {
        let mut drained = Drained::default();
        let (batches, scratch) = (self.batches.as_ref(), &mut self.scratch);
        for Ring { cpu, bytes, memory, taken, .. } in &mut self.rings {
            let mut source = Ends { cpu: *cpu, memory, batches };
            let (any, waited) =
                batches::drain(&mut source, taken, scratch, |sample| each(*cpu, sample));
            drained.any |= any;
            drained.behind |= is_nearly_full(waited, *bytes);
        }
        drained
    }
}

/// One CPU's buffer and batch.
struct Ends<'a> {
    cpu: u32,
    memory: &'a mut sys::PerfMemory,
    batches: Option<&'a Batches>,
}

impl Source for Ends<'_> {
    fn take(&mut self, out: &mut Vec<u8>) -> usize {
        self.memory.take(out)
    }

    fn at(&self) -> Option<u64> {
        self.batches?.at(self.cpu)
    }

    fn word(&self, offset: usize) -> u64 {
        self.batches.map_or(0, |batches| batches.word(self.cpu, offset))
    }

    fn tell_taken(&self, taken: u64) {
        if let Some(batches) = self.batches {
            batches.tell_taken(self.cpu, taken);
        }
    }
}

/// What a drain found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drained {
    /// Whether there was anything.
    pub(crate) any: bool,
    /// Whether a buffer was nearly full: the reader is called when a quarter is, and has come late.
    pub(crate) behind: bool,
}

fn is_nearly_full(waited: usize, bytes: usize) -> bool {
    waited >= bytes - bytes / 4
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            " (it takes CAP_PERFMON; where kernel.perf_event_paranoid is 3 or more, as on Debian, \
             CAP_SYS_ADMIN, or 'sysctl kernel.perf_event_paranoid=2'; a container's seccomp \
             profile may forbid the call)"
        }
        Some(libc::ENOSYS) => " (this kernel was built without CONFIG_PERF_EVENTS)",
        Some(libc::EMFILE) => " (one descriptor per CPU is needed; raise LimitNOFILE)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_fit_few_cpus_and_many() {
        assert_eq!(default_buffer_bytes(0), 4 << 20);
        assert_eq!(default_buffer_bytes(2), 4 << 20);
        assert_eq!(default_buffer_bytes(64), 1 << 20);
        assert_eq!(default_buffer_bytes(4096), 256 << 10);
    }

    #[test]
    fn three_quarters_are_nearly_full() {
        assert!(is_nearly_full(3072, 4096));
        assert!(!is_nearly_full(3071, 4096));
    }

    #[test]
    fn a_refusal_names_the_way_out() {
        let refused = TransportError::Open {
            cpu: 3,
            hint: hint(&io::Error::from_raw_os_error(libc::EACCES)),
            source: io::Error::from_raw_os_error(libc::EACCES),
        };
        let text = refused.to_string();
        assert!(text.contains("CPU 3") && text.contains("CAP_PERFMON"), "{text}");
    }
}
