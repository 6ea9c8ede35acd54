//! The tracer's side of the comparison with the host: asks for it, takes what was found.

use std::{sync::Arc, time::Duration};

use super::{
    reconciler::{Died, End, Finding, Order, Owners, Reconciler},
    round::Rounds,
    schedule::Schedule,
};
use crate::{
    core::{
        clock::Ts,
        coverage::{Hooked, Ours},
        decode::Record,
    },
    engine::{
        figures::World as Figures,
        tracer::{Tracer, Unowned},
        waker::Waker,
        wall,
    },
    kernel::counters::Counters,
};

/// How often the host's sockets are compared with the table.
const INTERVAL: Duration = Duration::from_secs(30);
/// Milliseconds in its place, for tests.
const INTERVAL_VARIABLE: &str = "TCP_TRACE_RECONCILE_MS";
/// How old the kernel's own figures may be at a scrape.
const FIGURES_AGE: Duration = Duration::from_secs(5);
/// Records taken in one pass, so that a large snapshot does not hold up the buffers: two pieces of one.
const PASS: usize = 8 << 10;

/// The host's sockets and figures, as they come in.
#[derive(Debug)]
pub(super) struct World {
    reconciler: Reconciler,
    schedule: Schedule,
    hooked: Hooked,
    /// What is left of the finding being taken.
    pending: std::vec::IntoIter<Record>,
    figures: Figures,
    /// When the kernel's figures were last asked for.
    figures_asked: Ts,
    /// A whole round has been taken.
    settled: bool,
    /// Records were lost that no round has followed yet: births may be among them, and nobody knows
    /// whose those are.
    missed: bool,
    dead: bool,
}

impl World {
    /// What `rounds` find. Nothing is asked for yet.
    pub(super) fn new(rounds: Rounds, hooked: Hooked, waker: Arc<Waker>) -> std::io::Result<Self> {
        Ok(Self {
            reconciler: Reconciler::start(rounds, waker)?,
            schedule: Schedule::new(interval()),
            hooked,
            pending: Vec::new().into_iter(),
            figures: Figures::default(),
            figures_asked: Ts(0),
            settled: false,
            missed: false,
            dead: false,
        })
    }

    /// Notes that records were lost.
    pub(super) fn lost(&mut self, now: Ts) {
        self.schedule.lost(now);
        self.missed = true;
    }

    /// Whether all that was there at the start has been taken.
    pub(super) fn is_settled(&self) -> bool {
        self.settled || self.dead
    }

    /// Asks for what is due, and takes what has come: at most a bounded number of records. `tell`
    /// has the tracer know of folded connections, before a snapshot shows them.
    pub(super) fn pass(
        &mut self,
        tracer: &mut Tracer,
        counters: impl Fn() -> Counters,
        tell: impl Fn(&mut Tracer),
    ) {
        let now = wall::now();
        if tracer.looks.take_suspicion() {
            self.schedule.suspect();
        }
        if self.schedule.is_due(now) {
            let owners = match tracer.unowned() {
                Unowned::Some(cookies) if self.settled && !self.missed => Owners::Of(cookies),
                _ => Owners::Every,
            };
            self.missed = false;
            self.figures_asked = now;
            self.order(Order::Everything { owners, suspects: tracer.suspects(now) });
        }
        let mut room = PASS;
        while room > 0 {
            if self.pending.len() == 0 {
                if !self.take_finding(tracer, &counters) {
                    break;
                }
                if self.pending.len() > 0 {
                    tell(tracer);
                }
            }
            let now = wall::now();
            for mut record in self.pending.by_ref().take(room) {
                match &mut record {
                    Record::State(record) => record.time_ns = now.0,
                    Record::Segment(record) => record.time_ns = now.0,
                    Record::Life(record) => record.time_ns = now.0,
                }
                tracer.take_record(0, record);
                room -= 1;
            }
        }
    }

    /// Takes one finding; false where there is none.
    fn take_finding(&mut self, tracer: &mut Tracer, counters: impl Fn() -> Counters) -> bool {
        let finding = match self.reconciler.finding() {
            Ok(Some(finding)) => finding,
            Ok(None) => return false,
            Err(died) => {
                self.died(died);
                return false;
            }
        };
        match finding {
            Finding::Sockets { records, end } => {
                match end {
                    Some(End::Whole) => self.figures.whole += 1,
                    Some(End::Cut) => self.figures.cut += 1,
                    Some(End::Failed) => self.figures.failed += 1,
                    None => {}
                }
                self.pending = records.into_iter();
            }
            Finding::Figures { readings, partial } => {
                let counters = tracer.without_own(counters());
                let ours = Ours::new(&counters.0, &counters.matrix(), self.hooked);
                self.figures.coverage.take(&readings, partial, ours);
                tracer.casebook.take_mibs(&readings, wall::now());
            }
            Finding::Host(facts) => tracer.casebook.take_host(*facts),
            Finding::Gone { netns, record } => {
                tracing::info!(netns, "a network namespace is no more");
                self.figures.gone += 1;
                self.figures.coverage.depart(netns);
                self.pending = vec![record].into_iter();
            }
            Finding::Done { namespaces } => {
                self.figures.namespaces = namespaces;
                self.settled = true;
                self.schedule.done();
            }
        }
        true
    }

    /// The figures, and asks for younger ones where they have aged.
    pub(super) fn figures(&mut self, now: Ts) -> Figures {
        if now.since(self.figures_asked) >= FIGURES_AGE {
            self.figures_asked = now;
            self.order(Order::Figures);
        }
        self.figures.clone()
    }

    fn order(&mut self, order: Order) {
        if let Err(died) = self.reconciler.order(order) {
            self.died(died);
        }
    }

    fn died(&mut self, _: Died) {
        if !self.dead {
            self.dead = true;
            tracing::error!(
                "the thread that lists the host's sockets has died: what is lost stays lost \
                 (please report, and restart)"
            );
        }
    }
}

/// How often the host's sockets are compared with the table.
pub(super) fn interval() -> Duration {
    let wanted = std::env::var(INTERVAL_VARIABLE).ok().and_then(|text| text.parse().ok());
    wanted.map_or(INTERVAL, Duration::from_millis)
}
