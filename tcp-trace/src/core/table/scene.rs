//! Lives with segments, made up event by event: for the tests here and those of the ladder.

use std::net::SocketAddr;

use super::*;
use crate::core::{
    event::{Caller, Comm, Flow, LifeEvent, LifeStep, Protocol, SockFlags, SocketId, Task},
    segment::{SegmentEvent, SegmentFlags, SegmentHeader, Travel, Witness},
};

/// This host's initial sequence number.
pub(crate) const OURS: u32 = 3_735_928_559;
/// The peer's.
pub(crate) const ITS: u32 = 12_345;

/// A table and one flow.
pub(crate) struct Scene {
    pub(crate) table: Table,
    pub(crate) flow: Flow,
    pub(crate) comm: &'static str,
    pub(crate) sk: u64,
}

impl Scene {
    pub(crate) fn new(local: &str, remote: &str) -> Self {
        let end = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut table = Table::new(Limits { live: 100, closed: 100 });
        table.set_sources(Sources { time_wait: true, calls: true, resets: true });
        let flow = Flow { local: end(local), remote: end(remote) };
        Self { table, flow, comm: "java", sk: 7 }
    }

    pub(crate) fn server() -> Self {
        Self::new("127.0.0.1:8080", "127.0.0.1:41822")
    }

    pub(crate) fn client() -> Self {
        Self { comm: "curl", ..Self::new("127.0.0.1:41822", "127.0.0.1:8080") }
    }

    /// Another socket from here on.
    pub(crate) fn another(&mut self) {
        self.sk += 1;
    }

    /// This socket from here on.
    pub(crate) fn sk_is(&mut self, sk: u64) {
        self.sk = sk;
    }

    fn task(&self) -> Task {
        Task { pid: 2207, tid: 2207, comm: Comm::from_text(self.comm) }
    }

    fn socket(&self) -> SocketId {
        SocketId { cookie: None, sk: self.sk }
    }

    /// What a snapshot knows a socket by.
    pub(crate) fn row(&self) -> SocketId {
        SocketId { cookie: std::num::NonZeroU64::new(self.sk), sk: 0 }
    }

    pub(crate) fn change(&self, old: TcpState, new: TcpState) -> StateChange {
        let mut flow = self.flow;
        if old == TcpState::Listen || new == TcpState::Listen {
            flow.remote = SocketAddr::from(([0, 0, 0, 0], 0));
        }
        StateChange {
            socket: self.socket(),
            origin: Origin::Live,
            old,
            new,
            flow,
            protocol: Protocol::Tcp,
            netns: Some(1),
            error: 0,
            transfer: None,
            flags: Some(SockFlags { attached: true, shutdown: 3, ..SockFlags::default() }),
            current: Some(self.task()),
            silent: None,
        }
    }

    /// A change of state, in microseconds.
    pub(crate) fn state(&mut self, at: u64, old: TcpState, new: TcpState) -> &mut Self {
        let change = self.change(old, new);
        self.put(at, Body::State(change))
    }

    pub(crate) fn put(&mut self, at: u64, body: Body) -> &mut Self {
        self.table.apply(&Event { at: Ts(at * 1_000), body });
        self
    }

    /// Something else in its life.
    pub(crate) fn life(&mut self, at: u64, what: LifeStep) -> &mut Self {
        let life = LifeEvent {
            socket: self.socket(),
            flow: self.flow,
            protocol: Protocol::Tcp,
            netns: Some(1),
            what,
        };
        self.put(at, Body::Life(life))
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller { task: self.task(), started_ns: None, cgroup: None }
    }

    /// A segment, its numbers counted from the initial ones; without ACK, 0.
    pub(crate) fn pass(
        &mut self,
        at: u64,
        travel: Travel,
        flags: u8,
        (seq, ack): (u32, u32),
    ) -> &mut Self {
        self.carry(at, travel, flags, (seq, ack), 0)
    }

    /// A segment with payload.
    pub(crate) fn carry(
        &mut self,
        at: u64,
        travel: Travel,
        flags: u8,
        (seq, ack): (u32, u32),
        payload: u32,
    ) -> &mut Self {
        let (own, other, witness) = match travel {
            Travel::In => (ITS, OURS, Witness::Xdp),
            Travel::Out => (OURS, ITS, Witness::TcEgress),
        };
        let flags = SegmentFlags(flags);
        let ack = if flags.has(tcp_trace_common::TCP_ACK) { other.wrapping_add(ack) } else { 0 };
        let header =
            SegmentHeader { flags, seq: own.wrapping_add(seq), ack, window: 65_535, payload };
        let segment = SegmentEvent { flow: self.flow, netns: Some(1), travel, witness, header };
        self.put(at, Body::Segment(segment))
    }

    /// The connection that is there, or was there last.
    pub(crate) fn connection(&self) -> &Connection {
        let held = self.table.held.iter().map(super::ending::Held::connection);
        let mut all = self.table.live().chain(held).chain(self.table.closed());
        all.next().unwrap()
    }
}
