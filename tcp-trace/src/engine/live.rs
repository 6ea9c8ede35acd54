//! Tracing the running kernel: start-up in its order, then the loop.

use std::{path::PathBuf, sync::mpsc, time::Duration};

use anyhow::Context as _;
use tcp_trace_common::StateRecord;

use super::{
    Engine, Inbox, Request,
    recorder::Recorder,
    tracer::{Identity, KernelFigures, REORDER_WINDOW, Tracer},
    wall,
};
use crate::{
    api,
    core::{
        clock::Ts,
        decode,
        event::{Body, Event},
        recording::Header,
        table::Limits,
    },
    kernel::{
        counters::Counters,
        holders,
        host::HostFacts,
        load::{self, Attached},
        netns::{self, Netns},
        notes::Notes,
        plan::{self, Backend, BackendChoice, Degradation, Plan},
        programs,
        selfcheck::Made,
        sock_diag,
        transport::{Sample, default_buffer_bytes},
    },
};

/// Longest wait before buffers below their watermark are drained.
const TICK: Duration = Duration::from_millis(20);
/// How often the kernel's own count of failed outputs is compared with what we know.
const LOSS_CHECK: Duration = Duration::from_millis(200);
/// How often the two clocks are compared anew.
const WALL_CHECK: Duration = Duration::from_secs(10);
/// Longest wait for the self-check's records.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);

/// What the user decides about tracing.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// BTF from a file in place of the kernel's own.
    pub(crate) btf: Option<PathBuf>,
    /// How to hook.
    pub(crate) backend: BackendChoice,
    /// Namespaces to trace; empty: all.
    pub(crate) netns: Vec<String>,
    /// Bytes of perf buffer for each CPU.
    pub(crate) buffer: Option<usize>,
    /// Bounds of the table.
    pub(crate) limits: Limits,
    /// Process names that get series of their own.
    pub(crate) process_limit: usize,
    /// Level of the kernel programs' log lines (0: none, 1: error … 5: trace).
    pub(crate) log_level: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            btf: None,
            backend: BackendChoice::Auto,
            netns: Vec::new(),
            buffer: None,
            limits: Limits::default(),
            process_limit: 50,
            log_level: 2,
        }
    }
}

/// Makes a sink for a recording, once its header is known.
pub(crate) type Sink = Box<dyn std::io::Write + Send>;

/// How a recording ended: frames written.
pub(crate) type RecordingEnd = mpsc::Receiver<std::io::Result<u64>>;

/// Attaches, checks, and starts the tracer's thread.
pub(crate) fn start(config: &Config) -> anyhow::Result<Engine> {
    let prepared = prepare(config)?;
    launch(prepared, config, None)
}

/// Likewise, and writes all that passes to `sink`.
pub(crate) fn start_recording(
    config: &Config,
    sink: Sink,
) -> anyhow::Result<(Engine, RecordingEnd)> {
    let prepared = prepare(config)?;
    let header = header(&prepared);
    let recorder = Recorder::new(sink, &header).context("beginning the recording failed")?;
    let (done, end) = mpsc::channel();
    Ok((launch(prepared, config, Some((recorder, done)))?, end))
}

/// Attached and checked, with what was learnt on the way.
struct Prepared {
    facts: HostFacts,
    attached: Attached,
    netns: Vec<Netns>,
    degradations: Vec<Degradation>,
    check: Vec<Made>,
    records: Vec<(u32, StateRecord)>,
}

fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    let facts = HostFacts::gather(config.btf.as_deref());
    let netns = config.netns.iter().map(|name| netns::find(name)).collect::<Result<Vec<_>, _>>()?;
    let inodes: Vec<_> = netns.iter().map(|netns| netns.inode).collect();
    let btf = load::read_btf(config.btf.as_deref()).ok();
    let plan = plan::plan(&facts, btf, config.backend, &inodes)?;
    let buffer = config.buffer.unwrap_or_else(|| default_buffer_bytes(facts.cpus.len()));
    let attached = load::attach(&plan, &facts.cpus, buffer, config.log_level)?;
    let degradations = degradations(&plan, &attached);
    let mut prepared =
        Prepared { facts, attached, netns, degradations, check: Vec::new(), records: Vec::new() };
    self_check(&mut prepared)?;
    Ok(prepared)
}

/// What is given up on this host and in this version.
fn degradations(plan: &Plan, attached: &Attached) -> Vec<Degradation> {
    let mut all = plan.degradations.clone();
    let mut note = |feature: &str, reason: &str, effect: &str| {
        all.push(Degradation {
            feature: feature.to_owned(),
            reason: reason.to_owned(),
            effect: effect.to_owned(),
        });
    };
    if !attached.cookies {
        note(
            "socket identity",
            "this kernel or hook gives programs no socket cookie",
            "sockets are told apart by address and birth time; those that were there before cannot be joined",
        );
    }
    if matches!(attached.backend, Backend::Fentry | Backend::Kprobe) {
        note(
            "births",
            "tcp_set_state does not see listen() nor a child's birth",
            "listeners appear only when they end; inbound connections begin at ESTABLISHED, without owner",
        );
    }
    note(
        "TIME_WAIT",
        "a TIME_WAIT is no socket and passes no state change",
        "its beginning shows as the end of its connection; its own end is not traced",
    );
    all
}

/// Makes a connection of our own and compares what the programs say with what is true.
fn self_check(prepared: &mut Prepared) -> anyhow::Result<()> {
    let own = prepared.facts.netns;
    let inside = match prepared.netns.first() {
        Some(first) if !prepared.netns.iter().any(|n| Some(n.inode) == own) => {
            match &first.handle {
                Some(handle) => netns::inside(handle, Made::connections).and_then(|made| made),
                None => Err(std::io::Error::other("the namespace cannot be entered")),
            }
        }
        _ => Made::connections(),
    };
    let made = match inside {
        Ok(made) => made,
        Err(error) => {
            prepared.degradations.push(Degradation {
                feature: "self-check".to_owned(),
                reason: format!("no loopback connection could be made: {error}"),
                effect:
                    "the field offsets come from BTF and are not proven by a connection of our own"
                        .to_owned(),
            });
            return Ok(());
        }
    };
    let deadline = wall::now();
    loop {
        prepared.attached.transport.wait(TICK)?;
        let records = &mut prepared.records;
        prepared.attached.transport.drain(|cpu, sample| {
            if let Sample::Raw(bytes) = sample {
                records.extend(decode::record(bytes).ok().map(|record| (cpu, record)));
            }
        });
        let plain: Vec<_> = prepared.records.iter().map(|(_, record)| *record).collect();
        let over = made.iter().all(|made| made.is_over(&plain));
        if over || wall::now().since(deadline) > CHECK_PATIENCE {
            let births = matches!(prepared.attached.backend, Backend::TpBtf | Backend::RawTp);
            for made in &made {
                made.judge(&plain, births)?;
            }
            prepared.check = made;
            return Ok(());
        }
    }
}

fn header(prepared: &Prepared) -> Header {
    Header {
        recorded_by: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: prepared.facts.kernel.clone(),
        arch: prepared.facts.arch.clone(),
        byte_order: Header::BYTE_ORDER.to_owned(),
        wall_offset_ns: wall::offset().epoch_ns,
        backend: prepared.attached.backend.name().to_owned(),
        netns: prepared.netns.iter().map(|netns| netns.inode).collect(),
        degradations: prepared
            .degradations
            .iter()
            .map(|d| format!("{}: {} ({})", d.feature, d.reason, d.effect))
            .collect(),
    }
}

type Recording = (Recorder, mpsc::Sender<std::io::Result<u64>>);

fn launch(
    prepared: Prepared,
    config: &Config,
    recording: Option<Recording>,
) -> anyhow::Result<Engine> {
    let (handle, inbox) = Engine::channel().context("making the tracer's waker failed")?;
    prepared.attached.transport.watch(rustix::fd::AsFd::as_fd(&*inbox.waker))?;
    let identity = Identity {
        kernel: prepared.facts.kernel.clone(),
        source: "live",
        backend: prepared.attached.backend.name().to_owned(),
        hooks: hooks(&prepared.attached),
        degradations: prepared.degradations.clone(),
        netns: prepared.netns.iter().map(|netns| netns.inode).collect(),
        process_limit: config.process_limit,
    };
    let channels = (inbox.events.clone(), std::sync::Arc::clone(&inbox.lagged));
    let mut tracer = Tracer::new(identity, config.limits, channels, wall::now(), wall::offset());
    let mut done = None;
    if let Some((recorder, sender)) = recording {
        tracer.recorder = Some(recorder);
        done = Some(sender);
    }
    hand_over(&mut tracer, &prepared);
    seed(&mut tracer, &prepared);
    let Prepared { attached, .. } = prepared;
    let thread = std::thread::Builder::new()
        .name("tracer".to_owned())
        .spawn(move || Loop::new(tracer, attached, inbox).run(done))
        .context("starting the tracer's thread failed")?;
    Ok(Engine { handle, thread: Some(thread) })
}

/// What was drained while the self-check waited: its own records are struck from every figure, the
/// rest is ordinary.
fn hand_over(tracer: &mut Tracer, prepared: &Prepared) {
    for (cpu, record) in &prepared.records {
        if !prepared.check.iter().any(|made| made.is_mine(record)) {
            tracer.take_record(*cpu, *record);
            continue;
        }
        if let Ok(Event { body: Body::State(change), .. }) = decode::event(record) {
            tracer.exclude(change.old, change.new);
        }
    }
}

/// Sockets that are there already. Only with cookies can they be joined to later events.
fn seed(tracer: &mut Tracer, prepared: &Prepared) {
    if !prepared.attached.cookies {
        return;
    }
    let at = wall::now();
    let dump = |inode| move || sock_diag::snapshot(at.0, inode);
    let mut snapshots = Vec::new();
    if prepared.netns.is_empty() {
        snapshots.push(dump(prepared.facts.netns)());
    }
    for netns in &prepared.netns {
        if let Some(handle) = &netns.handle {
            let entered = netns::inside(handle, dump(Some(netns.inode)));
            match entered {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(error) => tracing::warn!(%error, "a namespace cannot be entered"),
            }
        }
    }
    for snapshot in snapshots {
        match snapshot {
            Ok(mut snapshot) => {
                let holders = holders::by_inode(&snapshot.inodes());
                holders::name_owners(&mut snapshot.rows, &holders);
                for row in &snapshot.rows {
                    tracer.take_record(0, row.record);
                }
            }
            Err(error) => tracing::warn!(%error, "sockets that were there already are not known"),
        }
    }
}

/// Every backend as a hook: the one attached, and those refused before it.
fn hooks(attached: &Attached) -> Vec<api::Hook> {
    let hook = |backend: Backend, attached: bool, reason: Option<String>| api::Hook {
        program: backend.program().to_owned(),
        hook: backend.hook().to_owned(),
        backend: backend.name().to_owned(),
        attached,
        reason,
    };
    Backend::ALL
        .into_iter()
        .map(|backend| {
            let refused = attached.refusals.iter().find(|(refused, _)| *refused == backend);
            match refused {
                _ if backend == attached.backend => hook(backend, true, None),
                Some((_, why)) => hook(backend, false, Some(why.clone())),
                None => {
                    hook(backend, false, Some(format!("not needed beside {}", attached.backend)))
                }
            }
        })
        .collect()
}

/// The tracer's thread.
struct Loop {
    tracer: Tracer,
    attached: Attached,
    notes: Notes,
    inbox: Inbox,
    /// Failed outputs that a loss has been noted for.
    noted_losses: u64,
    last_loss_check: Ts,
    last_wall_check: Ts,
}

impl Loop {
    fn new(tracer: Tracer, mut attached: Attached, inbox: Inbox) -> Self {
        let notes = Notes::open(&mut attached.ebpf);
        let now = wall::now();
        Self {
            tracer,
            attached,
            notes,
            inbox,
            noted_losses: 0,
            last_loss_check: now,
            last_wall_check: now,
        }
    }

    fn run(mut self, done: Option<mpsc::Sender<std::io::Result<u64>>>) {
        // Whoever asks first is to see the sockets that were there already.
        std::thread::sleep(REORDER_WINDOW);
        self.pass();
        loop {
            if let Err(error) = self.attached.transport.wait(TICK) {
                tracing::error!(%error, "waiting for the perf buffers failed");
                break;
            }
            let now = self.pass();
            self.inbox.waker.quiet();
            if self.answer_all(now) {
                break;
            }
        }
        self.finish(done);
    }

    /// Drains, releases, looks after what is due. Returns the moment before the drain.
    fn pass(&mut self) -> Ts {
        let now = wall::now();
        self.drain(now);
        if now.since(self.last_loss_check) >= LOSS_CHECK {
            self.last_loss_check = now;
            self.check_losses(now);
            self.notes.flush();
        }
        if now.since(self.last_wall_check) >= WALL_CHECK {
            self.last_wall_check = now;
            self.tracer.wall = wall::offset();
        }
        self.tracer.release(now);
        now
    }

    fn drain(&mut self, now: Ts) {
        // A loss lies between two records of its CPU; what is certain is that it is over when the
        // next one comes.
        let mut lost: Option<(u32, u64)> = None;
        let tracer = &mut self.tracer;
        let noted = &mut self.noted_losses;
        self.attached.transport.drain(|cpu, sample| {
            if let Some((lost_cpu, count)) = lost.take_if(|(lost_cpu, _)| *lost_cpu != cpu) {
                tracer.take_loss(lost_cpu, now, count);
            }
            match sample {
                Sample::Lost(count) => {
                    *noted += count;
                    lost = Some((cpu, lost.map_or(0, |(_, earlier)| earlier) + count));
                }
                Sample::Malformed(bytes) => {
                    tracer.malformed(&format_args!("a malformed sample of {} bytes", bytes.len()));
                }
                Sample::Raw(bytes) => match decode::record(bytes) {
                    Ok(record) => {
                        if let Some((lost_cpu, count)) = lost.take() {
                            tracer.take_loss(lost_cpu, Ts(record.time_ns), count);
                        }
                        tracer.take_record(cpu, record);
                    }
                    Err(error) => tracer.malformed(&error),
                },
            }
        });
        if let Some((cpu, count)) = lost {
            tracer.take_loss(cpu, now, count);
        }
    }

    /// The buffer tells of a loss only with its next record; the programs' own counters tell at once.
    fn check_losses(&mut self, now: Ts) {
        let failed: u64 = self.counters().output_errors().map(|(_, count)| count).sum();
        if failed > self.noted_losses {
            self.tracer.note_loss(now, failed - self.noted_losses);
            self.noted_losses = failed;
        }
    }

    fn counters(&self) -> Counters {
        self.attached.counters.read().unwrap_or_else(|error| {
            tracing::error!(%error, "the kernel's counters cannot be read");
            Counters::default()
        })
    }

    fn kernel_figures(&self) -> KernelFigures {
        let program = programs::figures(&self.attached.ebpf, self.attached.backend);
        KernelFigures {
            counters: self.counters(),
            program: (program.runs, program.run_time_ns, program.misses),
        }
    }

    /// Answers what was asked; true where the tracer is to end.
    fn answer_all(&mut self, now: Ts) -> bool {
        let mut kernel = None;
        loop {
            match self.inbox.requests.try_recv() {
                Ok(Request::Stop) | Err(mpsc::TryRecvError::Disconnected) => return true,
                Ok(request) => {
                    let kernel = kernel.get_or_insert_with(|| self.kernel_figures());
                    self.tracer.answer(request, now, kernel);
                }
                Err(mpsc::TryRecvError::Empty) => return false,
            }
        }
    }

    fn finish(mut self, done: Option<mpsc::Sender<std::io::Result<u64>>>) {
        let now = wall::now();
        self.drain(now);
        self.tracer.flush();
        let counters = self.tracer.without_own(self.counters());
        if let (Some(recorder), Some(done)) = (self.tracer.recorder.take(), done) {
            // Whoever asked for the recording may have gone.
            let _ = done.send(recorder.finish(now, counters.0));
        }
        // The programs are detached as `attached` is dropped here.
    }
}
