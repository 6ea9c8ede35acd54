//! Carries a plan out: loads the object, opens the buffers, attaches the first backend that works.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
};

use aya::{Ebpf, EbpfLoader, maps::Map, programs::Program};
use thiserror::Error;
use zerocopy::IntoBytes as _;

use super::{
    attach::{self, Outcomes},
    counters::{CounterMaps, SegmentMap},
    loading, packets,
    plan::{Backend, Plan},
    programs::KprobeLinks,
    stacks::StackMap,
    transport::{self, Batches, Transport, TransportError},
};

/// The kernel programs, as built by `cargo xtask bpf build`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../bpf/tcp-trace.bpf.o"));

/// Programs attached to the kernel; dropping it detaches them.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The loaded object, which keeps the links.
    pub(crate) ebpf: Ebpf,
    /// What was attached.
    pub(crate) backend: Backend,
    /// Whether records carry socket cookies.
    pub(crate) cookies: bool,
    /// The buffers.
    pub(crate) transport: Transport,
    /// The exact counters.
    pub(crate) counters: CounterMaps,
    /// Those of segments.
    pub(crate) segments: SegmentMap,
    /// Those of stacks.
    pub(crate) stacks: StackMap,
    /// Backends that were tried first, and what the kernel said.
    pub(crate) refusals: Vec<(Backend, String)>,
    /// Every other hook, attached or not.
    pub(crate) hooks: Outcomes,
    /// As [`Plan::time_wait_counted_at_end`].
    pub(crate) time_wait_counted_at_end: bool,
    /// Where the kernel counts what our kprobes missed.
    pub(crate) kprobe_links: KprobeLinks,
}

/// Why nothing could be attached.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    /// The kernel refused every backend.
    #[error("the kernel refuses every way to hook state changes that was tried:{}", list(.0))]
    Refused(Vec<(Backend, String)>),
    /// The buffers could not be opened.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

fn list(refusals: &[(Backend, String)]) -> String {
    refusals
        .iter()
        .fold(String::new(), |text, (backend, why)| text + &format!("\n  {backend}: {why}"))
}

/// The kernel's own types as aya wants them: read once for all programs, and only if one is typed.
#[derive(Default)]
pub(super) struct KernelTypes(OnceLock<Result<aya::Btf, String>>);

impl KernelTypes {
    /// The types, or why they cannot be had.
    pub(super) fn get(&self) -> Result<&aya::Btf, String> {
        let read = || aya::Btf::from_sys_fs().map_err(|error| chain(&error));
        self.0.get_or_init(read).as_ref().map_err(Clone::clone)
    }
}

/// One attempt's failure: try the next backend, or give up.
enum Failure {
    Refused(String),
    Fatal(TransportError),
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        Self::Fatal(error)
    }
}

/// Tries the plan's backends in order.
pub(crate) fn attach(
    plan: &Plan,
    cpus: &[u32],
    buffer: usize,
    log_level: u8,
) -> Result<Attached, LoadError> {
    let types = KernelTypes::default();
    let mut refusals = plan.excluded.clone();
    for &backend in &plan.backends {
        // Whether tracing programs may ask for cookies (5.12) only the verifier can tell.
        let cookie_choices: &[bool] = if backend.is_typed() { &[true, false] } else { &[false] };
        for &cookies in cookie_choices {
            match attempt(plan, &types, (backend, cookies), cpus, buffer, log_level) {
                Ok(mut attached) => {
                    attached.refusals = refusals;
                    return Ok(attached);
                }
                Err(Failure::Fatal(error)) => return Err(error.into()),
                Err(Failure::Refused(why)) => {
                    tracing::debug!(%backend, cookies, why, "backend refused");
                    match refusals.last_mut() {
                        Some((last, text)) if *last == backend => *text = why,
                        _ => refusals.push((backend, why)),
                    }
                }
            }
        }
    }
    Err(LoadError::Refused(refusals))
}

fn attempt(
    plan: &Plan,
    types: &KernelTypes,
    (backend, cookies): (Backend, bool),
    cpus: &[u32],
    buffer: usize,
    log_level: u8,
) -> Result<Attached, Failure> {
    let mut settings = plan.settings;
    settings.cookie_helper = u32::from(cookies);
    settings.paired = plan.pairing(backend);
    settings.batches = transport::batch_room(buffer);
    let cpu_count = cpus.iter().max().map_or(1, |last| last.saturating_add(1));
    let mut ebpf = EbpfLoader::new()
        .override_global("OFFSETS", plan.offsets.as_bytes(), true)
        .override_global("SETTINGS", settings.as_bytes(), true)
        .map_max_entries("MARKS", cpu_count)
        .map_max_entries("BATCHES", cpu_count)
        .override_global(aya_log::LEVEL, &log_level, false)
        .load(&packets::object(settings.xdp_frags != 0))
        .map_err(|error| Failure::Refused(chain(&error)))?;
    load(&mut ebpf, backend, types).map_err(Failure::Refused)?;
    let events = ebpf.map("EVENTS").and_then(map_fd).ok_or_else(|| missing("EVENTS"))?;
    let mut transport = Transport::open(events, cpus, buffer)?;
    let mut map = |name| ebpf.take_map(name).ok_or_else(|| missing(name));
    if settings.batches != 0 {
        let what = "mapping the programs' batches";
        let batches = Batches::map(map("BATCHES")?, cpu_count, cpus)
            .map_err(|source| TransportError::Other { what, source })?;
        transport.add(batches);
    }
    let counters = CounterMaps::new(map("COUNTERS")?, map("FAILURES")?)
        .map_err(|error| Failure::Refused(chain(&error)))?;
    let segments =
        SegmentMap::new(map("SEGMENTS")?).map_err(|error| Failure::Refused(chain(&error)))?;
    let stacks =
        StackMap::new(map("STACK_COUNTS")?).map_err(|error| Failure::Refused(chain(&error)))?;
    attach::load_all(&mut ebpf, backend, &plan.choices, types);
    hook(&mut ebpf, backend).map_err(Failure::Refused)?;
    let hooks = attach::attach_all(&mut ebpf, backend, &plan.choices, types);
    let state = Some(backend.program()).filter(|_| backend == Backend::Kprobe);
    let kprobe_links = KprobeLinks::find(&ebpf, hooks.kprobes().chain(state));
    Ok(Attached {
        ebpf,
        backend,
        cookies,
        transport,
        counters,
        segments,
        stacks,
        refusals: Vec::new(),
        hooks,
        time_wait_counted_at_end: plan.time_wait_counted_at_end,
        kprobe_links,
    })
}

pub(super) fn map_fd(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::PerfEventArray(data) => Some(data.fd().as_fd()),
        _ => None,
    }
}

fn missing(name: &str) -> Failure {
    Failure::Refused(format!(
        "the object has no map {name}: rebuild it with 'cargo xtask bpf build'"
    ))
}

/// Hands the programs of `backend` to the verifier.
fn load(ebpf: &mut Ebpf, backend: Backend, types: &KernelTypes) -> Result<(), String> {
    let programs = backend.programs();
    let groups: Vec<_> = programs.iter().map(|name| vec![(*name, backend.hook())]).collect();
    loading::load_each(ebpf, &groups, types).into_iter().collect()
}

/// Attaches the loaded programs.
fn hook(ebpf: &mut Ebpf, backend: Backend) -> Result<(), String> {
    let hook = |name| attach::attach_loaded(program(ebpf, name)?, backend.hook());
    backend.programs().into_iter().try_for_each(hook)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, String> {
    ebpf.program_mut(name).ok_or_else(|| format!("the object has no program {name}"))
}

/// An error with its causes on one line; of a verifier's log only the last words, which say why.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(aya::programs::ProgramError::LoadError { io_error, verifier_log }) =
        error.downcast_ref()
    {
        let log = verifier_log.to_string();
        // What stands after the reason is statistics.
        let statistics = ["processed", "verification time", "stack depth"];
        let last = log.lines().rev().find(|line| {
            let line = line.trim();
            !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start))
        });
        return match last {
            Some(line) => format!("the verifier refuses it ({io_error}): {}", line.trim()),
            None => format!("BPF_PROG_LOAD answered: {io_error}"),
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Reads the BTF the plan is made from.
pub(crate) fn read_btf(file: Option<&std::path::Path>) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    // A kernel's BTF is about 6 MB; far more is something else.
    const LIMIT: u64 = 64 << 20;
    let path = file.unwrap_or(std::path::Path::new(super::host::KERNEL_BTF));
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
