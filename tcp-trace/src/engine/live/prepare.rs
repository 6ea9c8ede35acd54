//! Start-up in its order: facts, plan, attach, and the check before anything is believed.

use std::time::Duration;

use anyhow::Context as _;
use tcp_trace_common::{StackRecord, StateRecord};

use super::Config;
use crate::{
    core::{
        decode::{self, Record},
        event::Body,
    },
    engine::{tracer::Tracer, wall},
    kernel::{
        btf::Btf,
        hooks::Role,
        host::HostFacts,
        load::{self, Attached},
        netns::{self, Netns},
        plan::{self, Backend, BackendChoice, Degradation, Plan},
        segments::{self, Follower, Standing},
        selfcheck::Made,
        stacks,
        transport::{Sample, default_buffer_bytes},
    },
};

/// Longest wait for the self-check's records.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait between two looks.
const CHECK_TICK: Duration = Duration::from_millis(5);

/// Attached and checked, with what was learnt on the way.
pub(super) struct Prepared {
    pub(super) facts: HostFacts,
    pub(super) attached: Attached,
    pub(super) netns: Vec<Netns>,
    pub(super) degradations: Vec<Degradation>,
    pub(super) segments: Follower,
    pub(super) check: Vec<Made>,
    pub(super) records: Vec<(u32, Record)>,
    pub(super) stacks: Vec<StackRecord>,
}

pub(super) fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    let facts = HostFacts::gather(config.btf.as_deref());
    let netns = config.netns.iter().map(|name| netns::find(name)).collect::<Result<Vec<_>, _>>()?;
    let inodes: Vec<_> = netns.iter().map(|netns| netns.inode).collect();
    let btf = load::read_btf(config.btf.as_deref()).ok();
    let mut plan = plan::plan(&facts, btf, config.backend, &inodes)
        .with_context(|| without_choice(config.backend))?;
    let place = segments::place(&config.segments, &facts, &netns);
    let kernel = facts.version();
    segments::set(&mut plan.settings, place.as_ref().ok(), config.segments.rate, kernel);
    let types = || Btf::parse(load::read_btf(config.btf.as_deref()).ok()?).ok();
    let types = config.stacks.on.then(types).flatten();
    stacks::set(&mut plan.settings, &config.stacks, types.as_ref(), &facts.arch);
    let buffer = config.buffer.unwrap_or_else(|| default_buffer_bytes(facts.cpus.len()));
    let attached = load::attach(&plan, &facts.cpus, buffer, config.log_level)
        .with_context(|| without_choice(config.backend))?;
    let mut degradations = degradations(&plan, &attached);
    degradations.extend(super::reach::degradations(&facts, &netns));
    if config.stacks.on {
        degradations.extend(stack_degradations(&plan, &attached));
    }
    let mut prepared = Prepared {
        facts,
        attached,
        netns,
        degradations,
        segments: Follower::idle(Standing::off()),
        check: Vec::new(),
        records: Vec::new(),
        stacks: Vec::new(),
    };
    self_check(&mut prepared)?;
    // Last, so that no segment of our own is counted or reported.
    prepared.segments =
        segments::start(place, &mut prepared.attached.ebpf, &config.segments, kernel);
    Ok(prepared)
}

/// What to try where nothing could be hooked.
fn without_choice(choice: BackendChoice) -> &'static str {
    match choice {
        BackendChoice::Auto => {
            "tracing cannot begin; 'tcp-trace doctor' says what this host allows"
        }
        _ => {
            "tracing cannot begin the way --backend asks for; without it tcp-trace takes what works"
        }
    }
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
            "sockets are told apart by address and birth time, and joined with snapshots by their ends",
        );
    }
    if attached.backend.second().is_none() {
        note(
            "state changes",
            "a kprobe is skipped on a CPU that is at work in any",
            "fallback: tcp_trace_probe_misses_total counts these, snapshots find what they did; lost: their place in the counters",
        );
    }
    for (role, why) in attached.hooks.missing() {
        let without = role.without();
        let effect = format!("fallback: {}; lost: {}", without.fallback, without.loses);
        note(role.feature(), &why, &effect);
    }
    all
}

/// What stacks do not tell on this host.
fn stack_degradations(plan: &Plan, attached: &Attached) -> Vec<Degradation> {
    let degradation = |reason: String, effect: &str| Degradation {
        feature: "stacks".to_owned(),
        reason,
        effect: effect.to_owned(),
    };
    let missing = attached.hooks.missing();
    let accept = missing.into_iter().find(|(role, _)| *role == Role::Accept);
    let accept = accept.map(|(_, why)| {
        let effect = "where a connection was accepted is not known; where one was opened is";
        degradation(why, effect)
    });
    let top = (plan.settings.regs_at == 0).then(|| {
        let why = "the user's registers are not found on this machine".to_owned();
        degradation(why, "the function that itself calls connect() or accept() may be left out")
    });
    accept.into_iter().chain(top).collect()
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
        prepared.attached.transport.wait(CHECK_TICK)?;
        let Prepared { attached, records, stacks, .. } = prepared;
        attached.transport.drain(|cpu, sample| {
            if let Sample::Raw(bytes) = sample {
                stacks.extend(decode::stack(bytes).and_then(Result::ok));
                records.extend(decode::record(bytes).ok().map(|record| (cpu, record)));
            }
        });
        let plain: Vec<_> =
            prepared.records.iter().filter_map(|(_, record)| state(record)).collect();
        let over = made.iter().all(|made| made.is_over(&plain));
        if over || wall::now().since(deadline) > CHECK_PATIENCE {
            let births = sees_births(&prepared.attached);
            for made in &made {
                made.judge(&plain, births)?;
            }
            prepared.check = made;
            return Ok(());
        }
    }
}

/// Whether the births of listeners and children are reported, by the state hook or beside it.
fn sees_births(attached: &Attached) -> bool {
    let hooked = |role| attached.hooks.attached(role).is_some();
    matches!(attached.backend, Backend::TpBtf | Backend::RawTp)
        || hooked(Role::Listen) && hooked(Role::Child)
}

/// What was drained while the self-check waited: its own records are struck from every figure, the
/// rest is ordinary.
pub(super) fn hand_over(tracer: &mut Tracer, prepared: &Prepared) {
    for (cpu, record) in &prepared.records {
        match decode::event(record).map(|event| event.body) {
            Ok(Body::State(change)) if is_mine(prepared, record) => {
                tracer.exclude(change.old, change.new);
            }
            Ok(Body::Life(event)) if prepared.check.iter().any(|made| made.is_mine_too(&event)) => {
            }
            _ => tracer.take_record(*cpu, *record),
        }
    }
}

fn is_mine(prepared: &Prepared, record: &Record) -> bool {
    state(record).is_some_and(|record| prepared.check.iter().any(|made| made.is_mine(&record)))
}

fn state(record: &Record) -> Option<StateRecord> {
    match record {
        Record::State(record) => Some(*record),
        Record::Life(_) | Record::Segment(_) => None,
    }
}
