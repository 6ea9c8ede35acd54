//! A tracer that answers what a test tells it to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::broadcast;

use super::Tracer;
use crate::kernel::programs::ProgramRuns;
use crate::{
    api::{
        ClosedEvent, Connection, ConnectionList, Diagnosis, Endpoint, Event, Finding, Hook,
        LostEvent, Owner, StateEvent, Status, Step, Thresholds,
    },
    core::{
        connection::ConnectionId,
        coverage::{Coverage, Hooked, Mib, Mibs, Ours},
        diagnosis::{Asked, Leaks},
        event::Comm,
        fold,
        half_open::HalfOpenCounts,
        population::Matrix,
        query::Query,
        sources::Sources,
        statistics::Statistics,
        tcp_state::TcpState,
        time_wait::TimeWaitCounters,
    },
    engine::{
        Gone,
        figures::{Figures, ProcessFigures, World},
    },
    kernel::{
        counters::{Counters, SegmentCounters},
        segments::{InterfaceStanding, Standing, Way},
    },
};

/// How the tracer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers.
    Well,
    /// It has stopped.
    Gone,
    /// It takes this long.
    Slow(Duration),
}

/// The tracer.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) mood: Mood,
    pub(crate) figures: Box<Figures>,
    pub(crate) sender: broadcast::Sender<Arc<Event>>,
    pub(crate) lagged: Arc<AtomicU64>,
}

impl Fake {
    pub(crate) fn new(mood: Mood) -> Self {
        let (figures, sender) = (Box::new(figures()), broadcast::channel(8).0);
        Self { mood, figures, sender, lagged: Arc::default() }
    }

    async fn in_its_mood<T>(&self, answer: T) -> Result<T, Gone> {
        match self.mood {
            Mood::Well => {}
            Mood::Gone => return Err(Gone),
            Mood::Slow(time) => tokio::time::sleep(time).await,
        }
        Ok(answer)
    }
}

impl Tracer for Fake {
    async fn status(&self) -> Result<Status, Gone> {
        self.in_its_mood(Status { pid: 812, ..Status::default() }).await
    }

    /// As many as the limit says, so that a test can see what arrived.
    async fn connections(
        &self,
        query: Query,
        limit: usize,
        closed: bool,
    ) -> Result<ConnectionList, Gone> {
        let state = query.states.first().map_or("established", |state| state.name());
        let count = if closed { 1 } else { limit.min(3) };
        let connections = vec![connection(state); count];
        self.in_its_mood(ConnectionList { connections, total: limit as u64, folding: false }).await
    }

    async fn connection(&self, id: ConnectionId) -> Result<Option<Connection>, Gone> {
        self.in_its_mood((id.0 == 0x3f).then(|| connection("close_wait"))).await
    }

    /// One finding, about sockets as old as was asked for.
    async fn diagnosis(&self, asked: Asked) -> Result<Diagnosis, Gone> {
        let older_than = asked.older_than.unwrap_or(Duration::from_mins(1));
        let found = Finding { kind: "close_wait_leak".to_owned(), count: 5, ..Finding::default() };
        let thresholds =
            Thresholds { older_than_seconds: older_than.as_secs_f64(), ..Thresholds::default() };
        let told = Diagnosis { thresholds, findings: vec![found], ..Diagnosis::default() };
        self.in_its_mood(told).await
    }

    async fn figures(&self) -> Result<Figures, Gone> {
        Box::pin(self.in_its_mood((*self.figures).clone())).await
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    fn lagged(&self, missed: u64) {
        self.lagged.fetch_add(missed, Ordering::Relaxed);
    }
}

/// A connection of java, inbound on 8080.
pub(crate) fn connection(state: &str) -> Connection {
    Connection {
        id: "3f".to_owned(),
        netns: Some(4_026_531_840),
        family: "ipv4".to_owned(),
        local: Endpoint { addr: [10, 0, 0, 4].into(), port: 8080 },
        remote: Endpoint { addr: [198, 51, 100, 7].into(), port: 41822 },
        direction: "inbound".to_owned(),
        state: state.to_owned(),
        mini: false,
        mptcp: None,
        state_since: "2026-01-01T00:00:00Z".to_owned(),
        state_age_seconds: 5.0,
        age_is_lower_bound: false,
        opened_at: None,
        closed_at: None,
        closed_by: None,
        close_reason: None,
        peer_closed: None,
        error: None,
        owner: Some(Owner {
            pid: 2207,
            comm: "java".to_owned(),
            exe: None,
            cgroup: None,
            container: None,
            unit: None,
            pod: None,
            started_ns: None,
            cgroup_id: None,
            source: "listener".to_owned(),
        }),
        holders: Vec::new(),
        recv_queue: None,
        bytes_sent: None,
        bytes_received: None,
        srtt_us: None,
        retransmits: None,
        complete: true,
        stack: None,
        timeline: None,
    }
}

/// A change of [`connection`]'s state.
pub(crate) fn state_event(from: &str, to: &str, in_state_seconds: Option<f64>) -> Event {
    Event::State(Box::new(StateEvent {
        at: "2026-01-01T00:00:00Z".to_owned(),
        connection: connection(to),
        from: from.to_owned(),
        to: to.to_owned(),
        in_state_seconds,
        current: None,
        socket: "ffff888000000000".to_owned(),
        text: "The peer closed.\nWe did not.".to_owned(),
    }))
}

/// The end of [`connection`], after 75 s in `CLOSE_WAIT`.
pub(crate) fn closed_event() -> Event {
    let step = |offset_us, from: &str, to: &str| Step {
        offset_us,
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
        ..Step::default()
    };
    let timeline = vec![
        step(0, "listen", "syn_recv"),
        step(60, "syn_recv", "established"),
        step(1_000_000, "established", "close_wait"),
        Step { offset_us: 2_000_000, ..Step::default() },
        step(76_000_000, "close_wait", "last_ack"),
        step(76_000_100, "last_ack", "close"),
    ];
    let connection = Connection { timeline: Some(timeline), ..connection("close") };
    Event::Closed(Box::new(ClosedEvent { connection, lifetime_seconds: 76.0001 }))
}

/// A loss in the buffers.
pub(crate) fn lost_event() -> Event {
    let at = "2026-01-01T00:00:00Z".to_owned();
    Event::Lost(LostEvent { at, stage: "perf_buffer".to_owned(), count: 7 })
}

/// Figures with something in every place.
pub(crate) fn figures() -> Figures {
    let mut matrix = Matrix::default();
    matrix.raise(TcpState::Close, TcpState::SynSent);
    matrix.raise(TcpState::Listen, TcpState::SynRecv);
    matrix.raise(TcpState::LastAck, TcpState::Established);
    let mut statistics = Statistics::default();
    statistics.state_durations[TcpState::CloseWait.index()].observe(Duration::from_secs(75));
    let mut gauges = [0; 13];
    gauges[TcpState::CloseWait.index()] = 3;
    Figures {
        gauges,
        matrix,
        sources: Sources::default(),
        time_wait: TimeWaitCounters::default(),
        half_open: HalfOpenCounts::default(),
        counters: Counters::default(),
        statistics,
        processes: vec![process("java", 2, Some(75)), process("nginx", 1, None)],
        other_processes: process("other", 4, Some(10)),
        folded_processes: 2,
        connections: 9,
        connections_limit: 1000,
        events: vec![("state", 11)],
        lost: vec![("output_enospc", 0), ("table_full", 0)],
        perf_record_lost: 0,
        late_records: 0,
        longest_pass: std::time::Duration::from_millis(12),
        segments: Standing {
            on: true,
            interfaces: vec![InterfaceStanding {
                name: "lo".to_owned(),
                index: 1,
                ingress: Some(Way::XdpGeneric),
                egress: Some(Way::Tcx),
                ..InterfaceStanding::default()
            }],
            ..Standing::default()
        },
        segment_counters: SegmentCounters((0..).take(tcp_trace_common::SEGMENT_SLOTS).collect()),
        hooks: vec![hook("state_tp_btf", "tp_btf", true), hook("state_kprobe", "kprobe", false)],
        world: World { coverage: coverage(), namespaces: 1, whole: 4, ..World::default() },
        folding: fold::Standing {
            folding: true,
            why: Some(fold::Why::Rate(60_000)),
            folded_ns: 2_500_000_000,
            switches: 3,
            ..Default::default()
        },
        stacks: vec![("taken", 5), ("named", 3), ("process_ended", 2)],
        unplaced: 0,
        leaks: leaks(),
        programs: vec![ProgramRuns {
            program: "state_tp_btf".to_owned(),
            runs: 11,
            run_time_ns: 5_500,
            misses: 0,
        }],
    }
}

/// Java leaks two sockets, and a process that has no series of its own one.
fn leaks() -> Leaks {
    let (java, perl) = (Comm::from_text("java"), Comm::from_text("perl"));
    let leaked = BTreeMap::from([((java, "not_closed"), 2), ((perl, "not_read"), 1)]);
    Leaks {
        total: leaked.clone(),
        leaked,
        exhaustion: BTreeMap::from([(java, 3600.0)]),
        ports: vec![("10.0.0.9:8080".to_owned(), 0.86)],
        findings: BTreeMap::from([("close_wait_leak", 2)]),
        ..Leaks::default()
    }
}

/// One namespace in which one connection was accepted, and counted on both sides.
fn coverage() -> Coverage {
    let mut matrix = Matrix::default();
    let mut mibs = Mibs::default();
    let mut coverage = Coverage::default();
    for accepted in 0..2 {
        mibs.set(Mib::PassiveOpens, accepted);
        coverage.take(&[(1, mibs)], false, Ours::new(&[], &matrix, Hooked::default()));
        matrix.raise(TcpState::Listen, TcpState::SynRecv);
    }
    coverage
}

/// Figures of one process name.
pub(crate) fn process(name: &str, close_wait: u64, oldest: Option<u64>) -> ProcessFigures {
    let mut by_state = [0; 13];
    by_state[TcpState::CloseWait.index()] = close_wait;
    let oldest_close_wait = oldest.map(Duration::from_secs);
    ProcessFigures { name: name.to_owned(), by_state, oldest_close_wait }
}

fn hook(program: &str, backend: &str, attached: bool) -> Hook {
    Hook {
        program: program.to_owned(),
        hook: "inet_sock_set_state".to_owned(),
        backend: backend.to_owned(),
        attached,
        reason: None,
    }
}
