//! What the tracer answers when it is asked.

use std::{sync::atomic::Ordering, time::Duration};

use super::{KernelFigures, Tracer};
use crate::{
    api,
    core::{
        clock::Ts,
        connection::Connection,
        diagnosis::Asked,
        fold::{Standing, Why},
        half_open::HalfOpenCounts,
        query::Query,
        reconcile::Reconciled,
        statistics::Statistics,
        time_wait::TimeWaitCounters,
    },
    engine::{
        Request,
        figures::{Figures, ProcessFigures, World},
        losses,
    },
    kernel::host,
};

impl Tracer {
    /// All figures, with what came of comparing them with the host.
    pub(crate) fn figures_of(&self, world: World, now: Ts, kernel: &KernelFigures) -> Figures {
        Figures { world, ..self.figures(now, kernel) }
    }

    /// Answers a question as of `now`. A questioner who has gone away is no concern.
    pub(crate) fn answer(&self, request: Request, now: Ts, kernel: &KernelFigures) {
        match request {
            Request::Status(reply) => drop(reply.send(self.status(now, kernel))),
            Request::Connections { query, limit, closed, reply } => {
                drop(reply.send(self.connections(
                    &query,
                    limit,
                    closed,
                    (now, kernel.folding.folding),
                )));
            }
            Request::Connection { id, reply } => {
                let found = self.table.get(id).map(|known| self.view(known, now, true));
                drop(reply.send(found));
            }
            Request::Diagnosis { asked, reply } => {
                drop(reply.send(self.diagnosis(asked, now, kernel)));
            }
            Request::Figures(reply) => drop(reply.send(Box::new(self.figures(now, kernel)))),
            Request::Stop => {}
        }
    }

    fn view(&self, known: &Connection, now: Ts, timeline: bool) -> api::Connection {
        let mut told = api::connection(known, now, self.wall, self.table.loss_epoch(), timeline);
        if timeline {
            told.stack = known.stack.and_then(|id| self.table.stacks().get(id)).map(Into::into);
        }
        told.holders = self.casebook.holders(known).iter().map(Into::into).collect();
        self.residence.tell(&mut told);
        told
    }

    fn connections(
        &self,
        query: &Query,
        limit: usize,
        closed: bool,
        (now, folding): (Ts, bool),
    ) -> api::ConnectionList {
        // Listeners are no connections; they are shown where they are asked for.
        let wanted = |known: &&Connection| {
            query.matches(known, self.casebook.holders(known), now)
                && (!query.states.is_empty() || !known.is_listener())
        };
        let mut found: Vec<_> = self.table.live().filter(wanted).collect();
        found.sort_unstable_by_key(|known| (known.state_since, known.id));
        if closed {
            found.extend(self.table.closed().filter(wanted));
        }
        let total = found.len() as u64;
        if limit > 0 {
            found.truncate(limit);
        }
        let connections = found.into_iter().map(|known| self.view(known, now, false)).collect();
        api::ConnectionList { connections, total, folding }
    }

    fn diagnosis(&self, asked: Asked, now: Ts, kernel: &KernelFigures) -> api::Diagnosis {
        let thresholds = self.casebook.thresholds().with(asked);
        let report = self.casebook.diagnose(&self.table, now, &thresholds);
        let traced = api::Traced {
            // Where a file was made, it does not say.
            host: if self.identity.source == "live" { host::name() } else { String::new() },
            source: self.identity.source.to_owned(),
            since: api::rfc3339(self.wall, self.started),
            seconds: now.since(self.started).as_secs_f64(),
            lost: self.losses(kernel).iter().map(|(_, count)| count).sum(),
        };
        let mut told = api::diagnosis(&report, &thresholds, traced, self.wall);
        if self.identity.source != "live" {
            let facts = "what the host itself says: descriptors, queues, limits and settings";
            told.unseen.push(facts.to_owned());
        }
        for owner in told.findings.iter_mut().filter_map(|found| found.process.as_mut()) {
            self.residence.tell_owner(owner);
        }
        told
    }

    fn status(&self, now: Ts, kernel: &KernelFigures) -> api::Status {
        let lost = self.losses(kernel);
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            kernel: self.identity.kernel.clone(),
            source: self.identity.source.to_owned(),
            tracing_since: api::rfc3339(self.wall, self.started),
            uptime_seconds: now.since(self.started).as_secs_f64(),
            backend: self.identity.backend.clone(),
            hooks: self.hooks(kernel),
            degradations: {
                let mut all = self.identity.degradations.clone();
                all.extend(kernel.segments.degradations());
                all
            },
            segments: kernel.segments.clone(),
            stacks: self.stacks(kernel),
            folding: self.folding(now, kernel),
            netns: self.identity.netns.clone(),
            events: self.taken.total(),
            lost: lost
                .into_iter()
                .map(|(stage, count)| api::Loss { stage: stage.to_owned(), count })
                .collect(),
            perf_record_lost: self.perf_record_lost,
            connections: self.table.len() as u64,
            listeners: self.table.listening(),
            connections_limit: self.table.limits().live as u64,
            late_records: self.merge.late(),
            gaps: self.table.statistics().gaps,
            half_open: self.half_open(kernel).open,
            passed_over: (self.identity.passed_over.iter())
                .map(|(stage, count)| api::Loss { stage: (*stage).to_owned(), count: *count })
                .collect(),
            reconciled: {
                let Reconciled { state, found, gone } = self.table.statistics().reconciled;
                api::Reconciled { state, found, gone }
            },
            segment_fates: self.table.segments().into(),
        }
    }

    /// Every program, the packet programs as they stand now. A recording has none of those.
    fn hooks(&self, kernel: &KernelFigures) -> Vec<api::Hook> {
        let mut hooks = self.identity.hooks.clone();
        if self.identity.source == "live" {
            hooks.extend(api::packet_hooks(&kernel.segments));
        }
        hooks
    }

    /// Whether short connections are told in one record; of a file only how many were.
    fn folding(&self, now: Ts, kernel: &KernelFigures) -> api::Folding {
        let connections = self.table.statistics().folded;
        if self.identity.source != "live" {
            return api::Folding { connections, ..api::Folding::default() };
        }
        let Standing { mode, above, folding, why, folded_ns, switches, .. } = kernel.folding;
        let since = kernel.folding.since;
        api::Folding {
            mode: mode.name().to_owned(),
            above,
            folding,
            why: why.map(|why| why.name().to_owned()),
            events_per_second: match why {
                Some(Why::Rate(rate)) => Some(rate),
                _ => None,
            },
            since: since.map(|since| api::rfc3339(self.wall, since)),
            for_seconds: now.since(since.unwrap_or(self.started)).as_secs_f64(),
            connections,
            seconds: Duration::from_nanos(folded_ns).as_secs_f64(),
            switches,
            refused: kernel.folding.refused.clone(),
            not_folded: self.identity.not_folded.clone(),
        }
    }

    /// Requests without those whose child is there, and folded: they are told together.
    fn half_open(&self, kernel: &KernelFigures) -> HalfOpenCounts {
        let counts = self.table.half_open();
        HalfOpenCounts { open: counts.open.saturating_sub(kernel.folding.children), ..counts }
    }

    /// What has become of stacks, in the kernel, outside, and in the table.
    fn stack_fates(&self, kernel: &KernelFigures) -> Vec<(&'static str, u64)> {
        let mut fates = kernel.stacks.0.clone();
        let stacks = self.table.stacks();
        fates.extend([("no_connection", stacks.strangers()), ("forgotten", stacks.forgotten())]);
        fates
    }

    fn stacks(&self, kernel: &KernelFigures) -> api::Stacks {
        let fates = self.stack_fates(kernel).into_iter().filter(|(_, count)| *count > 0);
        api::Stacks {
            on: self.table.stacks().asked().unwrap_or(false),
            fates: fates
                .map(|(stage, count)| api::Loss { stage: stage.to_owned(), count })
                .collect(),
        }
    }

    /// Every place where an event can die, with the number of those that did.
    fn losses(&self, kernel: &KernelFigures) -> Vec<(&'static str, u64)> {
        let mut lost = losses::outputs(&kernel.counters);
        let statistics = self.table.statistics();
        lost.extend([
            ("decode", self.undecodable),
            ("unidentified", statistics.unidentified),
            ("table_full", statistics.refused),
            ("half_open_full", self.table.half_open().refused),
            ("segment_pending_full", statistics.segments.refused),
            ("stack_queue", kernel.stacks.get("dropped")),
            ("subscriber", self.lagged.load(Ordering::Relaxed)),
        ]);
        lost
    }

    pub(super) fn figures(&self, now: Ts, kernel: &KernelFigures) -> Figures {
        let counters = self.without_own(kernel.counters.clone());
        let matrix = counters.matrix();
        let time_wait = TimeWaitCounters::from_counters(&counters.0);
        let (kept, others) = self.table.processes().ranked(self.identity.process_limit);
        let age = |since: Option<&(Ts, _)>| since.map(|(since, _)| now.since(*since));
        let processes = kept
            .into_iter()
            .map(|process| ProcessFigures {
                by_state: process.by_state,
                oldest_close_wait: age(process.close_wait.first()),
                ..ProcessFigures::named(&process.name)
            })
            .collect();
        let mut other_processes = ProcessFigures::default();
        for process in &others {
            for (sum, count) in other_processes.by_state.iter_mut().zip(process.by_state) {
                *sum += count;
            }
            other_processes.oldest_close_wait =
                other_processes.oldest_close_wait.max(age(process.close_wait.first()));
        }
        Figures {
            gauges: self.table.gauges(&matrix, &time_wait),
            matrix,
            sources: self.table.sources(),
            time_wait,
            half_open: self.half_open(kernel),
            counters: kernel.counters.clone(),
            statistics: Statistics {
                segments: self.table.segments(),
                ..self.table.statistics().clone()
            },
            unplaced: self.residence.refused(),
            processes,
            other_processes,
            folded_processes: others.len() as u64,
            connections: self.table.len() as u64,
            connections_limit: self.table.limits().live as u64,
            events: self.taken.by_kind(),
            lost: self.losses(kernel),
            perf_record_lost: self.perf_record_lost,
            late_records: self.merge.late(),
            hooks: self.hooks(kernel),
            stacks: self.stack_fates(kernel),
            folding: kernel.folding.clone(),
            segments: kernel.segments.clone(),
            segment_counters: kernel.segment_counters.clone(),
            world: World::default(),
            longest_pass: Duration::ZERO,
            leaks: self.casebook.leaks().clone(),
            programs: kernel.programs.clone(),
        }
    }
}
