//! Tracing the running kernel: start-up in its order, then the loop.

use std::{path::PathBuf, sync::mpsc};

use anyhow::Context as _;

use super::{
    Engine,
    recorder::Recorder,
    residence::Residence,
    tracer::{Identity, Tracer},
    wall,
};
use crate::{
    api,
    core::{
        coverage::Hooked,
        diagnosis::Thresholds,
        fold::{self, Governor, Mode},
        recording::Header,
        sources::Sources,
        table::Limits,
    },
    kernel::{
        folding,
        load::Attached,
        plan::{Backend, BackendChoice},
        segments,
        stacks::{Naming, StackWishes},
        sys,
    },
};

mod bracket;
mod drain;
mod evidence;
mod known;
mod prepare;
mod reach;
mod reconciler;
mod rest;
mod round;
mod schedule;
mod world;

use drain::Loop;
use prepare::{Prepared, prepare};
use round::Rounds;
use world::World;

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
    /// Whether and where segments are looked at.
    pub(crate) segments: segments::Config,
    /// Whose stacks are wanted.
    pub(crate) stacks: StackWishes,
    /// When short connections are told in one record.
    pub(crate) mode: Mode,
    /// Events a second above which they are, where that is left to the tracer.
    pub(crate) fold_above: u32,
    /// Level of the kernel programs' log lines (0: none, 1: error … 5: trace).
    pub(crate) log_level: u8,
    /// From when on something is worth a finding.
    pub(crate) thresholds: Thresholds,
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
            segments: segments::Config::default(),
            stacks: StackWishes::default(),
            mode: Mode::default(),
            fold_above: fold::ABOVE,
            log_level: 2,
            thresholds: Thresholds::default(),
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
            .map(crate::kernel::plan::Degradation::to_line)
            .collect(),
        hooks: attached_programs(&prepared.attached),
    }
}

/// Names of the attached programs.
fn attached_programs(attached: &Attached) -> Vec<String> {
    let attached_hooks = hooks(attached).into_iter().filter(|hook| hook.attached);
    attached_hooks.map(|hook| hook.program).collect()
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
        passed_over: Vec::new(),
        thresholds: config.thresholds,
        not_folded: not_folded(&prepared.attached, config),
    };
    let channels = (inbox.events.clone(), std::sync::Arc::clone(&inbox.lagged));
    let mut tracer = Tracer::new(identity, config.limits, channels, wall::now(), wall::offset());
    tracer.set_sources(Sources::from_programs(&attached_programs(&prepared.attached)));
    tracer.set_stacks_asked(config.stacks.on);
    tracer.residence = Residence::of_host();
    tracer.looks.every = tracer.looks.every.min(world::interval());
    let mut done = None;
    if let Some((recorder, sender)) = recording {
        tracer.recorder = Some(recorder);
        done = Some(sender);
    }
    prepare::hand_over(&mut tracer, &prepared);
    let scope = prepared.netns.iter().map(|netns| netns.inode).collect();
    let rounds = Rounds::new(scope, prepared.attached.cookies);
    let hooked = Hooked {
        time_wait_at_end: prepared.attached.time_wait_counted_at_end,
        ..hooked(&hooks(&prepared.attached))
    };
    let world = World::new(rounds, hooked, std::sync::Arc::clone(&inbox.waker))
        .context("starting the thread that lists the host's sockets failed")?;
    // Types of the kernel and of our own object: nobody needs them any more.
    sys::give_memory_back();
    // The namespaces' handles are dropped here: held open, they would outlive their owners.
    let Prepared { attached, segments, stacks, .. } = prepared;
    let naming = Naming::new(config.stacks.on, &stacks);
    let governor = Governor::new(config.mode, config.fold_above);
    let run = move || {
        Loop::new(tracer, (attached, segments, naming), governor, inbox, world).run(done);
    };
    Engine::start(handle, run).context("starting the tracer's thread failed")
}

/// Which connections are told step by step whatever the mode, and why.
fn not_folded(attached: &Attached, config: &Config) -> Vec<String> {
    let births = folding::unseen_births(&attached.hooks);
    let stacks = "connections that this host opens: a stack is taken at each (--stacks)".to_owned();
    births.into_iter().chain(Some(stacks).filter(|_| config.stacks.on)).collect()
}

/// Which of the kernel's own counts can be compared with ours.
fn hooked(hooks: &[api::Hook]) -> Hooked {
    let any = |names: &[&str]| {
        hooks.iter().any(|hook| hook.attached && names.contains(&hook.hook.as_str()))
    };
    Hooked {
        connects: any(&["tcp_connect"]),
        time_wait: any(&["inet_twsk_hashdance", "inet_twsk_hashdance_schedule"]),
        time_wait_at_end: false,
        retransmits: any(&["tcp_retransmit_skb"]) && any(&["tcp_retransmit_synack"]),
    }
}

/// Every program of the object: attached, or why not.
fn hooks(attached: &Attached) -> Vec<api::Hook> {
    let state = Backend::ALL.into_iter().flat_map(|backend| {
        let refused = attached.refusals.iter().find(|(refused, _)| *refused == backend);
        let reason = match refused {
            _ if backend == attached.backend => None,
            Some((_, why)) => Some(why.clone()),
            None => Some(format!("not needed beside {}", attached.backend)),
        };
        std::iter::once(backend.program()).chain(backend.second()).map(move |program| api::Hook {
            program: program.to_owned(),
            hook: backend.hook().to_owned(),
            backend: backend.name().to_owned(),
            attached: reason.is_none(),
            reason: reason.clone(),
        })
    });
    let others = attached.hooks.0.iter().map(|outcome| api::Hook {
        program: outcome.hook.program.to_owned(),
        hook: outcome.hook.target.to_owned(),
        backend: outcome.hook.mechanism.name().to_owned(),
        attached: outcome.refusal.is_none(),
        reason: outcome.refusal.as_ref().map(|refusal| refusal.why().to_owned()),
    });
    state.chain(others).collect()
}
