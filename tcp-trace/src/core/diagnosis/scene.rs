//! A host of a test's own: sockets that do what they are told, under a clock that the test moves.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU64, sync::Arc, time::Duration};

use super::{Casebook, Report, Thresholds, evidence::*};
use crate::core::{
    clock::Ts,
    event::{
        Body, Caller, Comm, Event, Flow, LifeEvent, LifeStep, Origin, Protocol, SockFlags,
        SocketId, StateChange, Task, Transfer,
    },
    sources::Sources,
    stack::{Frame, Stack, StackCall, StackEvent},
    table::{Limits, Outcome, Table},
    tcp_state::TcpState as S,
};

pub(super) const NETNS: u32 = 1;
/// How often the host is looked over, and its sockets listed.
pub(super) const LOOK: Duration = Duration::from_secs(5);
pub(super) const ROUND: Duration = Duration::from_secs(30);

/// A socket.
#[derive(Clone, Debug)]
pub(super) struct Sock {
    pub(super) pid: u32,
    pub(super) state: S,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) transfer: Transfer,
    pub(super) attached: bool,
}

/// A mini-socket.
#[derive(Clone, Copy, Debug)]
struct Mini {
    flow: Flow,
    substate: S,
    ends: Ts,
}

pub(super) struct Scene {
    pub(super) table: Table,
    pub(super) book: Casebook,
    pub(super) now: Ts,
    pub(super) facts: HostFacts,
    pub(super) sockets: BTreeMap<u64, Sock>,
    minis: BTreeMap<u64, Mini>,
    requests: Vec<(Flow, u32)>,
    last: u64,
    looked: Ts,
    listed: Ts,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with(Thresholds::default())
    }

    pub(super) fn with(thresholds: Thresholds) -> Self {
        let mut table = Table::new(Limits { live: 1 << 20, closed: 1000 });
        table.set_sources(Sources { time_wait: true, calls: true, resets: true });
        let now = Ts(86_400_000_000_000);
        let mut scene = Self {
            table,
            book: Casebook::new(thresholds),
            now,
            facts: HostFacts::default(),
            sockets: BTreeMap::new(),
            minis: BTreeMap::new(),
            requests: Vec::new(),
            last: 0,
            looked: now,
            listed: now,
        };
        let facts = NetnsFacts { ports: Some((32_768, 60_999)), ..NetnsFacts::default() };
        scene.facts.namespaces.insert(NETNS, facts);
        scene.book.take_host(scene.facts.clone());
        scene.list();
        scene
    }

    /// A listener of process `pid`.
    pub(super) fn listens(&mut self, pid: u32, port: u16) -> u64 {
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let id = self.open(pid, (std::net::Ipv4Addr::new(10, 0, 0, 1), port).into(), unset, true);
        self.to(id, S::Close, S::Listen);
        id
    }

    /// A SYN comes to `port`.
    pub(super) fn request(&mut self, port: u16) -> Flow {
        let remote = self.peer();
        self.last += 1;
        let flow = Flow { local: (std::net::Ipv4Addr::new(10, 0, 0, 1), port).into(), remote };
        self.of_request(flow, LifeStep::Request);
        flow
    }

    /// Its SYN-ACK is sent again.
    pub(super) fn retransmit(&mut self, flow: Flow, count: u32) {
        self.requests.push((flow, count));
        self.of_request(flow, LifeStep::SynAckRetransmit(count));
    }

    fn of_request(&mut self, flow: Flow, what: LifeStep) {
        let (protocol, netns) = (Protocol::Tcp, Some(NETNS));
        let socket = SocketId { cookie: None, sk: 0 };
        self.apply(Body::Life(LifeEvent { socket, flow, protocol, netns, what }));
    }

    /// A connection of process `pid`, accepted on `port`.
    pub(super) fn accepts(&mut self, pid: u32, port: u16) -> u64 {
        let id = self.child(port);
        self.accept(id, pid);
        id
    }

    /// A connection on `port` that waits for `accept()`.
    pub(super) fn child(&mut self, port: u16) -> u64 {
        let peer = self.peer();
        let local = (std::net::Ipv4Addr::new(10, 0, 0, 1), port).into();
        let id = self.open(0, local, peer, false);
        self.to(id, S::Listen, S::SynRecv);
        self.to(id, S::SynRecv, S::Established);
        id
    }

    pub(super) fn accept(&mut self, id: u64, pid: u32) {
        if let Some(sock) = self.sockets.get_mut(&id) {
            (sock.pid, sock.attached) = (pid, true);
        }
        self.life(id, LifeStep::Accept(Some(caller(pid))));
    }

    /// A connection of process `pid` to `remote`.
    pub(super) fn connects(&mut self, pid: u32, remote: &str) -> u64 {
        let id = self.tries(pid, remote);
        self.to(id, S::SynSent, S::Established);
        id
    }

    /// The beginning of one.
    pub(super) fn tries(&mut self, pid: u32, remote: &str) -> u64 {
        let port = 32_768 + u16::try_from(self.last % 28_000).unwrap();
        let local = (std::net::Ipv4Addr::new(10, 0, 0, 1), port).into();
        let id = self.open(pid, local, remote.parse().unwrap(), true);
        self.to(id, S::Close, S::SynSent);
        id
    }

    fn peer(&self) -> SocketAddr {
        let host = u32::try_from(self.last / 20_000).unwrap();
        let port = 40_000 + u16::try_from(self.last % 20_000).unwrap();
        (std::net::Ipv4Addr::from(0xc633_6401 + host), port).into()
    }

    fn open(&mut self, pid: u32, local: SocketAddr, remote: SocketAddr, attached: bool) -> u64 {
        self.last += 1;
        let transfer =
            Transfer { rcv_nxt: 1, copied_seq: 1, snd_una: 1, write_seq: 1, ..Transfer::default() };
        let sock = Sock { pid, state: S::Close, local, remote, transfer, attached };
        self.sockets.insert(self.last, sock);
        self.last
    }

    /// The peer closes, having sent `unread` bytes that nobody has read.
    pub(super) fn fin(&mut self, id: u64, unread: u32) {
        self.sockets.get_mut(&id).unwrap().transfer.rcv_nxt += unread + 1;
        self.to(id, S::Established, S::CloseWait);
    }

    /// The process reads all there is, and leaves `rest`.
    pub(super) fn read(&mut self, id: u64, rest: u32) {
        let transfer = &mut self.sockets.get_mut(&id).unwrap().transfer;
        transfer.copied_seq = transfer.rcv_nxt - rest;
    }

    /// The process closes what the peer had closed.
    pub(super) fn close(&mut self, id: u64) {
        self.to(id, S::CloseWait, S::LastAck);
        self.to(id, S::LastAck, S::Close);
    }

    /// We close first, and the peer follows: a mini-socket is left.
    pub(super) fn close_first(&mut self, id: u64) {
        self.leave(id, S::TimeWait, Duration::from_mins(1));
    }

    /// We close first, and the peer does not follow: its FIN is waited for so long, by nobody.
    pub(super) fn orphan(&mut self, id: u64, span: Duration) {
        self.leave(id, S::FinWait2, span);
    }

    fn leave(&mut self, id: u64, substate: S, span: Duration) {
        self.to(id, S::Established, S::FinWait1);
        self.to(id, S::FinWait1, S::FinWait2);
        self.life(id, LifeStep::TimeWaitBorn { substate, from: id });
        let sock = &self.sockets[&id];
        let flow = Flow { local: sock.local, remote: sock.remote };
        self.minis.insert(id, Mini { flow, substate, ends: self.now.after(span) });
        self.to(id, S::FinWait2, S::Close);
    }

    pub(super) fn expires(&mut self, id: u64) {
        let why = crate::core::event::TimeWaitEnd::Expired;
        let substate = self.minis.remove(&id).map_or(S::TimeWait, |mini| mini.substate);
        self.life(id, LifeStep::TimeWaitEnded { substate, why });
    }

    /// Every mini-socket whose time is over ends.
    pub(super) fn expire(&mut self) {
        let now = self.now;
        let over: Vec<_> =
            self.minis.iter().filter(|(_, mini)| mini.ends <= now).map(|(id, _)| *id).collect();
        for id in over {
            self.expires(id);
        }
    }

    pub(super) fn to(&mut self, id: u64, old: S, new: S) {
        self.ends(id, old, new, 0);
    }

    pub(super) fn ends(&mut self, id: u64, old: S, new: S, error: i32) {
        let change = StateChange { error, ..self.change(id, old, new, Origin::Live) };
        self.sockets.get_mut(&id).unwrap().state = new;
        self.apply(Body::State(change));
        if new == S::Close {
            self.sockets.remove(&id);
        }
    }

    fn change(&self, id: u64, old: S, new: S, origin: Origin) -> StateChange {
        let sock = &self.sockets[&id];
        let connecting = old == S::Close && [S::SynSent, S::Listen].contains(&new);
        let born = (old, new) == (S::Listen, S::SynRecv);
        let closed = matches!(old, S::FinWait1 | S::FinWait2 | S::LastAck);
        StateChange {
            socket: SocketId {
                cookie: NonZeroU64::new(id).filter(|_| !born),
                sk: if origin == Origin::Live { id } else { 0 },
            },
            origin,
            old,
            new,
            flow: Flow { local: sock.local, remote: sock.remote },
            protocol: Protocol::Tcp,
            netns: Some(NETNS),
            error: 0,
            transfer: Some(sock.transfer),
            flags: Some(SockFlags {
                attached: sock.attached && !closed,
                fin_received: new == S::CloseWait || (old, new) == (S::FinWait2, S::Close),
                ..SockFlags::default()
            }),
            current: (connecting || origin == Origin::Snapshot && sock.attached && sock.pid != 0)
                .then(|| caller(sock.pid).task),
            silent: None,
        }
    }

    pub(super) fn life(&mut self, id: u64, what: LifeStep) {
        let flow = self.sockets.get(&id).map_or_else(
            || Flow { local: ([10, 0, 0, 1], 1).into(), remote: ([10, 0, 0, 2], 1).into() },
            |sock| Flow { local: sock.local, remote: sock.remote },
        );
        let socket = SocketId { cookie: NonZeroU64::new(id), sk: id };
        let life = LifeEvent { socket, flow, protocol: Protocol::Tcp, netns: Some(NETNS), what };
        self.apply(Body::Life(life.clone()));
        self.book.life(&life, &self.table, self.now);
    }

    /// It was opened or accepted there.
    pub(super) fn stack(&mut self, id: u64, call: StackCall, function: &str) {
        let frame = Frame { function: Some(function.to_owned()), ..Frame::default() };
        let stack = Arc::new(Stack { call, frames: Ok(vec![frame]), cut: false });
        let socket = SocketId { cookie: NonZeroU64::new(id), sk: id };
        let news = StackEvent { socket, called: self.now, stack };
        self.apply(Body::Stack(news.clone()));
        self.book.stack(&news, &self.table);
    }

    pub(super) fn apply(&mut self, body: Body) {
        // Nothing happens at the very same moment.
        self.now = Ts(self.now.0 + 1_000);
        if let Body::State(change) = &body {
            self.book.state(change);
        }
        let event = Event { at: self.now, body };
        if let Outcome::Stepped(stepped) = self.table.apply(&event)
            && stepped.judged
            && let Some(known) = self.table.after(stepped)
        {
            self.book.ended(known, stepped.from, &self.table, self.now);
        }
    }

    /// Lists the sockets, as the host has them.
    pub(super) fn list(&mut self) {
        self.listed = self.now;
        let frame = |what| {
            let unset = SocketAddr::from(([0, 0, 0, 0], 0));
            let socket = SocketId { cookie: None, sk: 0 };
            let flow = Flow { local: unset, remote: unset };
            Body::Life(LifeEvent {
                socket,
                flow,
                protocol: Protocol::Tcp,
                netns: Some(NETNS),
                what,
            })
        };
        let since = self.now;
        self.apply(frame(LifeStep::SnapshotBegun { since }));
        let rows: Vec<_> = self
            .sockets
            .iter()
            .filter(|(_, sock)| ![S::Close, S::TimeWait].contains(&sock.state))
            .map(|(id, sock)| self.change(*id, sock.state, sock.state, Origin::Snapshot))
            .collect();
        for row in rows {
            self.apply(Body::State(row));
        }
        for (id, Mini { flow, substate, ends }) in self.minis.clone() {
            let socket = SocketId { cookie: NonZeroU64::new(id), sk: 0 };
            let left_ms = u32::try_from(ends.since(self.now).as_millis()).unwrap();
            let what = LifeStep::FoundTimeWait { substate, left_ms };
            let (protocol, netns) = (Protocol::Tcp, Some(NETNS));
            self.apply(Body::Life(LifeEvent { socket, flow, protocol, netns, what }));
        }
        for (flow, retransmits) in self.requests.clone() {
            self.of_request(flow, LifeStep::FoundRequest { retransmits });
        }
        self.apply(frame(LifeStep::SnapshotEnded { whole: true }));
        self.facts.at = self.now;
        self.book.take_host(self.facts.clone());
    }

    /// Lets time pass, doing `what` every second.
    pub(super) fn pass(&mut self, span: Duration, mut what: impl FnMut(&mut Self, u64)) {
        let end = self.now.after(span);
        let mut second = 0;
        while self.now < end {
            self.now = self.now.after(Duration::from_secs(1));
            what(self, second);
            second += 1;
            if self.now.since(self.listed) >= ROUND {
                self.list();
            }
            if self.now.since(self.looked) >= LOOK {
                self.looked = self.now;
                self.table.tick(self.now);
                self.book.look(&self.table, self.now);
            }
        }
    }

    pub(super) fn wait(&mut self, span: Duration) {
        self.pass(span, |_, _| {});
    }

    pub(super) fn report(&self) -> Report {
        let thresholds = *self.book.thresholds();
        self.book.diagnose(&self.table, self.now, &thresholds)
    }

    /// The tracer ends and begins again, and finds what is there.
    pub(super) fn restart(&mut self) {
        let mut new = Self::with(*self.book.thresholds());
        new.now = self.now;
        (new.looked, new.listed, new.last) = (self.now, self.now, self.last);
        new.sockets = std::mem::take(&mut self.sockets);
        new.facts = std::mem::take(&mut self.facts);
        *self = new;
        self.list();
    }
}

pub(super) fn caller(pid: u32) -> Caller {
    let task = Task { pid, tid: pid, comm: Comm::from_text(&format!("p{pid}")) };
    Caller { task, started_ns: None, cgroup: None }
}
